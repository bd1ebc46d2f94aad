//! `GET /v1/api-keys/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::ApiKeyId;
use roost_domain::api_key::{ApiKey, Principal};

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// One key as it is now, without its text.
pub async fn get(
    Unbound { tenant, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    Id(id): Id<ApiKeyId>,
    _: NoParams,
) -> Answer<Json<ApiKey>> {
    let store = &http.gateway()?.store;
    Ok(Json(store.key(Principal::Tenant(tenant), id).await?))
}
