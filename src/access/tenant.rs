//! Making, changing and deleting tenants; letting the actors of suspended ones rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_actors::Rest;
use roost_domain::TenantId;
use roost_domain::limit::Limits;
use roost_domain::store::{Outcome, Stamp, StoreError};
use roost_domain::tenant::{Tenant, TenantPatch, TenantState};
use tokio::sync::OwnedMutexGuard;

use super::cache::Whose;
use super::removal::{RETRY_FIRST, RETRY_LONGEST};
use super::{Access, AccessError, MadeKey};

const READY_POLL: Duration = Duration::from_millis(20);

/// What makes a tenant.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Name for humans.
    pub name: String,
    /// Name of its plan.
    pub plan: Option<String>,
    /// Limits of its own.
    pub limits: Limits,
    /// Days for which events and messages are kept.
    pub retention_days: Option<u32>,
}

/// Lets changes of one tenant's actors happen one after the other, and those of others at the same time.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    pub(super) async fn take(&self, tenant: TenantId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(tenant).or_default())
        };
        turn.lock_owned().await
    }
}

impl Access {
    /// Gives a new tenant its id. Nothing is stored yet.
    pub fn make_tenant(&self, new: NewTenant) -> Tenant {
        let now = self.0.clock.now();
        let unix_ms = u64::try_from(now.unix_ms()).unwrap_or_default();
        let id = TenantId::from_parts(unix_ms, self.0.entropy.bits());
        Tenant {
            plan: new.plan,
            limits: new.limits,
            retention_days: new.retention_days,
            ..Tenant::new(id, new.name, now)
        }
    }

    /// Adds a tenant, with its first key if one is given.
    pub async fn create_tenant(
        &self,
        tenant: Tenant,
        key: Option<MadeKey>,
        stamp: Stamp,
    ) -> Result<Outcome<Tenant>, AccessError> {
        let access = self.clone();
        self.to_the_end(async move {
            let first = key.as_ref().map(|made| (&made.key, &made.secret));
            let made = access.0.store.create_tenant(&tenant, first, stamp).await?;
            if let Some(key) = &key {
                access.0.cache.made(&key.secret.prefix);
            }
            Ok(made)
        })
        .await
    }

    /// Changes a tenant. When it is suspended its keys are refused from now on, what they hold open ends,
    /// and its actors are on their way to rest; when it is active again they come back.
    pub async fn patch_tenant(&self, id: TenantId, patch: TenantPatch) -> Result<Tenant, AccessError> {
        let access = self.clone();
        self.to_the_end(async move {
            let turned = patch.suspended.is_some();
            let patched = access.0.store.patch_tenant(id, patch, access.0.clock.now()).await;
            if turned {
                access.withdraw(Whose::Tenant(id));
                let settling = access.clone();
                access.in_background(async move { settling.settle(id).await });
            } else {
                access.0.cache.forget(Whose::Tenant(id));
            }
            Ok(patched?)
        })
        .await
    }

    /// Destroys a tenant's encryption key and its API keys, and begins to remove the rest.
    pub async fn delete_tenant(&self, id: TenantId) -> Result<Tenant, AccessError> {
        let access = self.clone();
        self.to_the_end(async move {
            let destroyed = access.0.store.destroy_tenant(id, access.0.clock.now()).await;
            access.withdraw(Whose::Tenant(id));
            let tenant = destroyed?;
            if tenant.state == TenantState::Deleting {
                access.begin_removal(id);
            }
            Ok(tenant)
        })
        .await
    }

    /// Brings the actors of a tenant to what its row says.
    async fn settle(&self, id: TenantId) {
        let _turn = self.0.turns.take(id).await;
        // What the node reads of tenants when it starts must not overwrite what is read here.
        while !self.0.runtime.ready() {
            tokio::time::sleep(READY_POLL).await;
        }
        let mut wait = RETRY_FIRST;
        loop {
            let settled = async {
                let tenant = self.0.store.tenant(id).await?;
                match Rest::of(tenant.state) {
                    Some(rest) => Ok(self.0.runtime.rest(id, rest).await),
                    None => self.0.runtime.wake(id).await.map(|()| true),
                }
            };
            let settled: Result<bool, StoreError> = settled.await;
            match settled {
                Ok(true) | Err(StoreError::NotFound) => return,
                Ok(false) => {
                    tracing::warn!(tenant.id = %id, "actors of a suspended tenant do not end; trying again")
                }
                Err(error) => {
                    tracing::warn!(tenant.id = %id, %error, "a tenant's actors cannot follow its state yet; trying again")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }
}
