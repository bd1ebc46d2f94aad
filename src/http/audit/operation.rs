//! What a call does, by the name that it has in the OpenAPI document.

use axum::http::Method;

use crate::http::openapi::operation_id;

/// Name of what is no operation.
const OTHER: &str = "other";

/// The operation of a route below `/v1`.
pub fn id(method: &Method, route: &str) -> &'static str {
    // HEAD is GET without a body.
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    operation_id(method, &format!("/v1{route}")).unwrap_or(OTHER)
}
