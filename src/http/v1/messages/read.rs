//! `POST /v1/messages/{id}/read`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::MessageId;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::{Command, Nothing};
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Tells the sender of an inbound message that it was read.
pub async fn read(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<MessageId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.instances.mark_read(tenant, id).await?)
    })
    .await
}
