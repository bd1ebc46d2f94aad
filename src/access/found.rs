//! A key that was looked up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use roost_domain::Timestamp;
use roost_domain::api_key::Credential;
use roost_domain::tenant::TenantState;
use subtle::ConstantTimeEq;

/// Grows with every change of a key or a tenant. What was read under an earlier one may be out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Generation(pub(super) u64);

/// A row that is remembered.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) credential: Credential,
    /// From when on its use is to be noted again, in milliseconds of the clock.
    noted_until: AtomicI64,
}

/// A key that was looked up for one call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Found {
    pub(super) known: Arc<Known>,
    pub(super) seen: Generation,
}

/// Why a key with the right secret opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// The key has expired, or this text of it since it was replaced.
    Expired,
    /// Its tenant is suspended or being deleted.
    TenantRests(TenantState),
    /// Its tenant is deleted.
    TenantGone,
}

impl Known {
    pub(super) fn new(credential: Credential) -> Self {
        Self {
            credential,
            noted_until: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether its use is to be noted now; asked again before `next`, it is not.
    pub(super) fn is_due(&self, now: Timestamp, next: Timestamp) -> bool {
        let due = self.noted_until.load(Ordering::Relaxed);
        let (now, next) = (now.unix_ms(), next.unix_ms());
        // One of several calls at the same time is enough.
        now >= due
            && self
                .noted_until
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Found {
    pub(super) fn new(known: Arc<Known>, seen: Generation) -> Self {
        Self { known, seen }
    }

    /// The row.
    pub fn credential(&self) -> &Credential {
        &self.known.credential
    }

    /// Whether a text with this hash is the key's. Takes the same time for every hash.
    pub fn is_opened_by(&self, hash: &[u8; 32]) -> bool {
        bool::from(self.credential().secret.hash.ct_eq(hash))
    }

    /// Whether it is the same text of the same key with the same rights. Name and rate may differ.
    pub(super) fn opens_as(&self, other: &Self) -> bool {
        let (one, two) = (self.credential(), other.credential());
        one.secret == two.secret
            && one.key.id == two.key.id
            && one.key.scopes == two.key.scopes
            && one.key.instances == two.key.instances
            && one.key.allowed_networks == two.key.allowed_networks
            && one.key.expires_at == two.key.expires_at
    }

    /// When it expires: the key itself, or its text if that is earlier.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let Credential { secret, key, .. } = self.credential();
        match (secret.expires_at, key.expires_at) {
            (Some(text), Some(key)) => Some(text.min(key)),
            (text, key) => text.or(key),
        }
    }

    /// Why it opens nothing, if so.
    pub fn lapse(&self, now: Timestamp) -> Option<Lapse> {
        if self.expires_at().is_some_and(|at| at <= now) {
            return Some(Lapse::Expired);
        }
        match self.credential().tenant.as_ref()?.state {
            TenantState::Active => None,
            state @ (TenantState::Suspended | TenantState::Deleting) => Some(Lapse::TenantRests(state)),
            TenantState::Deleted => Some(Lapse::TenantGone),
        }
    }
}
