//! `POST /v1/instances`

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::instance::CreateInstance;
use roost_domain::store::Outcome;
use serde::Deserialize;

use super::check_proxy;
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::Command;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::Answer;

/// What makes an instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    name: String,
    proxy: Option<String>,
}

/// Makes an instance; it is not connected yet.
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
