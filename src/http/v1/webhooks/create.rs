//! `POST /v1/webhooks`

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::webhook::CreateWebhook;
use roost_domain::store::Outcome;
use roost_domain::webhook::{DeliveryMode, WebhookFilter};
use serde::Deserialize;

use super::{instances, secret_text, spec};
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::{Answer, Problem};

/// What makes a webhook.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    url: String,
    events: Vec<String>,
    instances: Option<Vec<String>>,
    chats: Option<Vec<String>>,
    mode: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    max_concurrency: Option<u16>,
    rate_per_second: Option<u32>,
    api_version: Option<String>,
    legacy_signature: Option<bool>,
    description: Option<String>,
    secret: Option<String>,
}

/// Makes a webhook, which gets every event from now on. The secret is shown now and when it is asked
/// for; the answer that is kept for a repetition does not have it.
pub async fn create(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let status = StatusCode::CREATED;
    let idempotency = command
        .repeatable
        .map(|repeatable| gateway.record(repeatable, status));
    let create = command.body.check(http.webhooks().concurrency_max)?;
    instances::check(gateway, tenant, &create.filter.instances).await?;
    match gateway.webhooks.create(tenant, create, idempotency).await? {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done((webhook, secret)) => {
            let location = format!("/v1/webhooks/{}", webhook.id);
            let body = webhook
                .created_json(Some(&secret_text::write(&secret.key)))
                .map_err(|error| Problem::internal(error.to_string()))?;
            let content_type = HeaderValue::from_static("application/json");
            let headers = [(header::LOCATION, location)];
            Ok((status, headers, [(header::CONTENT_TYPE, content_type)], body).into_response())
        }
    }
}

impl Create {
    fn check(self, concurrency_max: u16) -> Answer<CreateWebhook> {
        let mut faults = Faults::default();
        spec::url(&mut faults, &self.url);
        let filter = WebhookFilter {
            events: spec::events(&mut faults, &self.events),
            instances: spec::instances(&mut faults, &self.instances.unwrap_or_default()),
            chats: spec::chats(&mut faults, &self.chats.unwrap_or_default()),
        };
        let mode = self.mode.and_then(|text| spec::mode(&mut faults, &text));
        let headers = spec::headers(&mut faults, self.headers.unwrap_or_default());
        if let Some(number) = self.max_concurrency {
            spec::max_concurrency(&mut faults, concurrency_max, number);
        }
        if let Some(number) = self.rate_per_second {
            spec::rate(&mut faults, number);
        }
        let api_version = self
            .api_version
            .and_then(|text| spec::api_version(&mut faults, &text));
        if let Some(text) = &self.description {
            spec::description(&mut faults, "/description", text);
        }
        let secret = self
            .secret
            .and_then(|text| faults.take("/secret", secret_text::read(&text)));
        faults.finish()?;
        Ok(CreateWebhook {
            url: self.url,
            description: self.description,
            filter,
            mode: mode.unwrap_or(DeliveryMode::Ordered),
            headers,
            max_concurrency: self.max_concurrency,
            rate_per_second: self.rate_per_second,
            api_version,
            legacy_signature: self.legacy_signature.unwrap_or(false),
            secret,
        })
    }
}
