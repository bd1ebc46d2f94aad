//! Keys that were looked up a moment ago, by the public part of their text.
//!
//! Texts that open nothing are remembered too, apart from the others: whoever makes texts up can push
//! out what others made up, and never a key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_domain::api_key::Credential;
use roost_domain::{ApiKeyId, TenantId};
use tokio::time::Instant;

use super::found::{Found, Generation, Known};

/// What is remembered, at most so much, for so long.
#[derive(Debug)]
pub(super) struct KeyCache {
    rows: Mutex<Rows>,
    kept_for: Duration,
    keys_max: usize,
    unknown_max: usize,
}

#[derive(Debug, Default)]
struct Rows {
    generation: Generation,
    keys: HashMap<String, (Instant, Arc<Known>)>,
    unknown: HashMap<String, Instant>,
}

/// What memory says of a prefix.
#[derive(Debug)]
pub(super) enum Look {
    /// A key.
    Key(Found),
    /// There was none a moment ago.
    Unknown,
    /// Nothing: the database has to be asked, and what it says is kept only if nothing has changed since
    /// this generation.
    Ask(Generation),
}

/// Whose keys are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Key(ApiKeyId),
    Tenant(TenantId),
}

impl Whose {
    pub(super) fn is(self, credential: &Credential) -> bool {
        match self {
            Self::Key(id) => credential.key.id == id,
            Self::Tenant(id) => credential.key.principal.tenant() == Some(id),
        }
    }
}

