//! `/v1/operator/actors`: live actors, as their registries see them.

use crate::http::openapi::param::Paging;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use roost_actors::{ActorFilter, ActorView};
use roost_domain::ErrorCode;
use roost_domain::page::Page;
use utoipa::{IntoParams, ToSchema};

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::{Command, Nothing};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{NoParams, Params};
use crate::http::problem::{Answer, Problem};

/// Which actors.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct Filter {
    /// Only this kind.
    #[param(example = "instance")]
    kind: Option<String>,
    /// Only those in this state.
    #[param(example = "connected")]
    state: Option<String>,
}

/// List live actors.
///
/// By path, optionally of one kind or state.
#[utoipa::path(
    get, path = "/operator/actors", operation_id = "list_actors", tag = "operator",
    params(Filter, Paging),
    responses((status = 200, description = "A page", body = PageBody<ActorView>))
)]
pub async fn list(
    _: Operator,
    State(http): State<Http>,
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

/// Get an actor.
///
/// As its registry sees it, without asking it.
#[utoipa::path(
    get, path = "/operator/actors/{*path}", operation_id = "get_actor", tag = "operator",
    params(
        (
            "path" = String, Path, description = "Its place in the tree, such as `instance/ins_…`",
            example = "instances",
        ),
    ),
    responses((status = 200, description = "As it is now", body = ActorView))
)]
pub async fn get(
    _: Operator,
    State(http): State<Http>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    _: NoParams,
) -> Answer<Json<ActorView>> {
    let Path(path) = path.map_err(|_| Problem::not_found("actor"))?;
    let view = http.gateway()?.runtime.introspection().get(&path);
    view.map(Json).ok_or_else(|| Problem::not_found("actor"))
}

/// What is to be done with an actor.
#[derive(ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "only described")]
enum Order {
    Restart,
    Stop,
    ClearQuarantine,
}

/// Restart, stop or release an actor.
///
/// It can be repeated without harm, so an `Idempotency-Key` is checked and nothing more.
#[utoipa::path(
    post, path = "/operator/actors/{*path}", operation_id = "order_actor", tag = "operator",
    params(
        ("path" = String, Path, description = "Its place in the tree", example = "instance/ins_01M83J15SSHV9877HVE7NJHCGD"),
        ("order" = inline(Order), Path, description = "What is to be done"),
    ),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 202, description = "Under way")),
    extensions(
        ("x-errors" = json!([ErrorCode::WrongState])),
        ("x-path" = json!("/v1/operator/actors/{path}/{order}")),
    )
)]
pub async fn act(
    _: Operator,
    State(http): State<Http>,
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
