//! Instances: one WhatsApp number each, and the states of its session.
//!
//! `created → connecting → pairing → connected ⇄ reconnecting → disconnected | logged_out |
//! restricted | failed`. An instance is made once and connected as often as its owner likes.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Address, PhoneNumber};
use crate::{Epoch, InstanceId, Slot, TenantId, Timestamp};

/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 100;

/// Fastest pace that can be set, in messages per minute.
pub const MESSAGES_PER_MINUTE_MAX: u32 = 6_000;
/// Most that a pause may be longer at random, in percent.
pub const JITTER_PERCENT_MAX: u8 = 100;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Never connected.
    Created,
    /// A link is being opened.
    Connecting,
    /// Waits for a phone to scan the QR code or to enter the pairing code.
    Pairing,
    /// Proven to be alive by a round trip to WhatsApp.
    Connected,
    /// The link was lost; the next attempt is scheduled.
    Reconnecting,
    /// Stopped by its owner, or pairing was not finished in time.
    Disconnected,
    /// The phone or WhatsApp ended the pairing; a new scan is needed.
    LoggedOut,
    /// WhatsApp restricts or bans the number.
    Restricted,
    /// Given up: a person has to look at the reason.
    Failed,
}

impl InstanceState {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Created,
        Self::Connecting,
        Self::Pairing,
        Self::Connected,
        Self::Reconnecting,
        Self::Disconnected,
        Self::LoggedOut,
        Self::Restricted,
        Self::Failed,
    ];

    /// The state's name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Connecting => "connecting",
            Self::Pairing => "pairing",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Disconnected => "disconnected",
            Self::LoggedOut => "logged_out",
            Self::Restricted => "restricted",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == name)
    }
}

/// What the owner wants: kept in the row, so that it survives every restart and failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// Be connected, and come back after every loss.
    Running,
    /// Stay disconnected.
    Stopped,
}

impl DesiredState {
    /// The state's name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Stopped]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// How a phone is paired with an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum PairingMethod {
    /// The phone scans a QR code.
    Qr,
    /// The user enters an eight-character code on the phone with this number.
    Code {
        /// Number of the phone that will be paired.
        phone_number: PhoneNumber,
    },
}

/// How fast an instance sends. Messages are never refused for it: they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Pacing {
    /// Messages at most in a minute, one after the other with even pauses.
    #[schema(value_type = u32, minimum = 1, maximum = 6000, example = 20)]
    pub messages_per_minute: NonZeroU32,
    /// By how much a pause may be longer at random, in percent.
    #[schema(maximum = 100, example = 30)]
    pub jitter_percent: u8,
    /// Whether the chat is shown that somebody types before it gets a message.
    pub typing: bool,
}

impl Pacing {
    /// The shortest pause between two messages.
    pub fn pause(&self) -> Duration {
        Duration::from_secs(60) / self.messages_per_minute.get()
    }

    /// The field of the instance that is beyond its limit, and the limit in words; `None` when it can be
    /// accepted.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        if self.messages_per_minute.get() > MESSAGES_PER_MINUTE_MAX {
            let detail = format!("at most {MESSAGES_PER_MINUTE_MAX} messages per minute");
            Some(("pacing/messages_per_minute", detail))
        } else if self.jitter_percent > JITTER_PERCENT_MAX {
            Some((
                "pacing/jitter_percent",
                format!("at most {JITTER_PERCENT_MAX} percent"),
            ))
        } else {
            None
        }
    }
}

/// Changes to a pace; `None` leaves a field as it is, or at its default when there was no pace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacingPatch {
    /// See [`Pacing::messages_per_minute`]. Needed when there was no pace.
    pub messages_per_minute: Option<NonZeroU32>,
    /// See [`Pacing::jitter_percent`].
    pub jitter_percent: Option<u8>,
    /// See [`Pacing::typing`].
    pub typing: Option<bool>,
}

impl PacingPatch {
    /// The pace that follows from another, or from none; `None` when it would have no speed.
    pub fn of(self, before: Option<Pacing>) -> Option<Pacing> {
        let messages_per_minute = before.map(|pacing| pacing.messages_per_minute);
        Some(Pacing {
            messages_per_minute: self.messages_per_minute.or(messages_per_minute)?,
            jitter_percent: self
                .jitter_percent
                .or(before.map(|pacing| pacing.jitter_percent))
                .unwrap_or(0),
            typing: self
                .typing
                .or(before.map(|pacing| pacing.typing))
                .unwrap_or(false),
        })
    }
}

impl From<Pacing> for PacingPatch {
    fn from(pacing: Pacing) -> Self {
        Self {
            messages_per_minute: Some(pacing.messages_per_minute),
            jitter_percent: Some(pacing.jitter_percent),
            typing: Some(pacing.typing),
        }
    }
}

/// What an instance's owner does not let it do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Whether it may only write to chats in which somebody else has written to it.
    pub reply_only: bool,
}

