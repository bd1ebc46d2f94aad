//! `GET /v1/instances/{id}/pairing-code`

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use roost_domain::ErrorCode;
use roost_domain::InstanceId;

use super::CodeBody;
use crate::http::Http;
use crate::http::auth::{Allowed, held, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Show the pairing code.
///
/// The code to be entered on the phone now: eight characters, which WhatsApp shows as `XXXX-XXXX`.
#[utoipa::path(
    get, path = "/instances/{id}/pairing-code", operation_id = "get_instance_pairing_code", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance")),
    responses((status = 200, description = "The code", body = CodeBody)),
    extensions(("x-scope" = json!("instances:read")), ("x-errors" = json!([ErrorCode::WrongState])))
)]
pub async fn pairing_code(
    Allowed { tenant, caller, .. }: Allowed<scope::InstancesRead>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    _: NoParams,
) -> Answer<impl IntoResponse> {
    let gateway = http.gateway()?;
    let shown = held(gateway, &caller, async {
        Ok(gateway.instances.pairing_code(tenant, id).await?)
    });
    let shown = shown.await?;
    let body = CodeBody {
        code: shown.code,
        expires_at: shown.expires_at,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)))
}
