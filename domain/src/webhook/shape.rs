//! Webhooks and deliveries as JSON: in the API, in events and in kept answers.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::{
    ApiVersion, DeadReason, Delivery, DeliveryId, DeliveryMode, DeliveryStatus, EventPattern, Webhook,
    WebhookState,
};
use crate::event::{EventType, NewEvent};
use crate::{Address, EventId, InstanceId, Timestamp, WebhookId};

/// What is shown of a header's value, which may be a credential.
const HIDDEN: &str = "***";

#[derive(Serialize)]
struct WebhookData<'a> {
    webhook: &'a Webhook,
}

/// A tenant's endpoint.
#[derive(Serialize, ToSchema)]
struct ShownWebhook<'a> {
    id: WebhookId,
    /// Where events are posted.
    #[schema(format = "uri", example = "https://hooks.example/roost")]
    url: &'a str,
    /// What the tenant says of it.
    description: Option<&'a str>,
    /// Which types of events it gets.
    events: &'a [EventPattern],
    /// Only events about these instances; empty does not restrict.
    instances: &'a [InstanceId],
    /// Only events about these chats; empty does not restrict.
    chats: &'a [Address],
    /// In which order it gets them.
    mode: DeliveryMode,
    /// Names of further headers of each POST, in place of their values `***`.
    #[schema(example = json!({"authorization": "***"}))]
    headers: BTreeMap<&'a str, &'a str>,
    /// POSTs at most at the same time; in mode `ordered` also chats.
    #[schema(minimum = 1)]
    max_concurrency: u16,
    /// POSTs at most per second.
    #[schema(minimum = 1)]
    rate_per_second: Option<u32>,
    /// Shape of the payload.
    api_version: ApiVersion,
    /// Whether each POST also carries `X-Hub-Signature-256`.
    legacy_signature: bool,
    /// Whether it delivers.
    state: WebhookState,
    /// Why it is paused or disabled.
    state_reason: Option<&'a str>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed by its tenant or disabled.
    updated_at: Timestamp,
}

impl<'a> ShownWebhook<'a> {
    fn of(webhook: &'a Webhook) -> Self {
        Self {
            id: webhook.id,
            url: &webhook.url,
            description: webhook.description.as_deref(),
            events: &webhook.filter.events,
            instances: &webhook.filter.instances,
            chats: &webhook.filter.chats,
            mode: webhook.mode,
            headers: webhook
                .headers
                .keys()
                .map(|name| (name.as_str(), HIDDEN))
                .collect(),
            max_concurrency: webhook.max_concurrency,
            rate_per_second: webhook.rate_per_second,
            api_version: webhook.api_version,
            legacy_signature: webhook.legacy_signature,
            state: webhook.state,
            state_reason: webhook.state_reason.as_deref(),
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

/// One event for one webhook.
#[derive(Serialize, ToSchema)]
struct ShownDelivery<'a> {
    id: DeliveryId,
    webhook_id: WebhookId,
    event_id: EventId,
    event_type: &'a EventType,
    /// The event's place in the log.
    #[schema(minimum = 1, example = 2)]
    seq: i64,
    /// Instance that the event is about.
    instance_id: Option<InstanceId>,
    /// Chat that the event is about.
    chat: Option<&'a Address>,
    /// What became of it.
    status: DeliveryStatus,
    /// Why it died.
    dead_reason: Option<DeadReason>,
    /// POSTs so far.
    attempt_count: u32,
    /// When the next attempt is due; null when there is none, or when it waits for an earlier event
    /// of its chat.
    next_attempt_at: Option<Timestamp>,
    /// When it was first tried or parked.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
}

impl<'a> ShownDelivery<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        Self {
            id: delivery.id,
            webhook_id: delivery.id.webhook,
            event_id: delivery.event_id,
            event_type: &delivery.event_type,
            seq: delivery.id.seq,
            instance_id: delivery.instance_id,
            chat: delivery.chat.as_ref(),
            status: delivery.status,
            dead_reason: delivery.dead_reason,
            attempt_count: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at,
            created_at: delivery.created_at,
            updated_at: delivery.updated_at,
        }
    }
}

/// A webhook that was just made, with its secret.
#[derive(Serialize, ToSchema)]
pub struct CreatedWebhook<'a> {
    #[serde(flatten)]
    webhook: &'a Webhook,
    /// The signing secret; null in an answer that is given again.
    #[schema(example = "whsec_RfwWQY+PjqALOde3USDyP+CEw9F8Gk7F3daPy/4dn6Q=")]
    secret: Option<&'a str>,
}

/// Names of headers are shown, their values are not.
impl Serialize for Webhook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ShownWebhook::of(self).serialize(serializer)
    }
}

impl PartialSchema for Webhook {
    fn schema() -> RefOr<Schema> {
        ShownWebhook::schema()
    }
}

impl ToSchema for Webhook {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ShownWebhook::schemas(schemas);
    }
}

impl Webhook {
    /// What a call that made it is answered with: the webhook and its secret. Without one it is the
    /// answer that is kept for a repetition of the call, where `secret` is null.
    pub fn created_json(&self, secret: Option<&str>) -> serde_json::Result<String> {
        serde_json::to_string(&CreatedWebhook {
            webhook: self,
            secret,
        })
    }
}

impl Serialize for Delivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ShownDelivery::of(self).serialize(serializer)
    }
}

impl PartialSchema for Delivery {
    fn schema() -> RefOr<Schema> {
        ShownDelivery::schema()
    }
}

impl ToSchema for Delivery {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ShownDelivery::schemas(schemas);
    }
}

impl NewEvent {
    /// `webhook.created`, `webhook.disabled` and `webhook.deleted`.
    pub fn webhook(kind: EventType, webhook: &Webhook) -> Self {
        Self {
            kind,
            instance_id: None,
            chat: None,
            // The shape above has text keys: JSON can always write it.
            data: serde_json::value::to_raw_value(&WebhookData { webhook }).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::webhook::{ApiVersion, DeliveryMode, WebhookFilter, WebhookState};
    use crate::{TenantId, Timestamp, WebhookId};

    use super::*;

    #[test]
    fn an_event_about_a_webhook_does_not_tell_the_values_of_its_headers() {
        let at = Timestamp::from_unix_ms(0);
        let webhook = Webhook {
            id: WebhookId::from_parts(1, 1),
            tenant_id: TenantId::from_parts(1, 1),
            url: "https://hooks.example/roost".into(),
            description: None,
            filter: WebhookFilter {
                events: vec!["message.*".parse().unwrap()],
                ..WebhookFilter::default()
            },
            mode: DeliveryMode::Ordered,
            headers: [("authorization".to_owned(), "Bearer hunter2".to_owned())].into(),
            max_concurrency: 16,
            rate_per_second: None,
            api_version: ApiVersion::LATEST,
            legacy_signature: false,
            state: WebhookState::Enabled,
            state_reason: None,
            created_at: at,
            updated_at: at,
        };
        let data = NewEvent::webhook(EventType::WebhookCreated, &webhook).data;
        let data: serde_json::Value = serde_json::from_str(data.get()).unwrap();
        assert_eq!(data["webhook"]["headers"]["authorization"], HIDDEN);
        assert_eq!(data["webhook"]["events"][0], "message.*");
        assert_eq!(data["webhook"]["state"], "enabled");
        let created = webhook.created_json(None).unwrap();
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        assert_eq!(created["secret"], serde_json::Value::Null);
        assert_eq!(created["id"], data["webhook"]["id"]);
    }
}
