//! Slots, epochs and placement: who owns what.
//!
//! The key space is cut into [`Slot::COUNT`] slots; a slot has one owner at a time, and each change
//! of ownership raises the epoch, the fencing token that every write of an owner carries.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cluster::NodeName;
use crate::limit::BucketKey;
use crate::{InstanceId, TenantId, WebhookId};

/// One share of the key space: the unit of ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(maximum = 1023)]
pub struct Slot(u16);

impl Slot {
    /// How many slots there are. Frozen: the number and the hash decide where stored rows belong.
    pub const COUNT: u16 = 1024;

    /// Every slot, in order.
    pub const EVERY: &'static [Self] = &{
        let mut every = [Self(0); Self::COUNT as usize];
        let mut number = 0;
        while number < Self::COUNT {
            every[number as usize] = Self(number);
            number += 1;
        }
        every
    };

    /// The slot of an instance.
    pub fn of(instance: InstanceId) -> Self {
        Self::of_key(instance.to_u128())
    }

    /// The slot of a webhook.
    pub fn of_webhook(webhook: WebhookId) -> Self {
        Self::of_key(webhook.to_u128())
    }

    /// The slot whose owner does what is to be done once for a tenant. Not stored.
    pub fn of_tenant(tenant: TenantId) -> Self {
        Self::of_key(tenant.to_u128())
    }

    /// The slot whose owner does what is to be done once for all. Not stored.
    pub const OF_ALL: Self = Self(0);

    /// The slot of a bucket, unless [each node has one](BucketKey::is_of_each_node). Not stored.
    pub fn of_bucket(bucket: BucketKey) -> Self {
        Self::of_bytes(bucket.to_string().as_bytes())
    }

    fn of_key(key: u128) -> Self {
        Self::of_bytes(&key.to_be_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(bytes);
        // The remainder is below COUNT, so it fits.
        Self((hash % u64::from(Self::COUNT)) as u16)
    }

    /// The slot with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// The number, from 0 to 1023.
    pub fn number(self) -> u16 {
        self.0
    }

    /// Every slot.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        Self::EVERY.iter().copied()
    }
}

/// Fencing token: grows each time ownership changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Epoch(pub i64);

/// Who writes: an instance and the epoch under which the writer owns it. A write whose epoch is
/// behind the instance's row fails with [`crate::store::StoreError::Fenced`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Tenant of the instance.
    pub tenant: TenantId,
    /// The instance written for.
    pub instance: InstanceId,
    /// Epoch under which the writer owns the instance.
    pub epoch: Epoch,
}

/// Where a slot lives, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This node owns the slot, under this epoch.
    Here(Epoch),
    /// Another node owns it.
    Node(NodeName),
    /// Nobody owns it at this moment; ask again after the given time.
    Nowhere {
        /// How long a caller may wait before asking again.
        retry_after: Duration,
    },
}

/// Decides and knows who owns each slot.
pub trait Placement: Send + Sync {
    /// Name of this node.
    fn node(&self) -> &str;

    /// Where the slot lives.
    fn place(&self, slot: Slot) -> Place;

    /// Whether this node may still act for what it owns. Checked before every side effect.
    fn holds_lease(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_frozen() {
        // These values are stored with rows: a change of the hash would orphan every instance.
        let slots: Vec<u16> = [0, 1, u128::MAX]
            .map(|random| Slot::of(InstanceId::from_parts(0, random)).number())
            .to_vec();
        assert_eq!(slots, FROZEN);
    }

    const FROZEN: [u16; 3] = [360, 955, 891];

    #[test]
    fn slots_spread_evenly() {
        let mut count = vec![0_u32; usize::from(Slot::COUNT)];
        for n in 0..102_400 {
            count[usize::from(Slot::of(InstanceId::from_parts(1_700_000_000_000, n)).number())] += 1;
        }
        assert!(count.iter().all(|&n| (50..=160).contains(&n)), "{count:?}");
    }
}
