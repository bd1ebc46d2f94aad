//! `/v1/messages` and `/v1/instances/{id}/messages`.

pub mod get;
pub mod list;
pub mod read;
pub mod send;
