//! `DELETE /v1/instances/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use roost_domain::InstanceId;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Delete an instance.
///
/// Ends the session and removes the instance with its stored state. Messages and events stay until
/// their retention ends.
#[utoipa::path(
    delete, path = "/instances/{id}", operation_id = "delete_instance", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-scope" = json!("instances:manage")))
)]
pub async fn delete(
    Allowed { tenant, .. }: Allowed<scope::InstancesManage>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    _: NoParams,
) -> Answer<StatusCode> {
    http.gateway()?.instances.delete(tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
