//! Removes tenants that are deleted: their actors end, then their rows go, a bounded number at a time.
//!
//! The encryption key is destroyed before any of this begins, in the transaction that marks the tenant,
//! so that it does not matter how far a removal has come. One that is interrupted is begun again by the
//! next start of a node, and goes on with the rows that are left. In a cluster it is the owner of the
//! tenant's slot that removes it; when the slot moves, the next owner goes on. Two that are at it for a moment
//! take turns, as each step holds the tenant's row.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_actors::Rest;
use roost_domain::audit::{ActorKind, AuditEvent, AuditResult};
use roost_domain::store::StoreError;
use roost_domain::tenant::TenantState;
use roost_domain::{AuditEventId, TenantId, Timestamp};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Access;

/// Wait after a failure; doubles up to the longest.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(500);
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// How long the removal waits for other nodes.
const OTHERS_REST_MAX: Duration = Duration::from_secs(60);
const ACTION: &str = "remove_tenant";

/// Removals that this node works on.
#[derive(Debug, Default)]
pub(super) struct Removals(Mutex<HashMap<TenantId, RemovalView>>);

/// How far the removal of a tenant has come on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Deletion)]
pub struct RemovalView {
    /// What is being done.
    pub step: RemovalStep,
    /// Rows that are gone, since this node began with it.
    pub rows_removed: u64,
    /// When this node began with it.
    pub started_at: Timestamp,
}

/// A step of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeletionStep)]
pub enum RemovalStep {
    /// Sessions and webhooks are being stopped.
    StoppingActors,
    /// Rows are being removed.
    RemovingRows,
}

impl Removals {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantId, RemovalView>> {
        // Nothing in here can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// How far the removal of a tenant has come, if this node works on it.
    pub fn removal(&self, tenant: TenantId) -> Option<RemovalView> {
        self.0.removals.all().get(&tenant).copied()
    }

    /// Removes a tenant in the background, unless that is under way.
    pub(super) fn begin_removal(&self, tenant: TenantId) {
        let view = RemovalView {
            step: RemovalStep::StoppingActors,
            rows_removed: 0,
            started_at: self.0.clock.now(),
        };
        let mut removals = self.0.removals.all();
        if removals.contains_key(&tenant) {
            return;
        }
        removals.insert(tenant, view);
        drop(removals);
        let access = self.clone();
        self.in_background(async move {
            access.remove(tenant).await;
            access.0.removals.all().remove(&tenant);
        });
    }

    async fn remove(&self, tenant: TenantId) {
        let turn = self.0.turns.take(tenant).await;
        self.0.store.forget_tenant(tenant);
        let mut wait = RETRY_FIRST;
        while !self.0.runtime.rest(tenant, Rest::Deleted).await {
            tracing::warn!(tenant.id = %tenant, "actors of a tenant that is being deleted do not end; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
        drop(turn);
        self.others_rest(tenant).await;
        self.advance(tenant, RemovalStep::RemovingRows, 0);
        let mut wait = RETRY_FIRST;
        loop {
            if !self.0.runtime.is_in_charge_of(tenant) {
                tracing::info!(tenant.id = %tenant, "another node goes on with the removal of a tenant");
                return;
            }
            match self.remove_some(tenant).await {
                Ok(true) => break,
                Ok(false) => wait = RETRY_FIRST,
                Err(StoreError::NotFound) => return,
                Err(error) => {
                    tracing::warn!(tenant.id = %tenant, %error, "rows of a deleted tenant could not be removed; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_LONGEST);
                }
            }
        }
        let rows = self.removal(tenant).map_or(0, |view| view.rows_removed);
        tracing::info!(tenant.id = %tenant, rows, "a deleted tenant is gone");
        self.note_removal(tenant).await;
    }

    /// Waits until nothing of a tenant runs on other nodes either. One that cannot be reached ends the
    /// tenant's actors by itself, when it looks at tenants; if it cannot even do that, its lease runs out.
    async fn others_rest(&self, tenant: TenantId) {
        let deadline = Instant::now() + OTHERS_REST_MAX;
        let mut wait = RETRY_FIRST;
        while !self.0.runtime.rest_elsewhere(tenant, Rest::Deleted).await {
            if Instant::now() >= deadline {
                return tracing::warn!(tenant.id = %tenant, "not every node says that it has ended the actors of a tenant that is being deleted");
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }

    /// Removes some rows; `true` when none are left.
    async fn remove_some(&self, tenant: TenantId) -> Result<bool, StoreError> {
        let (limit, now) = (self.0.config.removal_batch, self.0.clock.now());
        let gone = self.0.store.remove_rows(tenant, limit, now).await?;
        self.advance(tenant, RemovalStep::RemovingRows, gone);
        if gone > 0 {
            return Ok(false);
        }
        Ok(self.0.store.tenant(tenant).await?.state == TenantState::Deleted)
    }

    fn advance(&self, tenant: TenantId, step: RemovalStep, rows: u64) {
        if let Some(view) = self.0.removals.all().get_mut(&tenant) {
            view.step = step;
            view.rows_removed += rows;
        }
    }

    /// The end of a deletion stands in the tenant's log and in the operator's. A crash before leaves it
    /// out; the tenant's row says when it was.
    async fn note_removal(&self, tenant: TenantId) {
        let at = self.0.clock.now();
        let unix_ms = u64::try_from(at.unix_ms()).unwrap_or_default();
        let events = [Some(tenant), None].map(|log| AuditEvent {
            id: AuditEventId::from_parts(unix_ms, self.0.entropy.bits()),
            tenant_id: log,
            at,
            actor_kind: ActorKind::System,
            actor_id: None,
            source: None,
            action: ACTION.to_owned(),
            target: Some(tenant.to_string()),
            result: AuditResult::Done,
            status: None,
            code: None,
            request_id: None,
            count: 1,
        });
        if let Err(error) = self.0.store.append_audit(events.to_vec()).await {
            tracing::error!(tenant.id = %tenant, %error, "the end of a tenant's deletion is missing in the audit log");
        }
    }
}
