//! Streams that keys hold open, so that they end with the key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cache::Whose;
use super::found::Found;

/// Everything that is held open now. As many entries as there are open streams, which have limits of
/// their own.
#[derive(Debug, Default)]
pub(super) struct Holds {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, (Found, CancellationToken)>,
}

/// One stream that a key holds open; dropped when it ends.
#[derive(Debug)]
pub struct Hold {
    holds: Arc<Holds>,
    number: u64,
    withdrawn: CancellationToken,
    expires: Option<Instant>,
}

/// Why a key holds a stream open no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has expired.
    Expired,
    /// It was changed or revoked, or its tenant was suspended or deleted.
    Withdrawn,
}

impl Holds {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing in here can panic half-way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(self: &Arc<Self>, found: &Found, expires: Option<Instant>) -> Hold {
        let withdrawn = CancellationToken::new();
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.open.insert(number, (found.clone(), withdrawn.clone()));
        Hold {
            holds: Arc::clone(self),
            number,
            withdrawn,
            expires,
        }
    }

    /// Ends the streams of a key or a tenant.
    pub(super) fn end(&self, whose: Whose) {
        for (found, withdrawn) in self.entries().open.values() {
            if whose.is(found.credential()) {
                withdrawn.cancel();
            }
        }
    }

    /// The keys that hold something open, each text once, as they were found first.
    pub(super) fn keys(&self) -> Vec<Found> {
        let entries = self.entries();
        let mut keys: HashMap<&str, (u64, &Found)> = HashMap::new();
        for (&number, (found, _)) in &entries.open {
            let first = keys
                .entry(&found.credential().secret.prefix)
                .or_insert((number, found));
            if number < first.0 {
                *first = (number, found);
            }
        }
        keys.into_values().map(|(_, found)| found.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.entries().open.len()
    }
}

impl Hold {
    /// Waits until the key holds it open no more.
    pub async fn ended(&self) -> Ended {
        let expired = async {
            match self.expires {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.withdrawn.cancelled() => Ended::Withdrawn,
            () = expired => Ended::Expired,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.entries().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use roost_domain::ApiKeyId;

    use super::*;
    use crate::access::cache::tests::found;

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_with_its_key_and_with_no_other() {
        let holds = Arc::new(Holds::default());
        let (one, two) = (found(1), found(2));
        let (mine, other) = (holds.open(&one, None), holds.open(&two, None));
        holds.end(Whose::Key(ApiKeyId::from_parts(1, 1)));
        assert_eq!(mine.ended().await, Ended::Withdrawn);
        let waited = tokio::time::timeout(Duration::from_secs(3600), other.ended()).await;
        assert!(waited.is_err());
        drop(mine);
        assert_eq!(holds.count(), 1);
        let tenant = two.credential().key.principal.tenant().unwrap();
        holds.end(Whose::Tenant(tenant));
        assert_eq!(other.ended().await, Ended::Withdrawn);
        drop(other);
        assert_eq!(holds.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_when_its_key_expires() {
        let holds = Arc::new(Holds::default());
        let at = Instant::now() + Duration::from_secs(60);
        let hold = holds.open(&found(1), Some(at));
        assert_eq!(hold.ended().await, Ended::Expired);
        assert!(Instant::now() >= at);
    }
}
