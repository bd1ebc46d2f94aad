//! Limits of calls: who may do how much in which time, and who may have how much.
//!
//! The layer around `/v1` asks for the address before it asks who calls, then for the key and for the
//! tenant; handlers ask, through their [`Call`], for messages and operations on sessions, once they know
//! that there is something to be done. What may be done how often is counted by the buckets
//! (`roost_actors::bucket`), which grant from a lease in memory and never wait for a database. A bucket
//! that does not answer lets the call through.
//!
//! Nothing here survives a crash: buckets are full after it.

mod header;
mod plan;
mod storage;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use roost_actors::bucket::Buckets;
use roost_domain::limit::{BucketKey, Limits, Quota, Standing, Taken};
use roost_domain::store::Store;
use roost_domain::tenant::Tenant;
use roost_domain::{ErrorCode, TenantId};

pub use header::Standings;
pub use plan::Plans;

use super::call::Call;
use super::problem::{Answer, Problem};
use crate::config::{self, AddressCounts};
use storage::Storage;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const ONE: NonZeroU32 = NonZeroU32::MIN;

/// What a call has taken from its address before it was known whether its key is right.
#[must_use = "it is given back, or kept"]
pub struct AddressShare(Option<(BucketKey, Standing)>);

/// A message that was taken from what its tenant may send.
#[must_use = "it counts, unless it is returned"]
pub struct TakenMessage(Option<BucketKey>);

/// Holds calls against their limits.
pub struct Limiter {
    plans: Plans,
    buckets: Buckets,
    storage: Storage,
    address_quota: Quota,
    address_counts: AddressCounts,
}

impl Limiter {
    /// With the plans and limits of the configuration.
    pub fn new(
        limits: &config::Limits,
        plans: &config::Plans,
        buckets: Buckets,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            plans: Plans::new(plans, &limits.default_plan),
            buckets,
            storage: Storage::new(store, limits.storage_age_max, limits.storage_tenants_max),
            address_quota: Quota {
                count: limits.address_calls,
                per: limits.address_window,
            },
            address_counts: limits.address_counts,
        }
    }

    /// The plans of the configuration.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// Takes from the bucket of the client's address, before anything is looked up for the call; a key
    /// that memory knows needs nothing from it, unless every call counts.
    pub async fn address(&self, call: &Call, key_is_known: bool) -> Answer<AddressShare> {
        let counts_all = self.address_counts == AddressCounts::All;
        let Some(address) = call.address().filter(|_| counts_all || !key_is_known) else {
            return Ok(AddressShare(None));
        };
        let bucket = self.buckets.address(address);
        let standing = self.granted(call, bucket, self.address_quota).await?;
        if counts_all {
            call.note(bucket, standing);
            return Ok(AddressShare(None));
        }
        Ok(AddressShare(Some((bucket, standing))))
    }

    /// The call had a valid key, so it takes nothing from its address.
    pub fn give_back(&self, share: AddressShare) {
        if let Some((bucket, _)) = share.0 {
            self.buckets.give_back(bucket, ONE);
        }
    }

    /// The call had no valid key, so its address pays for it, also where memory had let it pass.
    pub async fn keep(&self, call: &Call, share: AddressShare) {
        if let Some((bucket, standing)) = share.0 {
            call.note(bucket, standing);
        } else if let (AddressCounts::Unauthenticated, Some(address)) = (self.address_counts, call.address())
        {
            let bucket = self.buckets.address(address);
            self.buckets.take(bucket, self.address_quota, ONE).await;
        }
    }

    /// Takes a call from its key and from its tenant.
    pub async fn call(&self, call: &Call) -> Answer<()> {
        let Some(caller) = call.caller() else {
            return Ok(());
        };
        let key = caller.key();
        if let Some(count) = key.calls_per_minute.and_then(NonZeroU32::new) {
            let quota = Quota { count, per: MINUTE };
            self.take(call, BucketKey::Key(key.id), quota).await?;
        }
        let of_tenant = |tenant, limits: Limits| (BucketKey::Calls(tenant), limits.calls_per_hour, HOUR);
        self.of_tenant(call, of_tenant).await.map(drop)
    }

    /// Takes a message from the tenant.
    pub async fn message(&self, call: &Call) -> Answer<TakenMessage> {
        let of_tenant =
            |tenant, limits: Limits| (BucketKey::Messages(tenant), limits.messages_per_hour, HOUR);
        self.of_tenant(call, of_tenant).await.map(TakenMessage)
    }

    /// The message was not accepted.
    pub fn return_message(&self, taken: TakenMessage) {
        if let Some(bucket) = taken.0 {
            self.buckets.give_back(bucket, ONE);
        }
    }

    /// Takes an operation on a session from the tenant.
    pub async fn session_operation(&self, call: &Call) -> Answer<()> {
        let of_tenant = |tenant, limits: Limits| {
            let count = limits.session_operations_per_minute;
            (BucketKey::SessionOperations(tenant), count, MINUTE)
        };
        self.of_tenant(call, of_tenant).await.map(drop)
    }

    /// Refuses a tenant that keeps as much as it may.
    pub async fn storage(&self, call: &Call) -> Answer<()> {
        let Some((tenant, limits)) = self.limits(call) else {
            return Ok(());
        };
        let Some(bytes_max) = limits.storage_bytes else {
            return Ok(());
        };
        if self.storage.bytes(tenant.id).await? < bytes_max {
            return Ok(());
        }
        Err(Problem::new(
            ErrorCode::LimitReached,
            format!("the limit storage is reached: {bytes_max} bytes of messages, events and media"),
        ))
    }

    /// How many instances the caller's tenant may have by its own limits or its plan's.
    pub fn instances_max(&self, call: &Call) -> Option<u32> {
        self.limits(call)?.1.instances
    }

    /// How many webhooks the caller's tenant may have by its own limits or its plan's.
    pub fn webhooks_max(&self, call: &Call) -> Option<u32> {
        self.limits(call)?.1.webhooks
    }

    fn limits<'a>(&self, call: &'a Call) -> Option<(&'a Tenant, Limits)> {
        let tenant = call.caller()?.tenant()?;
        Some((tenant, self.plans.limits(tenant)))
    }

    async fn of_tenant(
        &self,
        call: &Call,
        bucket: impl FnOnce(TenantId, Limits) -> (BucketKey, Option<NonZeroU32>, Duration),
    ) -> Answer<Option<BucketKey>> {
        let Some((tenant, limits)) = self.limits(call) else {
            return Ok(None);
        };
        let (key, count, per) = bucket(tenant.id, limits);
        let Some(count) = count else { return Ok(None) };
        self.take(call, key, Quota { count, per }).await?;
        Ok(Some(key))
    }

    async fn take(&self, call: &Call, key: BucketKey, quota: Quota) -> Answer<()> {
        let standing = self.granted(call, key, quota).await?;
        call.note(key, standing);
        Ok(())
    }

    async fn granted(&self, call: &Call, key: BucketKey, quota: Quota) -> Answer<Standing> {
        match self.buckets.take(key, quota, ONE).await {
            Taken::Granted(standing) => Ok(standing),
            Taken::Refused {
                standing,
                retry_after,
            } => {
                call.note(key, standing);
                Err(header::refused(key, &standing, retry_after))
            }
        }
    }
}
