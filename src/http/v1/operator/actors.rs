//! `/v1/operator/actors`: live actors, as their registries see them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use roost_actors::{ActorFilter, ActorView};
use roost_domain::page::Page;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::{Command, Nothing};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{NoParams, Params};
use crate::http::problem::{Answer, Problem};

/// `GET /v1/operator/actors`: by path, optionally of one kind or state.
pub async fn list(
    State(http): State<Http>,
    _: Operator,
    mut params: Params,
) -> Answer<Json<PageBody<ActorView>>> {
    let filter = ActorFilter {
        kind: params.text("kind"),
        state: params.text("state"),
    };
    let scope = Scope::of(&[
        "actors",
        filter.kind.as_deref().unwrap_or_default(),
        filter.state.as_deref().unwrap_or_default(),
    ]);
    let page = params.page::<String>(&scope)?;
    params.finish()?;
    let index = http.gateway()?.runtime.introspection();
    let (rows, next) = index.list(&filter, page.after.as_deref(), page.limit as usize);
    Ok(Json(PageBody::new(Page { rows, next }, &scope)))
}

/// `GET /v1/operator/actors/{path}`
pub async fn get(
    State(http): State<Http>,
    _: Operator,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    _: NoParams,
) -> Answer<Json<ActorView>> {
    let Path(path) = path.map_err(|_| Problem::not_found("actor"))?;
    let view = http.gateway()?.runtime.introspection().get(&path);
    view.map(Json).ok_or_else(|| Problem::not_found("actor"))
}

/// `POST /v1/operator/actors/{path}/restart`, `…/stop` and `…/clear-quarantine`. They can be repeated
/// without harm, so an `Idempotency-Key` is checked and nothing more.
pub async fn act(
    State(http): State<Http>,
    _: Operator,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    _: NoParams,
    _: Command<Nothing>,
) -> Answer<StatusCode> {
    let Path(path) = path.map_err(|_| Problem::not_found("actor"))?;
    let runtime = &http.gateway()?.runtime;
    let (path, order) = path.rsplit_once('/').ok_or_else(|| Problem::not_found("route"))?;
    match order {
        "restart" => runtime.restart_actor(path).await?,
        "stop" => runtime.stop_actor(path).await?,
        "clear-quarantine" => runtime.clear_quarantine(path).await?,
        _ => return Err(Problem::not_found("route")),
    }
    Ok(StatusCode::ACCEPTED)
}
