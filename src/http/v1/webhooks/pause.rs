//! `POST /v1/webhooks/{id}/pause` and `POST /v1/webhooks/{id}/resume`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::WebhookId;
use serde::Deserialize;

use super::spec;
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::{Command, Nothing};
use crate::http::fault::Faults;
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Why it is paused, for people.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    reason: Option<String>,
}

/// Delivers nothing from now on; events wait in the log.
pub async fn pause(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Pause>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let reason = command.body.reason;
    let mut faults = Faults::default();
    if let Some(text) = &reason {
        spec::description(&mut faults, "/reason", text);
    }
    faults.finish()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.webhooks.pause(tenant, id, reason).await?)
    })
    .await
}

/// Delivers again, from where it stopped, whether it was paused or disabled.
pub async fn resume(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.webhooks.resume(tenant, id).await?)
    })
    .await
}
