//! Making, changing and revoking keys.

use std::time::Duration;

use ipnet::IpNet;
use roost_actors::instance::CreateInstance;
use roost_domain::api_key::{ApiKey, KeyPatch, KeySecret, Principal, Scopes};
use roost_domain::instance::Instance;
use roost_domain::store::{Keys, OPERATORS, Outcome, Replay, Stamp, StoreError};
use roost_domain::time::Entropy;
use roost_domain::{ApiKeyId, Clock, InstanceId, TenantId, Timestamp};

use super::{Access, AccessError};
pub use crate::api_key::KeyText;

/// What makes a key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whom it speaks for.
    pub principal: Principal,
    /// Name for humans.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The only instances that it reaches; empty for all.
    pub instances: Vec<InstanceId>,
    /// The only networks from which it may be used; empty for all.
    pub allowed_networks: Vec<IpNet>,
    /// Calls at most per minute.
    pub calls_per_minute: Option<u32>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// A key with its text, which is shown this once.
#[derive(Debug, Clone)]
pub struct MadeKey {
    /// The row.
    pub key: ApiKey,
    /// What is stored of its text.
    pub secret: KeySecret,
    /// Its text.
    pub text: KeyText,
}

impl NewKey {
    /// A key without restrictions.
    pub fn new(principal: Principal, name: impl Into<String>) -> Self {
        Self {
            principal,
            name: name.into(),
            scopes: Scopes::All,
            instances: Vec::new(),
            allowed_networks: Vec::new(),
            calls_per_minute: None,
            expires_at: None,
        }
    }

    /// Gives it its id and its text. Nothing is stored yet.
    pub fn make(self, store: &(impl Keys + ?Sized), now: Timestamp, entropy: &dyn Entropy) -> MadeKey {
        let text = KeyText::generate(entropy);
        let unix_ms = u64::try_from(now.unix_ms()).unwrap_or_default();
        MadeKey {
            key: ApiKey {
                id: ApiKeyId::from_parts(unix_ms, entropy.bits()),
                principal: self.principal,
                name: self.name,
                scopes: self.scopes,
                instances: self.instances,
                allowed_networks: self.allowed_networks,
                calls_per_minute: self.calls_per_minute,
                expires_at: self.expires_at,
                last_used_at: None,
                created_at: now,
                updated_at: now,
            },
            secret: secret(&text, store),
            text,
        }
    }
}

impl NewKey {
    /// Makes it and keeps it, where no gateway runs that would have to be told.
    pub async fn keep(
        self,
        store: &(impl Keys + ?Sized),
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<MadeKey, StoreError> {
        let made = self.make(store, clock.now(), entropy);
        let kept = store.create_key(&made.key, &made.secret, Stamp::default());
        kept.await.map(|_| made)
    }
}

fn secret(text: &KeyText, store: &(impl Keys + ?Sized)) -> KeySecret {
    KeySecret {
        prefix: text.prefix().to_owned(),
        hash: store.key_hash(text.reveal()),
        expires_at: None,
    }
}

impl Access {
    /// Gives a new key its id and its text. Nothing is stored yet.
    pub fn make_key(&self, new: NewKey) -> MadeKey {
        let (store, now) = (self.0.store.as_ref(), self.0.clock.now());
        new.make(store, now, self.0.entropy.as_ref())
    }

    /// Adds a key. `by` is the key that makes it, unless it is an operator's act.
    pub async fn create_key(
        &self,
        by: Option<&ApiKey>,
        made: MadeKey,
        stamp: Stamp,
    ) -> Result<Outcome<MadeKey>, AccessError> {
        covers(by, &made.key.scopes)?;
        let access = self.clone();
        self.to_the_end(async move {
            let _turn = access.0.making.lock().await;
            if let Some(replay) = access.has_room(made.key.principal, &stamp).await? {
                return Ok(Outcome::Replayed(replay));
            }
            let kept = access.0.store.create_key(&made.key, &made.secret, stamp).await?;
            access.0.cache.made(&made.secret.prefix);
            Ok(match kept {
                Outcome::Done(key) => Outcome::Done(MadeKey { key, ..made }),
                Outcome::Replayed(replay) => Outcome::Replayed(replay),
            })
        })
        .await
    }

