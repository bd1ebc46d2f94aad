//! `GET /v1/api-keys`

use axum::Json;
use axum::extract::State;
use roost_domain::api_key::{ApiKey, Principal};

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::cursor::Scope;
use crate::http::openapi::param::Paging;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// List API keys.
///
/// A tenant's keys, oldest first, without their texts.
#[utoipa::path(
    get, path = "/api-keys", operation_id = "list_api_keys", tag = "api-keys",
    params(Paging),
    responses((status = 200, description = "A page", body = PageBody<ApiKey>)),
    extensions(("x-scope" = json!("keys:manage")), ("x-unbound" = json!(true)))
)]
pub async fn list(
    Unbound { tenant, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    mut params: Params,
) -> Answer<Json<PageBody<ApiKey>>> {
    let scope = Scope::of(&["api-keys", &tenant.to_string()]);
    let page = params.page(&scope)?;
    params.finish()?;
    let store = &http.gateway()?.store;
    let page = store.keys(Principal::Tenant(tenant), page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
