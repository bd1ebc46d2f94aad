//! Limits: how much of something may happen or exist, and the buckets that count.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{ApiKeyId, TenantId};

/// What a tenant may do and have; a plan is one of these, and a tenant's own replace the plan's.
/// Null is no limit, or the plan's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// API calls per hour.
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub calls_per_hour: Option<NonZeroU32>,
    /// Messages accepted for sending per hour.
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub messages_per_hour: Option<NonZeroU32>,
    /// Calls that connect, pair, stop or log out, per minute.
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub session_operations_per_minute: Option<NonZeroU32>,
    /// Instances.
    pub instances: Option<u32>,
    /// Webhooks.
    pub webhooks: Option<u32>,
    /// Bytes of messages, events and media that are kept.
    pub storage_bytes: Option<u64>,
}

impl Limits {
    /// These limits, and where they say nothing those of the plan.
    #[must_use]
    pub fn or(self, plan: Self) -> Self {
        Self {
            calls_per_hour: self.calls_per_hour.or(plan.calls_per_hour),
            messages_per_hour: self.messages_per_hour.or(plan.messages_per_hour),
            session_operations_per_minute: self
                .session_operations_per_minute
                .or(plan.session_operations_per_minute),
            instances: self.instances.or(plan.instances),
            webhooks: self.webhooks.or(plan.webhooks),
            storage_bytes: self.storage_bytes.or(plan.storage_bytes),
        }
    }
}

/// Names one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BucketKey {
    /// Calls without a valid key from one address; of IPv6 the /64 with zeros behind it.
    Address(IpAddr),
    /// The same from all addresses that have no bucket of their own, because there are too many.
    OtherAddresses,
    /// Calls with one key.
    Key(ApiKeyId),
    /// Calls of a tenant.
    Calls(TenantId),
    /// Messages accepted from a tenant.
    Messages(TenantId),
    /// Calls of a tenant that connect, pair, stop or log out.
    SessionOperations(TenantId),
}

impl BucketKey {
    /// The bucket of an address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        })
    }

    /// Whether each node of a cluster has one of its own: before a key is known, a call must cost no other
    /// node anything.
    pub fn is_of_each_node(self) -> bool {
        matches!(self, Self::Address(_) | Self::OtherAddresses)
    }

    /// Which limit it is, in problems and headers.
    pub fn limit_name(self) -> &'static str {
        match self {
            Self::Address(_) | Self::OtherAddresses => "address",
            Self::Key(_) => "key",
            Self::Calls(_) => "calls_per_hour",
            Self::Messages(_) => "messages_per_hour",
            Self::SessionOperations(_) => "session_operations_per_minute",
        }
    }
}

impl fmt::Display for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "ip:{address}"),
            Self::OtherAddresses => f.write_str("ip:others"),
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Calls(tenant) => write!(f, "calls:{tenant}"),
            Self::Messages(tenant) => write!(f, "messages:{tenant}"),
            Self::SessionOperations(tenant) => write!(f, "session_operations:{tenant}"),
        }
    }
}

/// A text names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a bucket's name, for example calls:ten_…")]
pub struct BucketKeyError;

impl FromStr for BucketKey {
    type Err = BucketKeyError;

    fn from_str(text: &str) -> Result<Self, BucketKeyError> {
        let (kind, name) = text.split_once(':').ok_or(BucketKeyError)?;
        let tenant = || name.parse().map_err(|_| BucketKeyError);
        match kind {
            "ip" if name == "others" => Ok(Self::OtherAddresses),
            "ip" => name.parse().map(Self::Address).map_err(|_| BucketKeyError),
            "key" => name.parse().map(Self::Key).map_err(|_| BucketKeyError),
            "calls" => tenant().map(Self::Calls),
            "messages" => tenant().map(Self::Messages),
            "session_operations" => tenant().map(Self::SessionOperations),
            _ => Err(BucketKeyError),
        }
    }
}

impl Serialize for BucketKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BucketKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How many in which time: so many at once when the bucket is full, and so many over each such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quota {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub per: Duration,
}

/// Where a bucket stands after a call: what the `RateLimit-*` headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The quota.
    pub quota: Quota,
    /// How many more would be granted now.
    pub remaining: u32,
    /// When the bucket is full again, if nothing more is taken.
    pub full_in: Duration,
}

/// The answer of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// Granted.
    Granted(Standing),
    /// Refused: nothing was taken.
    Refused {
        /// Where the bucket stands.
        standing: Standing,
        /// When as many as were asked for would be granted.
        retry_after: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buckets_name_is_read_back() {
        let tenant = TenantId::from_parts(1, 2);
        for key in [
            BucketKey::of_address("203.0.113.7".parse().unwrap()),
            BucketKey::of_address("2001:db8:1:2:3:4:5:6".parse().unwrap()),
            BucketKey::OtherAddresses,
            BucketKey::Key(ApiKeyId::from_parts(3, 4)),
            BucketKey::Calls(tenant),
            BucketKey::Messages(tenant),
            BucketKey::SessionOperations(tenant),
        ] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert!("calls:".parse::<BucketKey>().is_err() && "x".parse::<BucketKey>().is_err());
    }

    #[test]
    fn addresses_that_one_customer_has_share_a_bucket() {
        let of = |text: &str| BucketKey::of_address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:203.0.113.7"), of("203.0.113.7"));
    }
}
