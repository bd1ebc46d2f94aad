//! `POST /v1/instances/{id}/disconnect` and `POST /v1/instances/{id}/logout`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::InstanceId;
use roost_domain::instance::Instance;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::body::{Command, Nothing};
use crate::http::call::Call;
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Disconnect an instance.
///
/// Wants the instance disconnected from now on; the phone stays paired.
#[utoipa::path(
    post, path = "/instances/{id}/disconnect", operation_id = "disconnect_instance", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance"), Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 200, description = "Disconnected", body = Instance)),
    extensions(
        ("x-scope" = json!("instances:manage")),
        ("x-errors" = json!([ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn disconnect(
    Allowed { tenant, .. }: Allowed<scope::InstancesManage>,
    State(http): State<Http>,
    call: Call,
    Id(id): Id<InstanceId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        call.take_session_operation(gateway).await?;
        Ok(gateway.instances.disconnect(tenant, id).await?)
    })
    .await
}

/// Log an instance out.
///
/// Ends the pairing on WhatsApp's side too; to connect again a phone has to be paired anew.
#[utoipa::path(
    post, path = "/instances/{id}/logout", operation_id = "logout_instance", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance"), Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 200, description = "Logged out", body = Instance)),
    extensions(
        ("x-scope" = json!("instances:manage")),
        ("x-errors" = json!([ErrorCode::WrongState, ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn logout(
    Allowed { tenant, .. }: Allowed<scope::InstancesManage>,
    State(http): State<Http>,
    call: Call,
    Id(id): Id<InstanceId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        call.take_session_operation(gateway).await?;
        Ok(gateway.instances.logout(tenant, id).await?)
    })
    .await
}
