//! `GET /v1/webhooks/{id}/secret` and `POST /v1/webhooks/{id}/rotate-secret`

use crate::http::openapi::param::Repeatable;
use roost_domain::ErrorCode;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_domain::webhook::WebhookSecret;
use roost_domain::{Timestamp, WebhookId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret_text;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::once_keeping;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The secrets that sign now.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = WebhookSecrets)]
pub struct Secrets {
    /// The current one; null in an answer that is given again.
    #[schema(example = "whsec_RfwWQY+PjqALOde3USDyP+CEw9F8Gk7F3daPy/4dn6Q=")]
    secret: Option<String>,
    /// Those that sign beside it for a while.
    previous: Vec<Previous>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreviousWebhookSecret)]
struct Previous {
    /// The secret.
    secret: String,
    /// Until when it signs.
    expires_at: Option<Timestamp>,
}

/// A new secret, and how long the one before signs beside it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateWebhookSecret)]
pub struct Rotate {
    /// A signing secret of one's own: `whsec_` and 24 to 64 bytes in base64.
    #[schema(pattern = r"^whsec_[A-Za-z0-9+/]{32,86}={0,2}$", max_length = 94)]
    secret: Option<String>,
    /// For how long the secrets before sign beside it; a day when absent.
    #[schema(example = 3600)]
    overlap_seconds: Option<u64>,
}

/// Show the signing secrets.
///
/// Shows the current secret and those that still sign beside it.
#[utoipa::path(
    get, path = "/webhooks/{id}/secret", operation_id = "get_webhook_secret", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses((status = 200, description = "The secrets that sign now", body = Secrets)),
    extensions(("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)))
)]
pub async fn reveal(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<Response> {
    let secrets = http.gateway()?.webhooks.secret(tenant, id).await?;
    Ok((NO_STORE, Json(Secrets::of(&secrets))).into_response())
}

/// Rotate the signing secret.
///
/// Puts a new secret in place. Those before sign beside it for a while, so that receivers can move. The
/// answer that is kept for a repetition shows none of them.
#[utoipa::path(
    post, path = "/webhooks/{id}/rotate-secret", operation_id = "rotate_webhook_secret", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Repeatable),
    request_body(content = Rotate, description = "The new secret, or nothing for one that is made"),
    responses((status = 200, description = "The secrets that sign from now on", body = Secrets)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn rotate(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Rotate>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let longest = http.webhooks().secret_overlap_max.as_secs();
    let Rotate {
        secret,
        overlap_seconds,
    } = command.body;
    let mut faults = Faults::default();
    let secret = secret.and_then(|text| faults.take("/secret", secret_text::read(&text)));
    if let Some(seconds) = overlap_seconds {
        faults.range("/overlap_seconds", 0..=longest, &seconds);
    }
    faults.finish()?;
    let overlap = overlap_seconds.map(Duration::from_secs);
    let rotated = async {
        gateway
            .webhooks
            .rotate_secret(tenant, id, secret, overlap)
            .await?;
        Ok(Secrets::of(&gateway.webhooks.secret(tenant, id).await?))
    };
    let none = |_: &Secrets| Some(Secrets::default());
    let answer = once_keeping(gateway, tenant, command.repeatable, StatusCode::OK, rotated, none).await?;
    Ok((NO_STORE, answer).into_response())
}

impl Secrets {
    fn of(secrets: &[WebhookSecret]) -> Self {
        let mut secrets = secrets.iter();
        Self {
            secret: secrets.next().map(|current| secret_text::write(&current.key)),
            previous: secrets
                .map(|secret| Previous {
                    secret: secret_text::write(&secret.key),
                    expires_at: secret.expires_at,
                })
                .collect(),
        }
    }
}
