//! `/v1/operator/api-keys`: the operator's own keys. They reach `/v1/operator` and nothing else; scopes
//! and instances have no meaning for them.

pub mod create;
pub mod delete;
pub mod list;
