//! The registry's actor: the supervisor of all children of one kind.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use roost_domain::Epoch;
use roost_domain::slot::{Place, Slot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::policy::{Class, Record, Verdict};
use super::table::{After, Children, EnsureReply, Entry, Phase, RegistryMessage, Table};
use super::{Kind, NotRunning, Start};
use crate::index::ActorMeta;
use crate::node::NodeContext;
use crate::post::Post;

/// How long to wait before looking again for a registry that is being restarted.
const NO_REGISTRY: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Registry<K>(PhantomData<fn() -> K>);

impl<K> Registry<K> {
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// What a life of a registry works with.
pub(crate) struct RegistryState<K: Kind> {
    pub(super) node: Arc<NodeContext>,
    pub(super) children: Arc<Children<K>>,
    meta: Arc<ActorMeta>,
}

impl<K: Kind> Actor for Registry<K> {
    type Msg = RegistryMessage<K>;
    type State = RegistryState<K>;
    type Arguments = (Arc<NodeContext>, Arc<Children<K>>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (node, children): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let meta = node.index.open(K::REGISTRY, "registry", None);
        meta.enter("running");
        children.set_registry(Post::new(myself, Arc::clone(&meta)));
        let state = RegistryState { node, children, meta };
        state.adopt();
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.meta.handling(message.name());
        let cell = myself.get_cell();
        match message {
            RegistryMessage::Ensure { key, seed, reply } => state.ensure(key, seed, reply, cell).await,
            RegistryMessage::Operate {
                key,
                operation,
                reply,
            } => {
                drop(reply.send(state.operate(key, operation, cell).await));
            }
            RegistryMessage::StopSlots { slots, kill, reply } => state.stop_slots(&slots, kill, reply),
            RegistryMessage::ChildGone { key, life } => state.child_gone(key, life, cell).await,
            RegistryMessage::RestartDue { key, life } => {
                let due =
                    state.children.table().entries.get(&key).is_some_and(|entry| {
                        entry.life == life && matches!(entry.phase, Phase::BacksOff { .. })
                    });
                if due {
                    state.spawn(key, cell).await;
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let killed = reason.as_deref() == Some("killed");
                state.child_ended(&cell, killed.then(|| (Class::Retry, "killed".to_owned())));
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                state.child_ended(&cell, Some((Class::of(&error), error.to_string())));
            }
            _ => {}
        }
        Ok(())
    }
}

impl<K: Kind> RegistryState<K> {
    /// Takes over the children of a predecessor: its end has killed them.
    fn adopt(&self) {
        let keys: Vec<K::Key> = self.children.table().entries.keys().copied().collect();
        for key in keys {
            let mut table = self.children.table();
            let Some(entry) = table.entries.get_mut(&key) else {
                continue;
            };
            let life = entry.life;
            match &entry.phase {
                Phase::Running { cell, .. } => {
                    cell.kill();
                    table.by_actor.clear();
                    self.end(&mut table, key, After::Respawn);
                }
                Phase::BacksOff { until } => self.wake_at(*until, key, life),
                // The predecessor ended while it spawned this one.
                Phase::Spawning => {
                    let until = Instant::now() + self.node.settings.backoff_first;
                    entry.phase = Phase::BacksOff { until };
                    self.wake_at(until, key, life);
                }
                // The wait for its join handle goes on: it reports to whatever registry there is.
                Phase::Ending { .. } | Phase::Quarantined => {}
            }
        }
    }

    async fn ensure(&self, key: K::Key, seed: K::Seed, reply: Option<EnsureReply<K>>, cell: ActorCell) {
        if self.admit(key, seed, reply) {
            self.spawn(key, cell).await;
        }
    }

    /// Whether it is of a tenant of whom nothing is started.
    fn rests(&self, seed: &K::Seed) -> bool {
        K::tenant(seed).is_some_and(|tenant| self.node.resting.get(tenant).is_some())
    }

    /// Answers from what is there; `true` when a new child has to be spawned.
    fn admit(&self, key: K::Key, seed: K::Seed, reply: Option<EnsureReply<K>>) -> bool {
        let mut table = self.children.table();
        let answer = if table.closed {
            Err(NotRunning::Stopping)
        } else if self.rests(&seed) {
            Err(NotRunning::Resting)
        } else if let Some(entry) = table.entries.get_mut(&key) {
            match &entry.phase {
                Phase::Running { handle, .. } => Ok(handle.clone()),
                Phase::Ending {
                    after: After::Quarantine,
                }
                | Phase::Quarantined => Err(NotRunning::Quarantined),
                Phase::Ending { after: After::Fenced } => Err(NotRunning::Fenced),
                Phase::BacksOff { until } => Err(NotRunning::BacksOff(
                    until.saturating_duration_since(Instant::now()),
                )),
                Phase::Ending { .. } | Phase::Spawning => {
                    entry.wait(reply);
                    return false;
                }
            }
        } else {
            self.add(&mut table, key, seed, reply);
            return true;
        };
        drop(table);
        if let Some(reply) = reply {
            drop(reply.send(answer));
        }
        false
    }

    fn add(&self, table: &mut Table<K>, key: K::Key, seed: K::Seed, reply: Option<EnsureReply<K>>) {
        let slot = self.children.kind.slot(key);
        let meta = self.node.index.open(&format!("{}/{key}", K::NAME), K::NAME, slot);
        let phase = Phase::Spawning;
        let waiters = reply.into_iter().collect();
        let record = Record::default();
        let entry = Entry {
            seed,
            slot,
            meta,
            phase,
            record,
            life: 0,
            waiters,
            ordered: None,
        };
        table.entries.insert(key, entry);
        if let Some(slot) = slot {
            table.by_slot.entry(slot).or_default().insert(key);
        }
    }

    fn place(&self, slot: Option<Slot>) -> Place {
        slot.map_or(Place::Here(Epoch(0)), |slot| self.node.placement.place(slot))
    }

    /// Spawns a child whose entry is there, and tells those who wait for it.
    pub(super) async fn spawn(&self, key: K::Key, cell: ActorCell) {
        let (seed, meta, slot, life) = {
            let mut table = self.children.table();
            table.next_life += 1;
            let (life, closed) = (table.next_life, table.closed);
            let Some(entry) = table.entries.get_mut(&key) else {
                return;
            };
            (entry.life, entry.ordered, entry.phase) = (life, None, Phase::Spawning);
            if closed || self.rests(&entry.seed) {
                drop(table);
                let why = if closed {
                    NotRunning::Stopping
                } else {
                    NotRunning::Resting
                };
                return self.forget(key, &why);
            }
            (entry.seed.clone(), Arc::clone(&entry.meta), entry.slot, life)
        };
        let epoch = match self.place(slot) {
            Place::Here(epoch) if self.node.placement.holds_lease() => epoch,
            Place::Here(_) | Place::Node(_) => {
                return self.forget(key, &NotRunning::NotHere(crate::error::RETRY_AFTER));
            }
            Place::Nowhere { retry_after } => return self.forget(key, &NotRunning::NotHere(retry_after)),
        };
        meta.enter("starting");
        let start = Start {
            key,
            seed,
            epoch,
            meta: Arc::clone(&meta),
        };
        match self.children.kind.spawn(start, cell).await {
            Ok(child) => {
                let mut table = self.children.table();
                table.by_actor.insert(child.cell.get_id(), key);
                let Some(entry) = table.entries.get_mut(&key) else {
                    return child.cell.kill();
                };
                let waiters = std::mem::take(&mut entry.waiters);
                let (handle, since) = (child.handle, Instant::now());
                self.children.set_live(key, Some(handle.clone()));
                entry.phase = Phase::Running {
                    handle: handle.clone(),
                    cell: child.cell,
                    join: child.join,
                    since,
                };
                drop(table);
                waiters
                    .into_iter()
                    .for_each(|waiter| drop(waiter.send(Ok(handle.clone()))));
            }
            Err(error) => {
                tracing::error!(actor = meta.path(), life, %error, "an actor could not be spawned");
                meta.failed(Class::Panic.name(), error.to_string());
                self.forget(key, &NotRunning::Broken(error.to_string()));
            }
        }
    }

    pub(super) fn forget(&self, key: K::Key, why: &NotRunning) {
        let entry = self.children.table().remove(key);
        if let Some(entry) = entry {
            self.node.index.close(entry.meta.path());
            entry
                .waiters
                .into_iter()
                .for_each(|waiter| drop(waiter.send(Err(why.clone()))));
        }
        self.children.changed.notify_waiters();
    }

    /// A child has ended; `failure` says how, unless it stopped by itself.
    fn child_ended(&self, cell: &ActorCell, failure: Option<(Class, String)>) {
        let mut table = self.children.table();
        let Some(key) = table.by_actor.remove(&cell.get_id()) else {
            return;
        };
        let Some(entry) = table.entries.get_mut(&key) else {
            return;
        };
        let Phase::Running { since, .. } = &entry.phase else {
            return;
        };
        let now = Instant::now();
        let verdict = failure.map(|(class, text)| {
            tracing::warn!(
                actor = entry.meta.path(),
                class = class.name(),
                error = text,
                "an actor failed"
            );
            entry.meta.failed(class.name(), text);
            let (settings, lived) = (&self.node.settings, now.duration_since(*since));
            entry
                .record
                .failed(class, lived, now, settings, &*self.node.entropy)
        });
        let after = match (entry.ordered, verdict) {
            (Some(ordered), _) => ordered,
            (None, Some(Verdict::Quarantine)) => After::Quarantine,
            (None, Some(Verdict::Restart(wait))) => After::Wait(wait),
            (None, Some(Verdict::Forget)) => After::Fenced,
            (None, None) => After::Forget,
        };
        self.end(&mut table, key, after);
    }

    /// Waits for the end of a child's task, and reports it to whatever registry there is then.
    fn end(&self, table: &mut Table<K>, key: K::Key, after: After) {
        self.children.set_live(key, None);
        let Some(entry) = table.entries.get_mut(&key) else {
            return;
        };
        let phase = std::mem::replace(&mut entry.phase, Phase::Ending { after });
        let Phase::Running { join, .. } = phase else {
            return;
        };
        self.report_end(Some(join), key, entry, after);
    }

    pub(super) fn report_end(
        &self,
        join: Option<JoinHandle<()>>,
        key: K::Key,
        entry: &Entry<K>,
        after: After,
    ) {
        entry.meta.stopped("ending");
        let (life, seed) = (entry.life, entry.seed.clone());
        // What panicked too often is left as it was.
        let noted = after == After::Stopped || (after == After::Quarantine && entry.ordered.is_some());
        let noted_under = match self.place(entry.slot) {
            Place::Here(epoch) if noted => Some(epoch),
            _ => None,
        };
        let children = Arc::clone(&self.children);
        let stopping = self.node.stopping.clone();
        self.node.tasks.spawn(async move {
            if let Some(join) = join {
                // However it ended, its state is dropped now.
                let _ = join.await;
            }
            if let Some(epoch) = noted_under {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = children.kind.stopped(key, seed, epoch) => {}
                }
            }
            // Between two lives of the registry there is nobody to tell.
            while !children.cast(RegistryMessage::ChildGone { key, life }) && !stopping.is_cancelled() {
                tokio::time::sleep(NO_REGISTRY).await;
            }
        });
    }

    async fn child_gone(&self, key: K::Key, life: u64, cell: ActorCell) {
        let next = {
            let mut table = self.children.table();
            let closed = table.closed;
            let Some(entry) = table.entries.get_mut(&key).filter(|entry| entry.life == life) else {
                return;
            };
            let Phase::Ending { after } = entry.phase else {
                return;
            };
            let wanted = !entry.waiters.is_empty() && matches!(after, After::Forget | After::Stopped);
            match after {
                _ if closed => After::Forget,
                _ if wanted => After::Respawn,
                After::Wait(wait) => {
                    let until = Instant::now() + wait;
                    entry.phase = Phase::BacksOff { until };
                    entry.meta.stopped("backing_off");
                    entry
                        .meta
                        .retries_at(Some(self.node.clock.now().plus(wait)), false);
                    self.wake_at(until, key, life);
                    let waiters = std::mem::take(&mut entry.waiters);
                    waiters
                        .into_iter()
                        .for_each(|waiter| drop(waiter.send(Err(NotRunning::BacksOff(wait)))));
                    return;
                }
                After::Quarantine => {
                    let actor = entry.meta.path();
                    if entry.ordered.is_some() {
                        tracing::warn!(actor, "an operator has put an actor into quarantine");
                    } else {
                        tracing::error!(actor, "an actor panicked too often and is in quarantine");
                    }
                    entry.phase = Phase::Quarantined;
                    entry.meta.stopped("quarantined");
                    entry.meta.retries_at(None, true);
                    let waiters = std::mem::take(&mut entry.waiters);
                    waiters
                        .into_iter()
                        .for_each(|waiter| drop(waiter.send(Err(NotRunning::Quarantined))));
                    return;
                }
                after => after,
            }
        };
        match next {
            After::Respawn => self.spawn(key, cell).await,
            _ => self.forget(key, &NotRunning::Stopping),
        }
    }

    fn wake_at(&self, until: Instant, key: K::Key, life: u64) {
        let children = Arc::clone(&self.children);
        let stopping = self.node.stopping.clone();
        self.node.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep_until(until) => {
                    children.cast(RegistryMessage::RestartDue { key, life });
                }
            }
        });
    }
}
