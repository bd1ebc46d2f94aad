//! `GET /v1/webhooks/{id}/secret` and `POST /v1/webhooks/{id}/rotate-secret`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_domain::webhook::WebhookSecret;
use roost_domain::{Timestamp, WebhookId};
use serde::{Deserialize, Serialize};

use super::secret_text;
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::once_keeping;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The secrets that sign now.
#[derive(Debug, Default, Serialize)]
pub struct Secrets {
    secret: Option<String>,
    previous: Vec<Previous>,
}

#[derive(Debug, Serialize)]
struct Previous {
    secret: String,
    expires_at: Option<Timestamp>,
}

/// A new secret, and how long the one before signs beside it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    secret: Option<String>,
    overlap_seconds: Option<u64>,
}

/// Shows the current secret and those that still sign beside it.
pub async fn reveal(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<Response> {
    let secrets = http.gateway()?.webhooks.secret(tenant, id).await?;
    Ok((NO_STORE, Json(Secrets::of(&secrets))).into_response())
}

/// Puts a new secret in place. Those before sign beside it for a while, so that receivers can move. The
/// answer that is kept for a repetition shows none of them.
pub async fn rotate(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
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