impl KeyCache {
    pub(super) fn new(kept_for: Duration, keys_max: usize, unknown_max: usize) -> Self {
        Self {
            rows: Mutex::default(),
            kept_for,
            keys_max,
            unknown_max,
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing in here can panic half-way.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a prefix and not too old.
    pub(super) fn look(&self, prefix: &str) -> Look {
        let rows = self.rows();
        let seen = rows.generation;
        match (rows.keys.get(prefix), rows.unknown.get(prefix)) {
            (Some((read_at, known)), _) if read_at.elapsed() < self.kept_for => {
                Look::Key(Found::new(Arc::clone(known), seen))
            }
            (None, Some(read_at)) if read_at.elapsed() < self.kept_for => Look::Unknown,
            _ => Look::Ask(seen),
        }
    }

    /// What is known of a prefix, however old.
    pub(super) fn remembered(&self, prefix: &str) -> Option<Found> {
        let rows = self.rows();
        let (_, known) = rows.keys.get(prefix)?;
        Some(Found::new(Arc::clone(known), rows.generation))
    }

    /// The generation now.
    pub(super) fn generation(&self) -> Generation {
        self.rows().generation
    }

    /// Keeps what the database said to a question asked in generation `seen`.
    pub(super) fn keep(
        &self,
        prefix: &str,
        credential: Option<Credential>,
        seen: Generation,
    ) -> Option<Found> {
        let known = credential.map(|credential| Arc::new(Known::new(credential)));
        let mut rows = self.rows();
        if rows.generation == seen {
            let now = Instant::now();
            match &known {
                Some(known) => {
                    rows.unknown.remove(prefix);
                    if rows.keys.len() >= self.keys_max && !rows.keys.contains_key(prefix) {
                        let kept_for = self.kept_for;
                        rows.keys.retain(|_, (read_at, _)| read_at.elapsed() < kept_for);
                        if rows.keys.len() >= self.keys_max {
                            rows.keys.clear();
                        }
                    }
                    rows.keys.insert(prefix.to_owned(), (now, Arc::clone(known)));
                }
                None => {
                    rows.keys.remove(prefix);
                    if rows.unknown.len() >= self.unknown_max {
                        rows.unknown.clear();
                    }
                    rows.unknown.insert(prefix.to_owned(), now);
                }
            }
        }
        known.map(|known| Found::new(known, seen))
    }

    /// Forgets, and makes everything that is being read now not worth keeping.
    pub(super) fn forget(&self, whose: Whose) {
        let mut rows = self.rows();
        rows.generation.0 += 1;
        rows.keys.retain(|_, (_, known)| !whose.is(&known.credential));
    }

    /// Forgets that there was no such key: now there is.
    pub(super) fn made(&self, prefix: &str) {
        let mut rows = self.rows();
        rows.generation.0 += 1;
        rows.unknown.remove(prefix);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use roost_domain::Timestamp;
    use roost_domain::api_key::{ApiKey, KeySecret, Principal, Scopes};
    use roost_domain::tenant::Tenant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn credential(number: u128, prefix: &str) -> Credential {
        let at = Timestamp::from_unix_ms(0);
        let tenant = TenantId::from_parts(1, number);
        Credential {
            secret: KeySecret {
                prefix: prefix.to_owned(),
                hash: [0; 32],
                expires_at: None,
            },
            key: ApiKey {
                id: ApiKeyId::from_parts(1, number),
                principal: Principal::Tenant(tenant),
                name: "test".to_owned(),
                scopes: Scopes::All,
                instances: Vec::new(),
                allowed_networks: Vec::new(),
                calls_per_minute: None,
                expires_at: None,
                last_used_at: None,
                created_at: at,
                updated_at: at,
            },
            tenant: Some(Tenant::new(tenant, "test".to_owned(), at)),
        }
    }

    pub(in crate::access) fn found(number: u128) -> Found {
        let known = Known::new(credential(number, "prefix"));
        Found::new(Arc::new(known), Generation::default())
    }

    fn asked(cache: &KeyCache, prefix: &str) -> Generation {
        match cache.look(prefix) {
            Look::Ask(seen) => seen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_row_that_was_read_before_a_change_is_not_kept() {
        let cache = KeyCache::new(LONG, 10, 10);
        let seen = asked(&cache, "a");
        cache.forget(Whose::Key(ApiKeyId::from_parts(1, 1)));
        assert!(cache.keep("a", Some(credential(1, "a")), seen).is_some());
        let seen = asked(&cache, "a");
        cache.keep("a", Some(credential(1, "a")), seen);
        assert!(matches!(cache.look("a"), Look::Key(_)));
    }

    #[test]
    fn a_key_and_the_keys_of_a_tenant_are_forgotten_under_every_prefix() {
        let cache = KeyCache::new(LONG, 10, 10);
        for (number, prefix) in [(1, "a"), (1, "b"), (2, "c")] {
            let seen = asked(&cache, prefix);
            cache.keep(prefix, Some(credential(number, prefix)), seen);
        }
        cache.forget(Whose::Key(ApiKeyId::from_parts(1, 1)));
        assert!(matches!(cache.look("a"), Look::Ask(_)) && matches!(cache.look("b"), Look::Ask(_)));
        cache.forget(Whose::Tenant(TenantId::from_parts(1, 2)));
        assert!(matches!(cache.look("c"), Look::Ask(_)));
    }

    #[test]
    fn made_up_prefixes_are_remembered_in_bounds_and_push_out_no_key() {
        let cache = KeyCache::new(LONG, 2, 3);
        let seen = asked(&cache, "key");
        cache.keep("key", Some(credential(1, "key")), seen);
        for number in 0..100 {
            let prefix = format!("made-up-{number}");
            let seen = asked(&cache, &prefix);
            assert!(cache.keep(&prefix, None, seen).is_none());
            assert!(matches!(cache.look(&prefix), Look::Unknown));
            assert!(cache.rows().unknown.len() <= 3);
        }
        assert!(matches!(cache.look("key"), Look::Key(_)));
        for number in 2..100 {
            let prefix = format!("key-{number}");
            let seen = asked(&cache, &prefix);
            cache.keep(&prefix, Some(credential(number, &prefix)), seen);
            assert!(cache.rows().keys.len() <= 2);
        }
    }

    #[test]
    fn a_prefix_that_was_unknown_is_asked_for_again_once_it_is_made() {
        let cache = KeyCache::new(LONG, 10, 10);
        let seen = asked(&cache, "a");
        cache.keep("a", None, seen);
        cache.made("a");
        asked(&cache, "a");
    }

    #[test]
    fn what_is_too_old_is_asked_for_again_and_still_remembered() {
        let cache = KeyCache::new(Duration::ZERO, 10, 10);
        let seen = asked(&cache, "a");
        cache.keep("a", Some(credential(1, "a")), seen);
        asked(&cache, "a");
        assert!(cache.remembered("a").is_some());
    }
}
