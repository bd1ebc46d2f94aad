//! The audit log of the API: every call that changes something and every call that was denied, with who,
//! from where, what, on what, and what came of it.
//!
//! A message that is accepted and an event that is published carry their row in the same transaction.
//! For other calls that have changed something, or may have, the layer around `/v1` appends the row and
//! waits until it is durable before the answer goes out; when that fails it is counted, and logged once
//! until it succeeds again, and the answer goes out as it is. Calls that were denied, and calls that were
//! wrong and changed nothing, are folded in memory ([`fold::Fold`]) and written by [`write`](Audit::write);
//! a crash loses those of the last moment. The first of calls that are forbidden alike is written at once.

mod fold;
mod operation;
pub mod row;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use roost_domain::ErrorCode;
use roost_domain::api_key::Principal;
use roost_domain::audit::{AuditEvent, AuditResult};
use roost_domain::store::Store;

use super::call::Call;
use super::state::Gateway;
use crate::config;
use fold::Fold;
pub use row::Answered;

/// Rows that could not be written.
pub const LOST: &str = "roost_audit_lost_total";
/// Rows in one write.
const BATCH_ROWS: usize = 500;

/// Writes the audit log.
pub struct Audit {
    store: Arc<dyn Store>,
    fold: Fold,
    /// Acts that could not be written since one was.
    missing: AtomicU64,
}

impl Audit {
    /// With the limits of the configuration.
    pub fn new(config: &config::Audit, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            fold: Fold::new(config.folded_max),
            missing: AtomicU64::new(0),
        }
    }

    /// Notes a call that is about to be answered.
    pub async fn answered(&self, gateway: &Gateway, call: &Call, answered: Answered) {
        let result = answered.result();
        let denied = result == AuditResult::Denied;
        if !denied && (!call.changes() || call.caller().is_none()) {
            return;
        }
        // What was changed is told by the first of the calls, or by the write itself.
        if result == AuditResult::Done && (answered.replayed || call.is_stamped()) {
            return;
        }
        let mut event = row::of(gateway, call, result, Some(answered.status), answered.code);
        if result == AuditResult::Done
            && let Some(made) = &answered.made
        {
            event.target = Some(made.clone());
        }
        match result {
            AuditResult::Done => {
                let mut rows = vec![event];
                rows.extend(self.copy_for_tenant(gateway, call, &rows[0], answered.made.as_deref()));
                self.append(rows).await;
            }
            AuditResult::Failed if fold::may_have_changed(&event) => self.append(vec![event]).await,
            AuditResult::Denied if answered.status == StatusCode::FORBIDDEN => {
                if self.fold.is_first(&event) {
                    self.append(vec![event]).await;
                }
            }
            AuditResult::Denied | AuditResult::Failed => {
                self.fold.note(event);
            }
        }
    }

    /// Notes a call that ended without an answer of its own: it panicked, took too long, or its client
    /// went away.
    pub fn broken_off(&self, gateway: &Gateway, call: &Call) {
        if call.changes() && call.caller().is_some() {
            let code = if std::thread::panicking() {
                ErrorCode::Internal
            } else {
                ErrorCode::Timeout
            };
            self.fold
                .note(row::of(gateway, call, AuditResult::Failed, None, Some(code)));
        }
    }

    /// An operator's act stands in the log of the tenant that it concerns too.
    fn copy_for_tenant(
        &self,
        gateway: &Gateway,
        call: &Call,
        event: &AuditEvent,
        made: Option<&str>,
    ) -> Option<AuditEvent> {
        if call.caller()?.principal() != Principal::Operator {
            return None;
        }
        let id = row::new_id(event.at, gateway.entropy.as_ref());
        row::concerns(call, made).map(|tenant| row::for_tenant(tenant, event, id))
    }

    async fn append(&self, rows: Vec<AuditEvent>) {
        let (count, action) = (rows.len() as u64, rows[0].action.clone());
        match self.store.append_audit(rows).await {
            Ok(()) => {
                let acts = self.missing.swap(0, Ordering::Relaxed);
                if acts > 0 {
                    tracing::warn!(
                        acts,
                        "acts can be written into the audit log again; so many are missing in it"
                    );
                }
            }
            Err(error) => {
                metrics::counter!(LOST).increment(count);
                // Told once: while the database is away, every call that is refused is such an act.
                if self.missing.fetch_add(count, Ordering::Relaxed) == 0 {
                    tracing::error!(%error, audit.action = action, "an act could not be written into the audit log");
                }
            }
        }
    }

    /// Writes what is folded. What cannot be written waits on.
    pub async fn write(&self) {
        let (rows, lost) = self.fold.take();
        if lost > 0 {
            metrics::counter!(LOST).increment(lost);
            tracing::warn!(
                calls = lost,
                "more different calls were denied than can be told apart"
            );
        }
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let batch: Vec<AuditEvent> = rows.by_ref().take(BATCH_ROWS).collect();
            if let Err(error) = self.store.append_audit(batch.clone()).await {
                tracing::warn!(%error, "denied calls could not be written into the audit log; they wait");
                self.fold.put_back(batch);
                self.fold.put_back(rows.collect());
                return;
            }
        }
    }
}