/// One WhatsApp number: the durable resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Instance {
    /// Identity.
    pub id: InstanceId,
    /// Tenant it belongs to.
    #[serde(skip)]
    pub tenant_id: TenantId,
    /// Name for humans.
    pub name: String,
    /// Where its session stands.
    pub state: InstanceState,
    /// Why it stands there, for humans; empty when there is nothing to say.
    pub state_reason: Option<String>,
    /// What its owner wants.
    pub desired_state: DesiredState,
    /// Number of the paired account.
    pub phone_number: Option<PhoneNumber>,
    /// LID of the paired account.
    pub lid: Option<Address>,
    /// Name of the paired account.
    pub push_name: Option<String>,
    /// Proxy through which it connects: `socks5://` or `http://`. Credentials in it are not shown.
    #[serde(serialize_with = "without_credentials")]
    pub proxy: Option<String>,
    /// How fast it sends; as fast as it can when absent.
    pub pacing: Option<Pacing>,
    /// What it may not do.
    pub policy: Policy,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// When it last was connected.
    pub connected_at: Option<Timestamp>,
    /// Highest epoch under which it was activated.
    #[serde(skip)]
    pub epoch: Epoch,
}

fn without_credentials<S: serde::Serializer>(
    proxy: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let shown = proxy.as_ref().map(|url| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://***@{}", &url[..scheme], &url[at + 1..]),
        _ => url.clone(),
    });
    shown.serialize(serializer)
}

impl Instance {
    /// Slot that decides which node runs it.
    pub fn slot(&self) -> Slot {
        Slot::of(self.id)
    }

    /// Whether a phone is paired, so that connecting needs no scan.
    pub fn is_paired(&self) -> bool {
        self.phone_number.is_some()
    }
}

/// What makes a new instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// Identity, chosen by the caller.
    pub id: InstanceId,
    /// Name for humans.
    pub name: String,
    /// Proxy through which it connects.
    pub proxy: Option<String>,
    /// How fast it sends.
    pub pacing: Option<Pacing>,
    /// What it may not do.
    pub policy: Policy,
    /// When it is made.
    pub created_at: Timestamp,
}

/// Changes a tenant makes to an instance; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstancePatch {
    /// New name.
    pub name: Option<String>,
    /// New proxy; `Some(None)` removes it. It is used from the next connection on.
    pub proxy: Option<Option<String>>,
    /// New pace; `Some(None)` removes it. It holds for what is not on its way yet.
    pub pacing: Option<Option<PacingPatch>>,
    /// New policy. It holds for what is accepted from now on.
    pub policy: Option<Policy>,
}

/// A step of an instance's session, written as one row of its history and one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The state it enters.
    pub state: InstanceState,
    /// Why, for humans.
    pub reason: Option<String>,
    /// What the owner wants from now on, when that changes with this step.
    pub desired: Option<DesiredState>,
    /// What becomes known, or void, of the paired account.
    pub account: AccountChange,
    /// When.
    pub at: Timestamp,
}

/// What a step says about the paired account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// Nothing new.
    Keep,
    /// A phone was paired, or its names became known.
    Paired(Account),
    /// The pairing is over: names and the link's stored state are removed in the same transaction.
    Unpaired,
}

/// A WhatsApp account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its phone number.
    pub phone_number: PhoneNumber,
    /// Its LID, where known.
    pub lid: Option<Address>,
    /// Its name, where known.
    pub push_name: Option<String>,
}

/// One row of an instance's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Number within the instance, from 1 without gaps.
    pub number: i64,
    /// The state it entered.
    pub state: InstanceState,
    /// Why, for humans.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_written_as_it_is_serialised() {
        for &state in InstanceState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(InstanceState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(InstanceState::from_name("open"), None);
    }

    #[test]
    fn a_pace_has_limits_and_a_pause() {
        let pacing = |messages_per_minute, jitter_percent| Pacing {
            messages_per_minute: NonZeroU32::new(messages_per_minute).unwrap(),
            jitter_percent,
            typing: false,
        };
        assert_eq!(pacing(20, 0).pause(), Duration::from_secs(3));
        assert_eq!(pacing(6_000, 100).fault(), None);
        assert_eq!(pacing(6_001, 0).fault().unwrap().0, "pacing/messages_per_minute");
        let slower = PacingPatch {
            messages_per_minute: NonZeroU32::new(1),
            ..PacingPatch::default()
        };
        assert_eq!(slower.of(Some(pacing(9, 7))), Some(pacing(1, 7)));
        assert_eq!(slower.of(None), Some(pacing(1, 0)));
        assert_eq!(PacingPatch::default().of(None), None);
        assert_eq!(pacing(1, 101).fault().unwrap().0, "pacing/jitter_percent");
    }

    #[test]
    fn a_proxy_is_shown_without_its_credentials() {
        let shown = |url: &str| {
            let mut out = Vec::new();
            let mut serializer = serde_json::Serializer::new(&mut out);
            without_credentials(&Some(url.to_owned()), &mut serializer).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown("socks5://user:p@ss@127.0.0.1:1080"),
            "\"socks5://***@127.0.0.1:1080\""
        );
        assert_eq!(shown("http://127.0.0.1:3128"), "\"http://127.0.0.1:3128\"");
    }
}
