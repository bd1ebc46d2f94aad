//! A webhook's own row, its secrets and its replays, as they are read and written.

use std::collections::BTreeMap;

use roost_domain::store::StoreError;
use roost_domain::webhook::store::{Replay, ReplayScope, WebhookDuty};
use roost_domain::webhook::{
    ApiVersion, DeliveryMode, Webhook, WebhookFilter, WebhookOwner, WebhookSecret, WebhookState,
};
use roost_domain::{Epoch, TenantId, Timestamp, WebhookId};

use crate::crypto::{self, Keyring, Place, TenantKey};
use crate::database::{Args, Row, storable};

/// Columns of a webhook `w` with its tenant `t`, in the order in which [`WebhookRow::read`] reads them.
macro_rules! columns {
    () => {
        "w.id, w.tenant_id, w.url, w.description, w.filter, w.mode, w.headers, w.max_concurrency, \
         w.rate_per_second, w.api_version, w.legacy_signature, w.state, w.state_reason, w.created_at, \
         w.updated_at, w.epoch, w.cursor_seq, w.failing_since, w.secret_count, w.replay_count, t.key_salt"
    };
}
pub(super) use columns;

/// A webhook with what its tenant does not see.
#[derive(Clone)]
pub(super) struct WebhookRow {
    pub(super) webhook: Webhook,
    pub(super) epoch: Epoch,
    pub(super) cursor: i64,
    pub(super) failing_since: Option<Timestamp>,
    /// Numbers given to secrets and replays so far.
    pub(super) secret_count: i64,
    pub(super) replay_count: i64,
}

impl WebhookRow {
    pub(super) fn read(row: &Row, keyring: &Keyring) -> Result<Self, StoreError> {
        let id: WebhookId = row.parse(0)?;
        let tenant_id: TenantId = row.parse(1)?;
        let salt = row.bytes(20)?;
        // What was sealed with a key that is destroyed is gone.
        let (url, headers) = if crypto::is_destroyed(&salt) {
            (String::new(), BTreeMap::new())
        } else {
            let key = keyring.tenant(tenant_id, &salt);
            let key = key.webhook(id);
            let url = key.open_text(Place::WebhookUrl, row.str(2)?)?.into_owned();
            let headers = match row.opt_bytes(6)? {
                None => BTreeMap::new(),
                Some(sealed) => {
                    let plain = key.open(Place::WebhookHeaders, sealed)?;
                    serde_json::from_slice(&plain).map_err(unreadable)?
                }
            };
            (url, headers)
        };
        let webhook = Webhook {
            id,
            tenant_id,
            url,
            description: row.opt_text(3)?,
            filter: filter(row, 4)?,
            mode: row.name(5, mode_from_name)?,
            headers,
            max_concurrency: in_range(row.int(7)?)?,
            rate_per_second: row.opt_int(8)?.map(in_range).transpose()?,
            api_version: row.name(9, ApiVersion::from_name)?,
            legacy_signature: row.int(10)? != 0,
            state: row.name(11, state_from_name)?,
            state_reason: row.opt_text(12)?,
            created_at: row.time(13)?,
            updated_at: row.time(14)?,
        };
        Ok(Self {
            webhook,
            epoch: Epoch(row.int(15)?),
            cursor: row.int(16)?,
            failing_since: row.opt_time(17)?,
            secret_count: row.int(18)?,
            replay_count: row.int(19)?,
        })
    }

    /// Whether the owner may write: the webhook is its tenant's, and its epoch is not behind.
    pub(super) fn check(&self, owner: WebhookOwner) -> Result<(), StoreError> {
        check(owner, self.webhook.tenant_id, self.epoch)
    }

    /// What delivering it takes.
    pub(super) fn duty(self, secrets: Vec<WebhookSecret>, replays: Vec<Replay>) -> WebhookDuty {
        WebhookDuty {
            webhook: self.webhook,
            cursor: self.cursor,
            secrets,
            failing_since: self.failing_since,
            replays,
        }
    }
}

