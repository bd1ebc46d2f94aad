//! Webhooks: a tenant's HTTP endpoints, each a filter and a cursor over the tenant's event log.
//!
//! [`Webhook`] is what the tenant sees. [`Delivery`] is one event for one webhook, [`Attempt`] one POST.
//! [`store`] is the repository port, [`client`] the port of the outgoing call.

pub mod client;
mod pattern;
mod shape;
pub mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::{Event, EventType};
use crate::schema::{self, schema};
use crate::{Address, Epoch, EventId, InstanceId, TenantId, Timestamp, WebhookId};

pub use pattern::{EventPattern, PatternError};
pub use shape::CreatedWebhook;

/// In which order a webhook gets its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryMode {
    /// Per chat in the order of `seq`: a later event goes out after the earlier one succeeded or died.
    /// Events of no chat are in order per instance, those of no instance per tenant.
    Ordered,
    /// Each for itself.
    Unordered,
}

/// Whether a webhook delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// It delivers.
    Enabled,
    /// Its tenant has paused it: events wait for it in the log.
    Paused,
    /// Roost has disabled it, because it answered 410 or failed for too long.
    Disabled,
}

/// A dated shape of the payload; a webhook keeps the one it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum ApiVersion {
    /// The first.
    #[serde(rename = "2026-11-01")]
    V20261101,
}

impl ApiVersion {
    /// Every version, oldest first.
    pub const ALL: &'static [Self] = &[Self::V20261101];
    /// The one that a webhook gets if it asks for none.
    pub const LATEST: Self = Self::V20261101;

    /// Its date.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V20261101 => "2026-11-01",
        }
    }

    /// The version of this date.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|version| version.as_str() == name)
    }
}

/// A tenant's endpoint, as the tenant sees it. Secrets are not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Identity.
    pub id: WebhookId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Where events are posted.
    pub url: String,
    /// What the tenant says of it.
    pub description: Option<String>,
    /// Which events it gets.
    pub filter: WebhookFilter,
    /// In which order.
    pub mode: DeliveryMode,
    /// Further headers of each POST. Values may be credentials: they are encrypted at rest.
    pub headers: BTreeMap<String, String>,
    /// POSTs at most at the same time; in mode `ordered` also chats.
    pub max_concurrency: u16,
    /// POSTs at most per second.
    pub rate_per_second: Option<u32>,
    /// Shape of the payload.
    pub api_version: ApiVersion,
    /// Whether each POST also carries `X-Hub-Signature-256`.
    pub legacy_signature: bool,
    /// Whether it delivers.
    pub state: WebhookState,
    /// Why it is paused or disabled.
    pub state_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by its tenant or disabled.
    pub updated_at: Timestamp,
}

/// Which events a webhook gets. Empty `instances` and `chats` do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookFilter {
    /// Types: at least one.
    pub events: Vec<EventPattern>,
    /// Only events about these instances.
    pub instances: Vec<InstanceId>,
    /// Only events about these chats.
    pub chats: Vec<Address>,
}

impl WebhookFilter {
    /// Whether the event is for the webhook.
    pub fn matches(&self, event: &Event) -> bool {
        self.events.iter().any(|pattern| pattern.matches(&event.kind))
            && (self.instances.is_empty() || event.instance_id.is_some_and(|id| self.instances.contains(&id)))
            && (self.chats.is_empty() || event.chat.as_ref().is_some_and(|chat| self.chats.contains(chat)))
    }
}

/// A signing secret: 24 to 64 bytes, as text `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    /// The key.
    pub key: Vec<u8>,
    /// Until when it still signs; `None` for the current one.
    pub expires_at: Option<Timestamp>,
}

/// Says nothing of the key.
impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecret")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Who delivers: a webhook and the epoch under which the deliverer owns it. A write whose epoch is
/// behind the webhook's row fails with [`crate::store::StoreError::Fenced`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WebhookOwner {
    /// Tenant of the webhook.
    pub tenant: TenantId,
    /// The webhook.
    pub webhook: WebhookId,
    /// Epoch under which the deliverer owns it.
    pub epoch: Epoch,
}

/// Identity of a delivery: the webhook's and the event's place in the log. It needs no row of its own
/// to be unique, and the text sorts by both: `dlv_<webhook's 26 characters>_<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// Webhook it is for.
    pub webhook: WebhookId,
    /// Place of the event in the tenant's log.
    pub seq: i64,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let webhook = self.webhook.to_string();
        let ulid = webhook.strip_prefix("whk_").unwrap_or(&webhook);
        write!(f, "dlv_{ulid}_{}", self.seq)
    }
}

/// A text is not the id of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form dlv_<26 characters>_<number>")]
pub struct DeliveryIdError;

impl FromStr for DeliveryId {
    type Err = DeliveryIdError;

    fn from_str(text: &str) -> Result<Self, DeliveryIdError> {
        let (ulid, seq) = text
            .strip_prefix("dlv_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or(DeliveryIdError)?;
        let id = Self {
            webhook: format!("whk_{ulid}").parse().map_err(|_| DeliveryIdError)?,
            seq: seq.parse().map_err(|_| DeliveryIdError)?,
        };
        // Only the canonical spelling is an id: otherwise one thing would have many names.
        if id.seq > 0 && id.to_string() == text {
            Ok(id)
        } else {
            Err(DeliveryIdError)
        }
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

schema!(
    DeliveryId,
    schema::text(
        "One event for one webhook: the webhook's id and the event's `seq`.",
        "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}_[1-9][0-9]{0,18}$",
        "dlv_01M847KKQ9RQ059CRGKFK3SYGW_2",
    )
);

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for its next attempt, or for an earlier one of its chat.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// It is given up, until somebody drives it again: a dead letter.
    Dead,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[Self::Pending, Self::Delivered, Self::Dead];

    /// Its name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == name)
    }
}

/// Why a delivery died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// Every attempt of the schedule failed.
    AttemptsExhausted,
    /// The endpoint answered 410 Gone.
    Gone,
    /// The event's retention ended before it was delivered.
    Expired,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[Self::AttemptsExhausted, Self::Gone, Self::Expired];

    /// Its name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Gone => "gone",
            Self::Expired => "expired",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }
}

/// One POST.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Which one of its delivery, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// Status of the answer, when there was one.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<AttemptError>,
    /// The first 4 KiB of the answer's body, as far as they are text.
    pub answer: Option<String>,
}

/// Why an attempt had no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptError {
    /// What failed, for machines.
    #[schema(pattern = "^[a-z_]+$", example = "timeout")]
    pub code: String,
    /// For humans.
    pub detail: String,
}

/// One event for one webhook. Its row is there from its first attempt, or from when it was parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Identity.
    pub id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// Instance that the event is about.
    pub instance_id: Option<InstanceId>,
    /// Chat that the event is about.
    pub chat: Option<Address>,
    /// What became of it.
    pub status: DeliveryStatus,
    /// Why it died.
    pub dead_reason: Option<DeadReason>,
    /// POSTs so far.
    pub attempts: u32,
    /// When the next attempt is due; `None` when it waits for an earlier one, or there is none.
    pub next_attempt_at: Option<Timestamp>,
    /// When its row was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
