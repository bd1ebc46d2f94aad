//! `POST /v1/webhooks`

use crate::http::openapi::param::Repeatable;
use roost_domain::ErrorCode;

use crate::http::openapi::param::{AddressText, ExtraHeaders};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::webhook::CreateWebhook;
use roost_domain::InstanceId;
use roost_domain::store::Outcome;
use roost_domain::webhook::{ApiVersion, CreatedWebhook, DeliveryMode, EventPattern, WebhookFilter};
use serde::Deserialize;
use utoipa::ToSchema;

use super::header::Headers;
use super::{secret_text, spec};
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::call::Call;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::{Answer, Problem};
use crate::http::v1::instances::exist;

/// What makes a webhook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    as = CreateWebhook,
    example = json!({"url": "https://hooks.example/roost", "events": ["message.*"]})
)]
pub struct Create {
    /// Where events are posted.
    #[schema(
        min_length = 1,
        max_length = 2048,
        format = "uri",
        example = "https://hooks.example/roost"
    )]
    url: String,
    /// Which types of events it gets.
    #[schema(value_type = Vec<EventPattern>, min_items = 1, max_items = 50)]
    events: Vec<String>,
    /// Only events about these instances; empty or null does not restrict.
    #[schema(value_type = Option<Vec<InstanceId>>, max_items = 100, example = json!([]))]
    instances: Option<Vec<String>>,
    /// Only events about these chats; empty or null does not restrict.
    #[schema(value_type = Option<Vec<AddressText>>, max_items = 100, example = json!([]))]
    chats: Option<Vec<String>>,
    /// In which order it gets them.
    #[schema(value_type = Option<DeliveryMode>)]
    mode: Option<String>,
    /// Further headers of each POST, at most 20.
    #[schema(value_type = Option<ExtraHeaders>)]
    headers: Option<Headers>,
    /// POSTs at most at the same time; in mode `ordered` also chats.
    #[schema(minimum = 1)]
    max_concurrency: Option<u16>,
    /// POSTs at most per second; null is no limit.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    rate_per_second: Option<u32>,
    /// Shape of the payload.
    #[schema(value_type = Option<ApiVersion>)]
    api_version: Option<String>,
    /// Whether each POST also carries `X-Hub-Signature-256`.
    #[schema(value_type = Option<bool>)]
    legacy_signature: Option<bool>,
    /// What the tenant says of it.
    #[schema(
        value_type = Option<String>,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*$",
        example = "orders"
    )]
    description: Option<String>,
    /// A signing secret of one's own: `whsec_` and 24 to 64 bytes in base64.
    #[schema(pattern = r"^whsec_[A-Za-z0-9+/]{32,86}={0,2}$", max_length = 94)]
    secret: Option<String>,
}

/// Create a webhook.
///
/// Makes a webhook, which gets every event from now on. The secret is shown now and when it is asked
/// for; the answer that is kept for a repetition does not have it.
#[utoipa::path(
    post, path = "/webhooks", operation_id = "create_webhook", tag = "webhooks",
    params(Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses(
        (
            status = 201, description = "Made, with its secret", body = CreatedWebhook<'_>,
            headers(("Location" = String, description = "Its path")),
        ),
    ),
    extensions(
        ("x-scope" = json!("webhooks:manage")),
        ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::LimitReached])),
    )
)]
pub async fn create(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    call: Call,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let status = StatusCode::CREATED;
    let idempotency = command
        .repeatable
        .map(|repeatable| gateway.record(repeatable, status));
    let mut create = command.body.check(http.webhooks().concurrency_max)?;
    create.webhooks_max = gateway.limiter.webhooks_max(&call);
    exist::check(gateway, tenant, &create.filter.instances).await?;
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
        let headers = spec::headers(&mut faults, self.headers.unwrap_or_default().0);
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
            webhooks_max: None,
        })
    }
}
