//! `GET /v1/audit-events`

use axum::Json;
use axum::extract::State;
use roost_domain::Timestamp;
use roost_domain::api_key::Principal;
use roost_domain::audit::{AuditEvent, AuditFilter, AuditResult};
use utoipa::IntoParams;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::cursor::Scope;
use crate::http::openapi::param::Paging;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// Longest text to look for.
const TEXT_BYTES_MAX: usize = 128;

/// Which audit events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
pub struct Filter {
    /// Not before.
    from: Option<Timestamp>,
    /// Before.
    to: Option<Timestamp>,
    /// Only what this key did.
    #[param(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    actor_id: Option<String>,
    /// Only this operation.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[!-~]+$",
        example = "create_instance"
    )]
    action: Option<String>,
    /// Only what was done to this.
    #[param(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    target: Option<String>,
    /// Only what ended so.
    #[param(inline)]
    result: Option<AuditResult>,
}

/// List audit events.
///
/// The tenant's audit log, newest first: every call that changed something, and every call that was
/// denied.
#[utoipa::path(
    get, path = "/audit-events", operation_id = "list_audit_events", tag = "audit-events",
    params(Filter, Paging),
    responses((status = 200, description = "A page", body = PageBody<AuditEvent>)),
    extensions(("x-scope" = json!("audit:read")), ("x-unbound" = json!(true)))
)]
pub async fn list(
    State(http): State<Http>,
    Unbound { tenant, .. }: Unbound<scope::AuditRead>,
    params: Params,
) -> Answer<Json<PageBody<AuditEvent>>> {
    page(&http, Principal::Tenant(tenant), params).await
}

/// A page of a tenant's log, or of the operator's, that passes the filters in the query.
pub async fn page(http: &Http, of: Principal, mut params: Params) -> Answer<Json<PageBody<AuditEvent>>> {
    let filter = AuditFilter {
        from: params.parsed("from", str::parse::<Timestamp>),
        to: params.parsed("to", str::parse::<Timestamp>),
        actor_id: params.parsed("actor_id", text),
        action: params.parsed("action", text),
        target: params.parsed("target", text),
        result: params.parsed("result", |name| {
            AuditResult::from_name(name).ok_or("expected done, denied or failed")
        }),
    };
    let scope = list_of(of, &filter);
    let request = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.store.audit_events(of, &filter, request).await?;
    Ok(Json(PageBody::new(page, &scope)))
}

fn text(text: &str) -> Result<String, String> {
    if (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {TEXT_BYTES_MAX} visible ASCII characters"))
    }
}

fn list_of(of: Principal, filter: &AuditFilter) -> Scope {
    let whose = of
        .tenant()
        .map_or("operator".to_owned(), |tenant| tenant.to_string());
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Scope::of(&[
        "audit",
        &whose,
        &time(filter.from),
        &time(filter.to),
        &text(&filter.actor_id),
        &text(&filter.action),
        &text(&filter.target),
        filter.result.map(AuditResult::as_str).unwrap_or_default(),
    ])
}
