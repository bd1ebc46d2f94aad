//! `GET /v1/operator/api-keys`

use axum::Json;
use axum::extract::State;
use roost_domain::api_key::{ApiKey, Principal};

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::cursor::Scope;
use crate::http::openapi::param::Paging;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// List the operator's keys.
///
/// The operator's keys, oldest first, without their texts.
#[utoipa::path(
    get, path = "/operator/api-keys", operation_id = "list_operator_api_keys", tag = "operator",
    params(Paging),
    responses((status = 200, description = "A page", body = PageBody<ApiKey>))
)]
pub async fn list(
    _: Operator,
    State(http): State<Http>,
    mut params: Params,
) -> Answer<Json<PageBody<ApiKey>>> {
    let scope = Scope::of(&["operator-api-keys"]);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.store.keys(Principal::Operator, page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
