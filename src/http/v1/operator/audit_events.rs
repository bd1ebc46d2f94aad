//! `GET /v1/operator/audit-events`

use axum::Json;
use axum::extract::State;
use roost_domain::api_key::Principal;
use roost_domain::audit::AuditEvent;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::openapi::param::Paging;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;
use crate::http::v1::audit_events::list::{self as tenants, Filter};

/// List the operator's audit events.
///
/// Newest first: what operators did, and calls that were denied without a key by which a tenant could be
/// told.
#[utoipa::path(
    get, path = "/operator/audit-events", operation_id = "list_operator_audit_events", tag = "operator",
    params(Filter, Paging),
    responses((status = 200, description = "A page", body = PageBody<AuditEvent>))
)]
pub async fn list(
    State(http): State<Http>,
    _: Operator,
    params: Params,
) -> Answer<Json<PageBody<AuditEvent>>> {
    tenants::page(&http, Principal::Operator, params).await
}
