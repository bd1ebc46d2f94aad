//! `POST /v1/api-keys/{id}/rotate`

use roost_domain::ErrorCode;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use roost_domain::ApiKeyId;
use roost_domain::api_key::Principal;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{MadeBody, NO_STORE};
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::once_keeping;
use crate::http::openapi::param::Repeatable;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// How long the text before is still taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateApiKey)]
pub struct Rotate {
    /// For how long the text before is taken; a day when absent.
    #[schema(example = 3600)]
    overlap_seconds: Option<u64>,
}

/// Rotate an API key.
///
/// Gives a key a new text, which is shown in this answer and never again. The one before is taken for the
/// overlap, so that clients can move.
#[utoipa::path(
    post, path = "/api-keys/{id}/rotate", operation_id = "rotate_api_key", tag = "api-keys",
    params(("id" = ApiKeyId, Path, description = "The key"), Repeatable),
    request_body(content = Rotate, description = "How long the text before is taken"),
    responses((status = 200, description = "The new text, in this answer only", body = MadeBody)),
    extensions(
        ("x-scope" = json!("keys:manage")),
        ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn rotate(
    Unbound { tenant, caller, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    Id(id): Id<ApiKeyId>,
    _: NoParams,
    command: Command<Rotate>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let config = gateway.access.config();
    let overlap = match command.body.overlap_seconds {
        None => config.rotation_overlap,
        Some(seconds) => {
            let mut faults = Faults::default();
            let longest = config.rotation_overlap_max.as_secs();
            faults.range("/overlap_seconds", 0..=longest, &seconds);
            faults.finish()?;
            Duration::from_secs(seconds)
        }
    };
    let of = Principal::Tenant(tenant);
    let rotated = async {
        let rotated = gateway
            .access
            .rotate_key(Some(caller.key()), of, id, overlap)
            .await;
        let (key, text) = rotated?;
        Ok(MadeBody::with_text(key, &text))
    };
    let kept = |made: &MadeBody| Some(made.without_text());
    let answer = once_keeping(gateway, tenant, command.repeatable, StatusCode::OK, rotated, kept).await?;
    Ok((NO_STORE, answer).into_response())
}
