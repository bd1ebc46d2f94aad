//! `/v1/operator/nodes`: the nodes of the gateway, and how one is emptied.

use axum::Json;
use axum::extract::State;
use roost_actors::OperatorError;
use roost_actors::operator::NodeView;
use roost_domain::ErrorCode;
use roost_domain::cluster::NodeName;
use roost_domain::page::Page;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::{Command, Nothing};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{Id, NoParams};
use crate::http::problem::{Answer, Problem};

/// List nodes.
///
/// By name, on one page: leases and slots as the database has them, and how each does in its own words. A
/// node that does not answer within `cluster.operator_timeout` is `unreachable`, with the reason. Without
/// a cluster there is one, `local`.
#[utoipa::path(
    get, path = "/operator/nodes", operation_id = "list_nodes", tag = "operator",
    responses((status = 200, description = "Every node", body = PageBody<NodeView>))
)]
pub async fn list(State(http): State<Http>, _: Operator, _: NoParams) -> Answer<Json<PageBody<NodeView>>> {
    let rows = http.gateway()?.runtime.operator().nodes().await?;
    let page = Page::<_, String> { rows, next: None };
    Ok(Json(PageBody::new(page, &Scope::of(&["nodes"]))))
}

/// Drain a node.
///
/// It gives its slots away, in waves, takes none, and is not ready for as long; it goes on answering
/// calls. Ends when it is taken back or the node is stopped. Refused for the last node that takes slots.
#[utoipa::path(
    post, path = "/operator/nodes/{id}/drain", operation_id = "drain_node", tag = "operator",
    params((
        "id" = String, Path, description = "The node's name", max_length = 63,
        pattern = "^[a-z0-9][a-z0-9.-]{0,62}$",
    )),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 200, description = "The node: `slots` and `load` say how far it is", body = NodeView)),
    extensions(("x-errors" = json!([ErrorCode::WrongState])))
)]
pub async fn drain(
    State(http): State<Http>,
    _: Operator,
    Id(node): Id<NodeName>,
    _: NoParams,
    _: Command<Nothing>,
) -> Answer<Json<NodeView>> {
    mark(&http, &node, true).await
}

/// Take a drain back.
///
/// The node is ready again and is given slots.
#[utoipa::path(
    delete, path = "/operator/nodes/{id}/drain", operation_id = "undrain_node", tag = "operator",
    params((
        "id" = String, Path, description = "The node's name", max_length = 63,
        pattern = "^[a-z0-9][a-z0-9.-]{0,62}$",
    )),
    responses((status = 200, description = "The node", body = NodeView)),
    extensions(("x-errors" = json!([ErrorCode::WrongState])))
)]
pub async fn undrain(
    State(http): State<Http>,
    _: Operator,
    Id(node): Id<NodeName>,
    _: NoParams,
) -> Answer<Json<NodeView>> {
    mark(&http, &node, false).await
}

async fn mark(http: &Http, node: &NodeName, draining: bool) -> Answer<Json<NodeView>> {
    match http.gateway()?.runtime.operator().drain(node, draining).await {
        Err(OperatorError::NoSuchNode { .. }) => Err(Problem::not_found("node")),
        marked => Ok(Json(marked?)),
    }
}