pub(super) fn check(owner: WebhookOwner, tenant: TenantId, epoch: Epoch) -> Result<(), StoreError> {
    if owner.tenant != tenant {
        Err(StoreError::NotFound)
    } else if owner.epoch < epoch {
        Err(StoreError::Fenced)
    } else {
        Ok(())
    }
}

/// Everything that a tenant changes, as arguments.
pub(super) fn tenants_part(args: Args, webhook: &Webhook, key: &TenantKey) -> Result<Args, StoreError> {
    let headers = if webhook.headers.is_empty() {
        None
    } else {
        let plain = serde_json::to_vec(&webhook.headers).map_err(unreadable)?;
        Some(key.webhook(webhook.id).seal(Place::WebhookHeaders, &plain)?)
    };
    let filter = serde_json::to_string(&webhook.filter).map_err(unreadable)?;
    let url = key
        .webhook(webhook.id)
        .seal_text(Place::WebhookUrl, &storable(webhook.url.clone()))?;
    let args = args
        .text(webhook.id)
        .text(url)
        .opt_text(webhook.description.as_ref())
        .text(filter);
    let args = args
        .text(mode_name(webhook.mode))
        .opt_bytes(headers)
        .int(i64::from(webhook.max_concurrency));
    Ok(args
        .opt_int(webhook.rate_per_second.map(i64::from))
        .text(webhook.api_version.as_str())
        .int(i64::from(webhook.legacy_signature))
        .text(state_name(webhook.state))
        .opt_text(webhook.state_reason.as_ref())
        .int(webhook.updated_at.unix_ms()))
}

/// The stored filter of a webhook.
pub(super) fn filter(row: &Row, at: usize) -> Result<WebhookFilter, StoreError> {
    serde_json::from_str(row.str(at)?).map_err(unreadable)
}

/// A secret from its number, sealed value and end.
pub(super) fn secret(row: &Row, id: WebhookId, key: &TenantKey) -> Result<WebhookSecret, StoreError> {
    let place = Place::WebhookSecret { number: row.int(0)? };
    Ok(WebhookSecret {
        key: key.webhook(id).open(place, row.bytes(1)?)?,
        expires_at: row.opt_time(2)?,
    })
}

/// A replay from its number, place, end and scope.
pub(super) fn replay(row: &Row) -> Result<Replay, StoreError> {
    Ok(Replay {
        number: row.int(0)?,
        next_seq: row.int(1)?,
        to_seq: row.int(2)?,
        scope: row.name(3, scope_from_name)?,
    })
}

pub(super) fn mode_name(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Ordered => "ordered",
        DeliveryMode::Unordered => "unordered",
    }
}

fn mode_from_name(name: &str) -> Option<DeliveryMode> {
    [DeliveryMode::Ordered, DeliveryMode::Unordered]
        .into_iter()
        .find(|mode| mode_name(*mode) == name)
}

pub(super) fn state_name(state: WebhookState) -> &'static str {
    match state {
        WebhookState::Enabled => "enabled",
        WebhookState::Paused => "paused",
        WebhookState::Disabled => "disabled",
    }
}

fn state_from_name(name: &str) -> Option<WebhookState> {
    [
        WebhookState::Enabled,
        WebhookState::Paused,
        WebhookState::Disabled,
    ]
    .into_iter()
    .find(|state| state_name(*state) == name)
}

pub(super) fn scope_name(scope: ReplayScope) -> &'static str {
    match scope {
        ReplayScope::Events => "events",
        ReplayScope::Dead => "dead",
    }
}

fn scope_from_name(name: &str) -> Option<ReplayScope> {
    [ReplayScope::Events, ReplayScope::Dead]
        .into_iter()
        .find(|scope| scope_name(*scope) == name)
}

fn in_range<T: TryFrom<i64>>(value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Corrupt("a webhook's number is out of range".to_owned()))
}

fn unreadable(error: serde_json::Error) -> StoreError {
    // The position only: the text may be a credential.
    StoreError::Corrupt(format!(
        "a webhook's stored JSON is wrong at line {} column {}",
        error.line(),
        error.column()
    ))
}
