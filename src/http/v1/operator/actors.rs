//! `/v1/operator/actors`: live actors of every node, as their registries see them.

use crate::http::openapi::param::Paging;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use roost_actors::operator::{NodeAnswer, Order};
use roost_actors::{ActorFilter, ActorView, Operation};
use roost_domain::ErrorCode;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::{Command, Nothing};
use crate::http::cursor::Scope;
use crate::http::params::Params;
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
    /// Only those of this node.
    #[param(example = "local")]
    node: Option<String>,
    /// By `path` and node, unless told otherwise; `worst` are those first that most need somebody to look at
    /// them: in quarantine, with messages that grow old, waiting to be started again. That is one page.
    #[param(inline, example = "worst")]
    order: Option<OrderName>,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only described")]
enum OrderName {
    Path,
    Worst,
}

/// A page of the actors of the gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorList {
    /// The actors. There may be fewer than `limit` and still a `next_cursor`.
    data: Vec<ActorView>,
    /// `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// The nodes that were asked. Those that did not answer are `unreachable`, and none of their actors
    /// is in `data`.
    nodes: Vec<NodeAnswer>,
}

/// The node that is meant, where a path is not enough.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct At {
    /// The node that runs it. Needed in a cluster for parts of a node, such as `steward`, of which every
    /// node has one; others are found by their path.
    #[param(example = "local")]
    node: Option<String>,
}

/// List live actors.
///
/// Of every node, by path, optionally of one kind, state or node. Nodes that do not answer within
/// `cluster.operator_timeout` are named.
#[utoipa::path(
    get, path = "/operator/actors", operation_id = "list_actors", tag = "operator",
    params(Filter, Paging),
    responses((status = 200, description = "A page", body = ActorList))
)]
pub async fn list(_: Operator, State(http): State<Http>, mut params: Params) -> Answer<Json<ActorList>> {
    let filter = ActorFilter {
        kind: params.text("kind"),
        state: params.text("state"),
    };
    let node = params.text("node");
    let worst = params.parsed("order", |text| match text {
        "path" => Ok(false),
        "worst" => Ok(true),
        _ => Err("expected path or worst"),
    });
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let (kind, state, at) = (part(&filter.kind), part(&filter.state), part(&node));
    let scope = Scope::of(&["actors", &kind, &state, &at]);
    let page = params.page(&scope)?;
    let order = match (worst, page.after) {
        (Some(true), None) => Order::Worst,
        (Some(true), after) => {
            params.fault("cursor", "not_allowed", "there is one page in this order");
            Order::Path { after }
        }
        (_, after) => Order::Path { after },
    };
    params.finish()?;
    let operator = http.gateway()?.runtime.operator();
    let limit = page.limit as usize;
    let found = operator.actors(&filter, node.as_deref(), &order, limit).await?;
    Ok(Json(ActorList {
        data: found.rows,
        next_cursor: found.next.map(|place| scope.encode(&place)),
        nodes: found.nodes,
    }))
}

/// Get an actor.
///
/// As its registry sees it, without asking it, wherever it lives.
#[utoipa::path(
    get, path = "/operator/actors/{*path}", operation_id = "get_actor", tag = "operator",
    params(
        (
            "path" = String, Path, description = "Its place in the tree, such as `instance/ins_…`",
            example = "instances",
        ),
        At,
    ),
    responses((status = 200, description = "As it is now", body = ActorView))
)]
pub async fn get(
    _: Operator,
    State(http): State<Http>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    mut params: Params,
) -> Answer<Json<ActorView>> {
    let Path(path) = path.map_err(|_| Problem::not_found("actor"))?;
    let node = params.text("node");
    params.finish()?;
    let operator = http.gateway()?.runtime.operator();
    Ok(Json(operator.actor(&path, node.as_deref()).await?))
}

/// What is to be done with an actor.
#[derive(ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "only described")]
enum OrderWord {
    Restart,
    Stop,
    Quarantine,
    ClearQuarantine,
}

/// Restart or stop an actor, or put it into quarantine.
///
/// Wherever it lives. What is in quarantine is not started on that node, whatever calls for it, until
/// `clear-quarantine` lets it start again; a quarantine ends when the slot moves to another node, and when
/// the node stops. All this can be repeated without harm, so an `Idempotency-Key` is checked and nothing
/// more.
#[utoipa::path(
    post, path = "/operator/actors/{*path}", operation_id = "order_actor", tag = "operator",
    params(
        ("path" = String, Path, description = "Its place in the tree", example = "instance/ins_01M83J15SSHV9877HVE7NJHCGD"),
        ("order" = inline(OrderWord), Path, description = "What is to be done"),
        At,
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
    mut params: Params,
    _: Command<Nothing>,
) -> Answer<StatusCode> {
    let Path(path) = path.map_err(|_| Problem::not_found("actor"))?;
    let node = params.text("node");
    params.finish()?;
    let (path, order) = path.rsplit_once('/').ok_or_else(|| Problem::not_found("route"))?;
    let operation = match order {
        "restart" => Operation::Restart,
        "stop" => Operation::Stop,
        "quarantine" => Operation::Quarantine,
        "clear-quarantine" => Operation::ClearQuarantine,
        _ => return Err(Problem::not_found("route")),
    };
    let operator = http.gateway()?.runtime.operator();
    operator.operate(path, node.as_deref(), operation).await?;
    Ok(StatusCode::ACCEPTED)
}
