//! `/v1/usage`: what a tenant has used, by day.

pub mod get;
