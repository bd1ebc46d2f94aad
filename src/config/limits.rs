//! `[limits]`, `[plans.<name>]`, `[audit]` and `[usage]`. `config/default.toml` says what each key means.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;
use roost_domain::limit;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Config;
use super::value::duration;

/// Longest name of a plan.
const PLAN_NAME_BYTES_MAX: usize = 40;
const UNLIMITED: &str = "unlimited";

/// Which calls take from the bucket of the address that they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressCounts {
    /// Those without a valid key.
    Unauthenticated,
    /// Every call of the API.
    All,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Plan of a tenant that names none, or one that is not there; empty for no limits.
    pub default_plan: String,
    /// Calls from one address.
    pub address_calls: NonZeroU32,
    /// In which time.
    #[serde(with = "duration")]
    pub address_window: Duration,
    /// Which calls count.
    pub address_counts: AddressCounts,
    /// How old the size of what a tenant keeps may be when it is held against its limit.
    #[serde(with = "duration")]
    pub storage_age_max: Duration,
    /// Of how many tenants that size is remembered.
    pub storage_tenants_max: usize,
}

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// For how long calls that were denied alike become one row.
    #[serde(with = "duration")]
    pub fold_for: Duration,
    /// How many such rows are held in memory.
    pub folded_max: usize,
}

/// `[usage]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// How often counted calls are written.
    #[serde(with = "duration")]
    pub flush_every: Duration,
}

/// `[plans]`: limits by the name of the plan.
pub type Plans = BTreeMap<String, Plan>;

/// `[plans.<name>]`. What is not named is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// API calls per hour.
    pub calls_per_hour: Limit<NonZeroU32>,
    /// Messages accepted per hour.
    pub messages_per_hour: Limit<NonZeroU32>,
    /// Calls that connect, disconnect or log out, per minute.
    pub session_operations_per_minute: Limit<NonZeroU32>,
    /// Instances.
    pub instances: Limit<u32>,
    /// Webhooks.
    pub webhooks: Limit<u32>,
    /// What is kept of messages, events and media.
    pub storage: Limit<Size>,
}

impl Plan {
    /// As the domain knows it.
    pub fn limits(self) -> limit::Limits {
        limit::Limits {
            calls_per_hour: self.calls_per_hour.0,
            messages_per_hour: self.messages_per_hour.0,
            session_operations_per_minute: self.session_operations_per_minute.0,
            instances: self.instances.0,
            webhooks: self.webhooks.0,
            storage_bytes: self.storage.0.map(|size| size.0),
        }
    }
}

/// A number, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

impl<T> Default for Limit<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// Bytes, written as `10GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// What a limit can be given as: the environment has texts only.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Number(u64),
    Text(String),
}

trait Amount: Sized {
    const EXPECTED: &'static str;
    fn read(text: &str) -> Option<Self>;
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

impl Amount for NonZeroU32 {
    const EXPECTED: &'static str = "a whole number from 1 on";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

impl Amount for u32 {
    const EXPECTED: &'static str = "a whole number";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

impl Amount for Size {
    const EXPECTED: &'static str = "a size such as \"10GiB\"";
    fn read(text: &str) -> Option<Self> {
        text.parse::<ByteSize>().ok().map(|size| Self(size.as_u64()))
    }
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}B", self.0))
    }
}

impl<'de, T: Amount> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = |_: &dyn fmt::Display| {
            serde::de::Error::custom(format_args!("expected {}, or \"{UNLIMITED}\"", T::EXPECTED))
        };
        let text = match Given::deserialize(deserializer).map_err(|error| expected(&error))? {
            Given::Number(number) => number.to_string(),
            Given::Text(text) if text == UNLIMITED => return Ok(Self(None)),
            Given::Text(text) => text,
        };
        let amount = T::read(&text).ok_or_else(|| expected(&text))?;
        Ok(Self(Some(amount)))
    }
}

impl<T: Amount> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(amount) => amount.write(serializer),
            None => serializer.serialize_str(UNLIMITED),
        }
    }
}

/// What has to hold between keys.
pub(super) fn relations(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let Config {
        limits,
        plans,
        audit,
        usage,
        ..
    } = config;
    need(
        limits.default_plan.is_empty() || plans.contains_key(&limits.default_plan),
        "limits.default_plan",
        "must be the name of a plan under [plans], or empty",
    );
    for name in plans.keys() {
        need(
            is_plan_name(name),
            "plans",
            "a plan's name has 1 to 40 characters of a-z, 0-9, _ and -",
        );
    }
    need(
        (Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&limits.address_window),
        "limits.address_window",
        "must be 100ms to 24h",
    );
    need(
        limits.storage_tenants_max >= 1,
        "limits.storage_tenants_max",
        "must be at least 1",
    );
    need(
        !audit.fold_for.is_zero() && audit.fold_for <= Duration::from_secs(3600),
        "audit.fold_for",
        "must be longer than zero and at most 1h: so much of denied calls is lost in a crash",
    );
    need(
        (1..=1_000_000).contains(&audit.folded_max),
        "audit.folded_max",
        "must be 1 to 1000000",
    );
    need(
        !usage.flush_every.is_zero() && usage.flush_every <= Duration::from_secs(3600),
        "usage.flush_every",
        "must be longer than zero and at most 1h: so much is lost in a crash",
    );
}

fn is_plan_name(name: &str) -> bool {
    (1..=PLAN_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}
