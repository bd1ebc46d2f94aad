//! `GET /v1/instances/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;

use super::InstanceBody;
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// One instance as it is now.
pub async fn get(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<InstanceId>,
    _: NoParams,
) -> Answer<InstanceBody> {
    Ok(Json(http.gateway()?.instances.get(tenant, id).await?))
}
