//! `POST /v1/instances/{id}/disconnect` and `POST /v1/instances/{id}/logout`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::InstanceId;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::{Command, Nothing};
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Wants the instance disconnected from now on; the phone stays paired.
pub async fn disconnect(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<InstanceId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.instances.disconnect(tenant, id).await?)
    })
    .await
}

/// Ends the pairing on WhatsApp's side too; to connect again a phone has to be paired anew.
pub async fn logout(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<InstanceId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.instances.logout(tenant, id).await?)
    })
    .await
}