    /// Adds an instance with a key that is bound to it. `by` is the key that makes both.
    pub async fn create_instance(
        &self,
        by: &ApiKey,
        tenant: TenantId,
        create: CreateInstance,
        made: MadeKey,
        stamp: Stamp,
    ) -> Result<Outcome<(Instance, MadeKey)>, AccessError> {
        covers(Some(by), &made.key.scopes)?;
        let access = self.clone();
        self.to_the_end(async move {
            let _turn = access.0.making.lock().await;
            if let Some(replay) = access.has_room(made.key.principal, &stamp).await? {
                return Ok(Outcome::Replayed(replay));
            }
            let instances = access.0.runtime.instances();
            let key = Some((made.key.clone(), made.secret.clone()));
            let kept = instances.create(tenant, create, key, stamp).await?;
            access.0.cache.made(&made.secret.prefix);
            Ok(match kept {
                Outcome::Replayed(replay) => Outcome::Replayed(replay),
                Outcome::Done(instance) => {
                    let mut made = made;
                    made.key.instances = vec![instance.id];
                    Outcome::Done((instance, made))
                }
            })
        })
        .await
    }

    /// Refuses when there are as many keys as there may be, unless the call is a repetition of one that
    /// was answered.
    async fn has_room(&self, of: Principal, stamp: &Stamp) -> Result<Option<Replay>, AccessError> {
        let max = self.0.config.per_tenant_max;
        let store = &self.0.store;
        if store.key_count(of).await? < u64::from(max) {
            return Ok(None);
        }
        if let Some(repeatable) = &stamp.idempotency {
            let place = of.tenant().unwrap_or(OPERATORS);
            let replay = store.reply(place, &repeatable.key, &repeatable.fingerprint);
            if let Some(replay) = replay.await? {
                return Ok(Some(replay));
            }
        }
        Err(AccessError::TooManyKeys { max })
    }

    /// Changes a key. What it holds open ends, unless only its name or its rate has changed.
    pub async fn patch_key(
        &self,
        by: Option<&ApiKey>,
        of: Principal,
        id: ApiKeyId,
        patch: KeyPatch,
    ) -> Result<ApiKey, AccessError> {
        covers(by, &self.0.store.key(of, id).await?.scopes)?;
        patch
            .scopes
            .as_ref()
            .map_or(Ok(()), |scopes| covers(by, scopes))?;
        let access = self.clone();
        self.to_the_end(async move {
            let streams_stay = patch.scopes.is_none()
                && patch.instances.is_none()
                && patch.allowed_networks.is_none()
                && patch.expires_at.is_none();
            let patched = access
                .0
                .store
                .patch_key(of, id, patch, access.0.clock.now())
                .await;
            access.key_changed(id, !streams_stay);
            Ok(patched?)
        })
        .await
    }

    /// Gives a key a new text; the ones before are taken for `overlap` more. What it holds open ends, and
    /// can be opened again with either.
    pub async fn rotate_key(
        &self,
        by: Option<&ApiKey>,
        of: Principal,
        id: ApiKeyId,
        overlap: Duration,
    ) -> Result<(ApiKey, KeyText), AccessError> {
        covers(by, &self.0.store.key(of, id).await?.scopes)?;
        let access = self.clone();
        self.to_the_end(async move {
            let (store, now) = (access.0.store.as_ref(), access.0.clock.now());
            let text = KeyText::generate(access.0.entropy.as_ref());
            let secret = secret(&text, store);
            let rotated = store.rotate_key(of, id, &secret, now.plus(overlap), now).await;
            access.0.cache.made(&secret.prefix);
            access.key_changed(id, true);
            Ok((rotated?, text))
        })
        .await
    }

    /// Removes a key: it opens nothing from now on, and what it holds open ends.
    pub async fn revoke_key(
        &self,
        by: Option<&ApiKey>,
        of: Principal,
        id: ApiKeyId,
    ) -> Result<(), AccessError> {
        covers(by, &self.0.store.key(of, id).await?.scopes)?;
        let access = self.clone();
        self.to_the_end(async move {
            let revoked = access.0.store.revoke_key(of, id).await;
            access.key_changed(id, true);
            Ok(revoked?)
        })
        .await
    }
}

/// A key gives no other more than it has, and changes none that has more.
fn covers(by: Option<&ApiKey>, scopes: &Scopes) -> Result<(), AccessError> {
    match by {
        Some(by) if !by.scopes.covers(scopes) => Err(AccessError::NotCovered),
        _ => Ok(()),
    }
}
