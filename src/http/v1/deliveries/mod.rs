//! `/v1/deliveries`: one event for one webhook.

pub mod get;
pub mod retry;
