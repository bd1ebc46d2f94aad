//! `/v1/stream-tokens`: what a browser opens streams with.

pub mod create;
