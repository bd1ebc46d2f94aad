//! `GET /v1/instances/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::instance::Instance;

use super::InstanceBody;
use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Get an instance.
///
/// One instance as it is now.
#[utoipa::path(
    get, path = "/instances/{id}", operation_id = "get_instance", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance")),
    responses((status = 200, description = "As it is now", body = Instance)),
    extensions(("x-scope" = json!("instances:read")))
)]
pub async fn get(
    Allowed { tenant, .. }: Allowed<scope::InstancesRead>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    _: NoParams,
) -> Answer<InstanceBody> {
    Ok(Json(http.gateway()?.instances.get(tenant, id).await?))
}
