//! What the configuration says of keys and tenants.

use std::collections::BTreeSet;
use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use crate::config::{self, Config};

const DAY: Duration = Duration::from_secs(86_400);
/// Of so many looks of a node at what others have changed, one is at tenants: they change seldom.
const TENANTS_LOOK: u32 = 5;
const RETENTION_DAYS_MAX: u32 = 3650;

/// See the module.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    keys: config::Keys,
    /// How often a node of a cluster looks at tenants that rest or are being deleted.
    pub look_every: Duration,
    /// Names of the plans that a tenant can have.
    pub plans: BTreeSet<String>,
    /// For how many days a tenant's events and messages can be kept: longer than a message may wait to
    /// be sent.
    pub retention_days: RangeInclusive<u32>,
}

impl AccessSettings {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let waits = config.session.message_ttl.as_secs() / DAY.as_secs();
        let least = u32::try_from(waits + 1).unwrap_or(u32::MAX);
        Self {
            keys: config.keys.clone(),
            look_every: config.cluster.poll * TENANTS_LOOK,
            plans: config.plans.keys().cloned().collect(),
            retention_days: least..=RETENTION_DAYS_MAX.max(least),
        }
    }
}

impl Deref for AccessSettings {
    type Target = config::Keys;

    fn deref(&self) -> &config::Keys {
        &self.keys
    }
}
