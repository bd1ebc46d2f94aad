//! Making, changing and deleting tenants; letting the actors of suspended ones rest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_actors::Rest;
use roost_domain::TenantId;
use roost_domain::limit::Limits;
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::store::{Outcome, Stamp, StoreError};
use roost_domain::tenant::{Tenant, TenantPatch, TenantState};
use tokio::sync::{OwnedMutexGuard, Semaphore};

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

/// Settlings at the same time.
const SETTLING_MAX: usize = 16;

/// Tenants whose actors wait to be brought to what their rows say.
#[derive(Debug)]
pub(super) struct Settling {
    waiting: Mutex<HashSet<TenantId>>,
    at_once: Semaphore,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            at_once: Semaphore::new(SETTLING_MAX),
        }
    }
}

impl Settling {
    fn waiting(&self) -> MutexGuard<'_, HashSet<TenantId>> {
        // Nothing in here can panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `false` when the tenant waits already.
    fn enter(&self, tenant: TenantId) -> bool {
        self.waiting().insert(tenant)
    }

    fn leave(&self, tenant: TenantId) {
        self.waiting().remove(&tenant);
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
            access.tenant_changed(id, turned);
            if turned {
                access.begin_settling(id);
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
            access.tenant_changed(id, true);
            let tenant = destroyed?;
            if tenant.state == TenantState::Deleting {
                if access.0.runtime.is_in_charge_of(id) {
                    access.begin_removal(id);
                } else {
                    access.begin_settling(id);
                }
            }
            Ok(tenant)
        })
        .await
    }

    /// Brings the actors of a tenant on this node to what its row says, in the background.
    pub(super) fn begin_settling(&self, id: TenantId) {
        if !self.0.settling.enter(id) {
            return;
        }
        let access = self.clone();
        self.in_background(async move {
            let turn = access.0.turns.take(id).await;
            // Who comes from here on may know of a later state.
            access.0.settling.leave(id);
            // What the node reads of tenants when it starts must not overwrite what is read here.
            while !access.0.runtime.ready() {
                tokio::time::sleep(READY_POLL).await;
            }
            let state = access.settle(id).await;
            drop(turn);
            if state == TenantState::Deleting && access.0.runtime.is_in_charge_of(id) {
                access.begin_removal(id);
            }
        });
    }

    async fn settle(&self, id: TenantId) -> TenantState {
        let mut wait = RETRY_FIRST;
        loop {
            match self.settle_once(id).await {
                Ok((state, true)) => return state,
                Err(StoreError::NotFound) => return TenantState::Deleted,
                Ok((_, false)) => {
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

    async fn settle_once(&self, id: TenantId) -> Result<(TenantState, bool), StoreError> {
        let _turn = self.0.settling.at_once.acquire().await;
        let (store, runtime) = (&self.0.store, &self.0.runtime);
        let state = store.tenant(id).await?.state;
        let Some(rest) = Rest::of(state) else {
            runtime.wake(id).await?;
            return Ok((state, true));
        };
        if rest == Rest::Deleted {
            store.forget_tenant(id);
        }
        Ok((state, runtime.rest(id, rest).await))
    }

    /// Goes on with what earlier lives of this node, and other nodes, have left. In a cluster it looks again
    /// every few seconds: news may be lost, and who was at it may be gone.
    pub(super) async fn look_after_tenants(&self) {
        let alone = !self.0.runtime.is_in_cluster();
        let (mut wait, mut failing) = (RETRY_FIRST, false);
        loop {
            match self.look_at_tenants(alone).await {
                Ok(()) if alone => return,
                Ok(()) => (wait, failing) = (self.0.config.look_every, false),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "tenants that rest or are being deleted cannot be read yet; trying again");
                        wait = RETRY_FIRST;
                    }
                    wait = (wait * 2).min(RETRY_LONGEST);
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn look_at_tenants(&self, alone: bool) -> Result<(), StoreError> {
        let runtime = &self.0.runtime;
        let mut known = runtime.resting();
        let mut page = PageRequest::new(None, PAGE_ROWS_MAX);
        loop {
            let read = self.0.store.resting_tenants(page).await?;
            for (id, state) in read.rows {
                let rests = known.remove(&id);
                if state == TenantState::Deleting && runtime.is_in_charge_of(id) {
                    self.begin_removal(id);
                } else if !alone && rests != Rest::of(state).map(|rest| (rest, true)) {
                    self.begin_settling(id);
                }
            }
            let Some(next) = read.next else { break };
            page = PageRequest::new(Some(next), PAGE_ROWS_MAX);
        }
        // The end of a tenant is for good.
        let suspended = known.iter().filter(|(_, (rest, _))| *rest == Rest::Suspended);
        if !alone {
            suspended.for_each(|(&id, _)| self.begin_settling(id));
        }
        Ok(())
    }
}
