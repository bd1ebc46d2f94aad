//! `GET /v1/api-keys`

use axum::Json;
use axum::extract::State;
use roost_domain::api_key::{ApiKey, Principal};

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// A tenant's keys, oldest first, without their texts.
pub async fn list(
    Unbound { tenant, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    mut params: Params,
) -> Answer<Json<PageBody<ApiKey>>> {
    let scope = Scope::of(&["api-keys"]);
    let page = params.page(&scope)?;
    params.finish()?;
    let store = &http.gateway()?.store;
    let page = store.keys(Principal::Tenant(tenant), page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
