//! `POST /v1/instances`

use crate::http::openapi::param::Repeatable;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::instance::CreateInstance;
use roost_domain::ErrorCode;
use roost_domain::instance::Instance;
use roost_domain::store::Outcome;
use serde::Deserialize;
use utoipa::ToSchema;

use super::check_proxy;
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::Command;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::Answer;

/// What makes an instance.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateInstance)]
pub struct Create {
    /// Name for humans.
    #[schema(
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        example = "demo"
    )]
    name: String,
    /// Proxy through which it connects: `socks5://` or `http://`, with a host and a port.
    #[schema(max_length = 1024, example = "socks5://user:password@127.0.0.1:1080")]
    proxy: Option<String>,
}

/// Create an instance.
///
/// Makes an instance; it is not connected yet.
#[utoipa::path(
    post, path = "/instances", operation_id = "create_instance", tag = "instances",
    params(Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses(
        (
            status = 201, description = "Made", body = Instance,
            headers(("Location" = String, description = "Its path")),
        ),
    ),
    extensions(("x-scope" = json!("instances:manage")), ("x-errors" = json!([ErrorCode::LimitReached])))
)]
pub async fn create(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let status = StatusCode::CREATED;
    let stamp = gateway.stamp(command.repeatable, status);
    let Create { name, proxy } = command.body;
    check_proxy(proxy.as_deref())?;
    match gateway
        .instances
        .create(tenant, CreateInstance { name, proxy }, None, stamp)
        .await?
    {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(instance) => {
            let location = format!("/v1/instances/{}", instance.id);
            Ok((status, [(header::LOCATION, location)], Json(instance)).into_response())
        }
    }
}
