//! Webhooks and deliveries as JSON: in the API, in events and in kept answers.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Delivery, Webhook};
use crate::event::{EventType, NewEvent};

/// What is shown of a header's value, which may be a credential.
const HIDDEN: &str = "***";

#[derive(Serialize)]
struct WebhookData<'a> {
    webhook: &'a Webhook,
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    webhook: &'a Webhook,
    secret: Option<&'a str>,
}

/// Names of headers are shown, their values are not.
impl Serialize for Webhook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headers: std::collections::BTreeMap<&str, &str> =
            self.headers.keys().map(|name| (name.as_str(), HIDDEN)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("url", &self.url)?;
        map.serialize_entry("description", &self.description)?;
        map.serialize_entry("events", &self.filter.events)?;
        map.serialize_entry("instances", &self.filter.instances)?;
        map.serialize_entry("chats", &self.filter.chats)?;
        map.serialize_entry("mode", &self.mode)?;
        map.serialize_entry("headers", &headers)?;
        map.serialize_entry("max_concurrency", &self.max_concurrency)?;
        map.serialize_entry("rate_per_second", &self.rate_per_second)?;
        map.serialize_entry("api_version", &self.api_version)?;
        map.serialize_entry("legacy_signature", &self.legacy_signature)?;
        map.serialize_entry("state", &self.state)?;
        map.serialize_entry("state_reason", &self.state_reason)?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("updated_at", &self.updated_at)?;
        map.end()
    }
}

impl Webhook {
    /// What a call that made it is answered with: the webhook and its secret. Without one it is the
    /// answer that is kept for a repetition of the call, where `secret` is null.
    pub fn created_json(&self, secret: Option<&str>) -> serde_json::Result<String> {
        serde_json::to_string(&Created {
            webhook: self,
            secret,
        })
    }
}

impl Serialize for Delivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("webhook_id", &self.id.webhook)?;
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("event_type", &self.event_type)?;
        map.serialize_entry("seq", &self.id.seq)?;
        map.serialize_entry("instance_id", &self.instance_id)?;
        map.serialize_entry("chat", &self.chat)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("dead_reason", &self.dead_reason)?;
        map.serialize_entry("attempt_count", &self.attempts)?;
        map.serialize_entry("next_attempt_at", &self.next_attempt_at)?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("updated_at", &self.updated_at)?;
        map.end()
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
            url: "https://example.org/hook".into(),
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
