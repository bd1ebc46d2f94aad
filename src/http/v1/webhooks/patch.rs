//! `PATCH /v1/webhooks/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::WebhookId;
use roost_domain::webhook::store::WebhookPatch;
use roost_domain::webhook::{ApiVersion, DeliveryMode, EventPattern, Webhook};
use serde::Deserialize;
use utoipa::ToSchema;

use super::header::Headers;
use super::{WebhookBody, spec};
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::{Body, nullable};
use crate::http::fault::Faults;
use crate::http::openapi::param::{AddressText, ExtraHeaders};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;
use crate::http::v1::instances::exist;

/// What can be changed; a field that is absent stays as it is. Null removes a description, a rate,
/// every header, or a restriction to instances or chats.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatchWebhook, example = json!({"description": "orders"}))]
pub struct Patch {
    /// Where events are posted.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 2048,
        format = "uri",
        example = "https://hooks.example/roost"
    )]
    url: Option<Option<String>>,
    /// Which types of events it gets.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Vec<EventPattern>, required = false, min_items = 1, max_items = 50)]
    events: Option<Option<Vec<String>>>,
    /// Only events about these instances; empty or null does not restrict.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<InstanceId>>, max_items = 100, example = json!([]))]
    instances: Option<Option<Vec<String>>>,
    /// Only events about these chats; empty or null does not restrict.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<AddressText>>, max_items = 100, example = json!([]))]
    chats: Option<Option<Vec<String>>>,
    /// In which order it gets them.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = DeliveryMode, required = false)]
    mode: Option<Option<String>>,
    /// Further headers of each POST, at most 20.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ExtraHeaders>)]
    headers: Option<Option<Headers>>,
    /// POSTs at most at the same time; in mode `ordered` also chats.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = u16, required = false, minimum = 1)]
    max_concurrency: Option<Option<u16>>,
    /// POSTs at most per second; null is no limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    rate_per_second: Option<Option<u32>>,
    /// Shape of the payload.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = ApiVersion, required = false)]
    api_version: Option<Option<String>>,
    /// Whether each POST also carries `X-Hub-Signature-256`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = bool, required = false)]
    legacy_signature: Option<Option<bool>>,
    /// What the tenant says of it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(
        value_type = Option<String>,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*$",
        example = "orders"
    )]
    description: Option<Option<String>>,
}

/// Change a webhook.
///
/// Changes a webhook. Events that are not read yet go by the new filter, and each POST by the new rest.
#[utoipa::path(
    patch, path = "/webhooks/{id}", operation_id = "update_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    request_body(content = Patch, description = "What changes"),
    responses((status = 200, description = "As it is from now on", body = Webhook)),
    extensions(("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)))
)]
pub async fn patch(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    Body(patch): Body<Patch>,
) -> Answer<WebhookBody> {
    let gateway = http.gateway()?;
    let now = gateway.webhooks.get(tenant, id).await?;
    let patch = patch.check(http.webhooks().concurrency_max)?;
    if let Some(instances) = &patch.instances
        && *instances != now.filter.instances
    {
        exist::check(gateway, tenant, instances).await?;
    }
    Ok(Json(gateway.webhooks.patch(tenant, id, patch).await?))
}

impl Patch {
    fn check(self, concurrency_max: u16) -> Answer<WebhookPatch> {
        let mut faults = Faults::default();
        let url = faults.set("/url", self.url);
        if let Some(url) = &url {
            spec::url(&mut faults, url);
        }
        let events = faults
            .set("/events", self.events)
            .map(|texts| spec::events(&mut faults, &texts));
        let instances = self
            .instances
            .map(|texts| spec::instances(&mut faults, &texts.unwrap_or_default()));
        let chats = self
            .chats
            .map(|texts| spec::chats(&mut faults, &texts.unwrap_or_default()));
        let mode = faults
            .set("/mode", self.mode)
            .and_then(|text| spec::mode(&mut faults, &text));
        let headers = self
            .headers
            .map(|headers| spec::headers(&mut faults, headers.unwrap_or_default().0));
        let max_concurrency = faults.set("/max_concurrency", self.max_concurrency);
        if let Some(number) = max_concurrency {
            spec::max_concurrency(&mut faults, concurrency_max, number);
        }
        if let Some(Some(number)) = self.rate_per_second {
            spec::rate(&mut faults, number);
        }
        let legacy_signature = faults.set("/legacy_signature", self.legacy_signature);
        let api_version = faults
            .set("/api_version", self.api_version)
            .and_then(|text| spec::api_version(&mut faults, &text));
        if let Some(Some(text)) = &self.description {
            spec::description(&mut faults, "/description", text);
        }
        faults.finish()?;
        Ok(WebhookPatch {
            url,
            description: self.description,
            events,
            instances,
            chats,
            mode,
            headers,
            max_concurrency,
            rate_per_second: self.rate_per_second,
            api_version,
            legacy_signature,
            state: None,
        })
    }
}
