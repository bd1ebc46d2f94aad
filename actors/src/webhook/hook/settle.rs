//! What a webhook's actor reads and writes: each a task that reports back.

use std::sync::Arc;

use roost_domain::store::{Store, StoreError};
use roost_domain::webhook::WebhookOwner;
use roost_domain::webhook::store::{ReplayScope, Settlement};
use tokio::sync::OwnedSemaphorePermit;

use super::super::machine::ReplayStep;
use super::super::message::{Fact, RedriveCall, ReplayCall, Reply};
use super::super::reader::coarse;
use super::Hook;
use crate::persist::Fatal;

/// Events of the log looked at in one step of a replay.
const REPLAY_LOOKS: u32 = 500;

impl Hook {
    /// Writes outcomes, for as long as it takes; another such write begins only after it.
    pub(super) fn settle(&mut self, settlement: Settlement) {
        let (persist, reporter) = (self.persist(), self.reporter.clone());
        self.tasks.spawn(async move {
            let mut next = Some(settlement);
            let written = persist.until_done(|store, owner| {
                let settlement = next.clone().unwrap_or_default();
                async move { store.settle(owner, settlement).await }
            });
            let written = written.await;
            drop(next.take());
            reporter.report(match written {
                Ok(()) => Fact::Settled,
                Err(fatal) => fatal.into(),
            });
        });
    }

    /// Reads the events of parked deliveries.
    pub(super) fn fetch(&mut self, seqs: Vec<i64>) {
        let (persist, reporter, load) = (self.persist(), self.reporter.clone(), self.load);
        self.tasks.spawn(async move {
            let read = persist.until_done(|store, owner| {
                let seqs = seqs.clone();
                async move { store.events_at(owner.tenant, &seqs).await }
            });
            reporter.report(match read.await {
                Ok(events) => Fact::Fetched(load, events),
                Err(fatal) => fatal.into(),
            });
        });
    }

    pub(super) fn redrive_now(&mut self, call: RedriveCall) {
        let RedriveCall { seqs, permit, reply } = call;
        let (load, now) = (self.load, self.shared.node.clock.now());
        self.write_now(permit, reply, |store, owner| async move {
            let parked = store.redrive(owner, seqs, now).await?;
            Ok((parked.len() as u64, Fact::Redriven(load, parked)))
        });
    }

    pub(super) fn replay_now(&mut self, call: ReplayCall) {
        let ReplayCall {
            from_seq,
            to_seq,
            scope,
            permit,
            reply,
        } = call;
        let load = self.load;
        self.write_now(permit, reply, |store, owner| async move {
            let replay = store.add_replay(owner, from_seq, to_seq, scope).await?;
            Ok((replay.clone(), Fact::ReplayAdded(load, replay)))
        });
    }

    /// Writes what a caller asks for, once: gives the caller the answer and the actor the fact.
    fn write_now<T, W, F>(&mut self, permit: OwnedSemaphorePermit, reply: Reply<T>, write: W)
    where
        T: Send + 'static,
        W: FnOnce(Arc<dyn Store>, WebhookOwner) -> F,
        F: Future<Output = Result<(T, Fact), StoreError>> + Send + 'static,
    {
        let reporter = self.reporter.clone();
        let written = write(Arc::clone(&self.shared.node.store), self.owner);
        self.calls.spawn(async move {
            let (answer, fact) = match written.await {
                Ok((answer, fact)) => (Ok(answer), Some(fact)),
                // It is not known whether this was carried out.
                Err(error @ StoreError::Unavailable(_)) => (Err(error.into()), Some(Fact::Uncertain)),
                Err(error) => {
                    let fact = Fatal::of(&error).map(Fact::from);
                    (Err(error.into()), fact)
                }
            };
            if let Some(fact) = fact {
                reporter.report(fact);
            }
            // Whoever asked may have gone.
            let _ = reply.send(answer);
            drop(permit);
        });
    }

    /// Makes the next deliveries of a replay pending. A crash before its progress is written makes them
    /// pending once more.
    pub(super) fn replay_step(&mut self, step: ReplayStep) {
        let (persist, reporter, node) = (
            self.persist(),
            self.reporter.clone(),
            Arc::clone(&self.shared.node),
        );
        let Some(running) = &self.running else { return };
        let filter = Arc::clone(&running.filter);
        self.tasks.spawn(async move {
            let ReplayStep { replay, limit } = step;
            let stepped = persist.until_done(|store, owner| {
                let (filter, now) = (Arc::clone(&filter), node.clock.now());
                let (from, to, scope) = (replay.next_seq, replay.to_seq, replay.scope);
                async move {
                    let (seqs, next) = match scope {
                        ReplayScope::Dead => {
                            let seqs = store.dead_letters(owner, from, to, limit).await?;
                            let full = seqs.len() >= limit as usize;
                            let next = seqs.last().map(|last| last + 1).filter(|_| full);
                            (seqs, next)
                        }
                        ReplayScope::Events => {
                            let looks = limit.min(REPLAY_LOOKS);
                            let coarse = coarse(&filter);
                            let batch = store.events(owner.tenant, from - 1, looks, &coarse).await?;
                            let scanned = batch.scanned_to;
                            let events = batch.events.iter().filter(|event| event.seq <= to);
                            let seqs = events
                                .filter(|event| filter.matches(event))
                                .map(|event| event.seq);
                            (seqs.collect(), (scanned >= from).then_some(scanned + 1))
                        }
                    };
                    let parked = if seqs.is_empty() {
                        Vec::new()
                    } else {
                        store.redrive(owner, seqs, now).await?
                    };
                    Ok((next.filter(|&next| next <= to), parked))
                }
            });
            reporter.report(match stepped.await {
                Ok((next, parked)) => Fact::Replayed(next, parked),
                Err(fatal) => fatal.into(),
            });
        });
    }
}
