//! `GET /v1/instances/{id}/qr`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use roost_domain::ErrorCode;
use roost_domain::InstanceId;
use utoipa::ToSchema;

use super::CodeBody;
use crate::http::auth::{Allowed, held, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;
use crate::http::{Http, accept, qr_image};

const JSON: &str = "application/json";
const PNG: &str = "image/png";
const SVG: &str = "image/svg+xml";

/// A picture.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct PngImage(#[allow(dead_code, reason = "only described")] Vec<u8>);

/// Show the QR code.
///
/// The QR code to be scanned now, as its text or as an image.
#[utoipa::path(
    get, path = "/instances/{id}/qr", operation_id = "get_instance_qr", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance")),
    responses(
        (
            status = 200,
            description = "The code, in the type that `Accept` likes best; its text when there is no `Accept`",
            content((CodeBody = "application/json"), (String = "image/svg+xml"), (PngImage = "image/png")),
        ),
    ),
    extensions(
        ("x-scope" = json!("instances:read")),
        ("x-errors" = json!([ErrorCode::WrongState, ErrorCode::NotAcceptable])),
    )
)]
pub async fn qr(
    Allowed { tenant, caller, .. }: Allowed<scope::InstancesRead>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    headers: HeaderMap,
    _: NoParams,
) -> Answer<Response> {
    let media = accept::choose(&headers, &[JSON, PNG, SVG])?;
    let gateway = http.gateway()?;
    let shown = held(gateway, &caller, async {
        Ok(gateway.instances.qr(tenant, id).await?)
    });
    let shown = shown.await?;
    let mut response = match media {
        PNG => qr_image::png(&shown.code)?.into_response(),
        SVG => qr_image::svg(&shown.code)?.into_response(),
        _ => Json(CodeBody {
            code: shown.code,
            expires_at: shown.expires_at,
        })
        .into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    // A code is a credential for a minute: no cache may keep it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}
