//! `POST /v1/operator/tenants/{id}/api-keys`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::TenantId;
use roost_domain::api_key::{Principal, Scopes};
use roost_domain::store::Outcome;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::Command;
use crate::http::idempotency::replayed;
use crate::http::openapi::param::Repeatable;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;
use crate::http::v1::api_keys::MadeBody;
use crate::http::v1::api_keys::create::Create;
use crate::http::v1::instances::exist;

/// Create an API key of a tenant.
///
/// Makes a key of a tenant, for the tenant: a first one, or one for a tenant that has lost all of its.
/// Without scopes it may do everything. Its text is shown in this answer and never again.
#[utoipa::path(
    post, path = "/operator/tenants/{id}/api-keys", operation_id = "create_tenant_api_key", tag = "operator",
    params(("id" = TenantId, Path, description = "The tenant"), Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses((status = 201, description = "Made; its text is in this answer only", body = MadeBody, headers(("Location" = String, description = "Its path")))),
    extensions(("x-errors" = json!([ErrorCode::LimitReached])))
)]
pub async fn create(
    _: Operator,
    State(http): State<Http>,
    Id(id): Id<TenantId>,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let stamp = gateway.stamp(command.repeatable, StatusCode::CREATED);
    let new = command
        .body
        .check(Principal::Tenant(id), Some(Scopes::All), gateway.clock.now())?;
    gateway.store.tenant(id).await?;
    exist::check(gateway, id, &new.instances).await?;
    let made = gateway.access.make_key(new);
    match gateway.access.create_key(None, made, stamp).await? {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(made) => Ok(MadeBody::new(made).into_answer()),
    }
}
