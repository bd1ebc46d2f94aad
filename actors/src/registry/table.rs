//! The children of a registry.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ractor::{ActorCell, ActorId, Message};
use roost_domain::TenantId;
use roost_domain::slot::Slot;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::policy::Record;
use super::{EnabledPage, Kind, NotRunning};
use crate::CallError;
use crate::index::ActorMeta;
use crate::post::Post;

/// Callers that wait for one child at most.
const WAITERS_MAX: usize = 128;

/// What an operator does to one actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Ends it in good order and starts it again.
    Restart,
    /// Ends it in good order. What its owner wants is not changed: the next start of the node, or the next
    /// call that needs it, starts it again.
    Stop,
    /// Ends it in good order, and has nothing start it again on this node before the quarantine is
    /// cleared.
    Quarantine,
    /// Lets it start again.
    ClearQuarantine,
}

/// Messages of a registry.
pub(crate) enum RegistryMessage<K: Kind> {
    // Orders.
    Ensure {
        key: K::Key,
        seed: K::Seed,
        reply: Option<EnsureReply<K>>,
    },
    Operate {
        key: K::Key,
        operation: Operation,
        reply: oneshot::Sender<Result<(), CallError>>,
    },
    StopSlots {
        slots: Slots,
        kill: bool,
        reply: oneshot::Sender<Vec<K::Key>>,
    },
    // Facts.
    ChildGone {
        key: K::Key,
        life: u64,
    },
    // Timers.
    RestartDue {
        key: K::Key,
        life: u64,
    },
}

impl<K: Kind> Message for RegistryMessage<K> {}

impl<K: Kind> RegistryMessage<K> {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ensure { .. } => "ensure",
            Self::Operate { .. } => "operate",
            Self::StopSlots { .. } => "stop_slots",
            Self::ChildGone { .. } => "child_gone",
            Self::RestartDue { .. } => "restart_due",
        }
    }
}

pub(crate) type EnsureReply<K> = oneshot::Sender<Result<<K as Kind>::Handle, NotRunning>>;

/// What is to be emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slots {
    All,
    These(HashSet<Slot>),
    /// Whatever works for a tenant, in every slot. What it was is noted, as nothing follows it soon.
    OfTenant(TenantId),
}

/// What follows the end of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Forget,
    /// Another owner has taken over: whoever calls before it is forgotten is told so.
    Fenced,
    /// An operator stopped it: that is noted before it is forgotten.
    Stopped,
    Respawn,
    Wait(std::time::Duration),
    Quarantine,
}

pub(super) enum Phase<H> {
    Spawning,
    Running {
        handle: H,
        cell: ActorCell,
        join: JoinHandle<()>,
        since: Instant,
    },
    /// Its join handle is being awaited.
    Ending {
        after: After,
    },
    BacksOff {
        until: Instant,
    },
    Quarantined,
}

pub(super) struct Entry<K: Kind> {
    pub seed: K::Seed,
    pub slot: Option<Slot>,
    pub meta: Arc<ActorMeta>,
    pub phase: Phase<K::Handle>,
    pub record: Record,
    /// Tells this life from earlier ones.
    pub life: u64,
    /// Wants to know when it runs; only while it is ending.
    pub waiters: Vec<EnsureReply<K>>,
    /// What an operator or the node asked for before it ended.
    pub ordered: Option<After>,
}

impl<K: Kind> Entry<K> {
    pub fn wait(&mut self, reply: Option<EnsureReply<K>>) {
        let Some(reply) = reply else { return };
        self.waiters.retain(|waiter| !waiter.is_closed());
        if self.waiters.len() < WAITERS_MAX {
            self.waiters.push(reply);
        } else {
            drop(reply.send(Err(NotRunning::Overloaded)));
        }
    }
}

pub(super) struct Table<K: Kind> {
    pub entries: HashMap<K::Key, Entry<K>>,
    pub by_actor: HashMap<ActorId, K::Key>,
    pub by_slot: HashMap<Slot, HashSet<K::Key>>,
    pub next_life: u64,
    /// Slots are emptied for good: nothing is started any more.
    pub closed: bool,
}

impl<K: Kind> Table<K> {
    pub fn remove(&mut self, key: K::Key) -> Option<Entry<K>> {
        let entry = self.entries.remove(&key)?;
        if let Some(slot) = entry.slot
            && let Some(keys) = self.by_slot.get_mut(&slot)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
        Some(entry)
    }

    pub fn keys_in(&self, slots: &Slots) -> Vec<K::Key> {
        match slots {
            Slots::All => self.entries.keys().copied().collect(),
            Slots::OfTenant(tenant) => {
                let of_tenant = |entry: &Entry<K>| K::tenant(&entry.seed) == Some(*tenant);
                let entries = self.entries.iter().filter(|(_, entry)| of_tenant(entry));
                entries.map(|(key, _)| *key).collect()
            }
            Slots::These(slots) => slots
                .iter()
                .filter_map(|slot| self.by_slot.get(slot))
                .flatten()
                .copied()
                .collect(),
        }
    }
}

/// What callers and successive lives of a registry share.
pub(crate) struct Children<K: Kind> {
    pub(super) kind: K,
    table: Mutex<Table<K>>,
    live: RwLock<HashMap<K::Key, K::Handle>>,
    registry: RwLock<Option<Post<RegistryMessage<K>>>>,
    /// A child was forgotten, or has another handle.
    pub(super) changed: Notify,
}

impl<K: Kind> Children<K> {
    pub fn new(kind: K) -> Self {
        let table = Table {
            entries: HashMap::new(),
            by_actor: HashMap::new(),
            by_slot: HashMap::new(),
            next_life: 0,
            closed: false,
        };
        Self {
            kind,
            table: Mutex::new(table),
            live: RwLock::default(),
            registry: RwLock::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<K>> {
        // Nothing that runs under the lock can panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_live(&self, key: K::Key, handle: Option<K::Handle>) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        match handle {
            Some(handle) => live.insert(key, handle),
            None => live.remove(&key),
        };
        drop(live);
        self.changed.notify_waiters();
    }

    pub(super) fn set_registry(&self, post: Post<RegistryMessage<K>>) {
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = Some(post);
    }

    /// The live child with this key.
    pub fn handle(&self, key: K::Key) -> Option<K::Handle> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned()
    }

    /// How many children there are, running or not.
    pub fn count(&self) -> usize {
        self.table().entries.len()
    }

    /// The child with this key, started if it does not run.
    pub async fn ensure(
        &self,
        key: K::Key,
        seed: K::Seed,
        deadline: Instant,
    ) -> Result<K::Handle, CallError> {
        self.try_ensure(key, seed, deadline)
            .await?
            .map_err(|why| why.refusal(K::NAME))
    }

    /// The same; tells why the child is not running.
    pub async fn try_ensure(
        &self,
        key: K::Key,
        seed: K::Seed,
        deadline: Instant,
    ) -> Result<Result<K::Handle, NotRunning>, CallError> {
        if let Some(handle) = self.handle(key) {
            return Ok(Ok(handle));
        }
        let (reply, answer) = oneshot::channel();
        self.ask(
            deadline,
            RegistryMessage::Ensure {
                key,
                seed,
                reply: Some(reply),
            },
            answer,
        )
        .await
    }

    /// Starts a child without waiting for it. `false` when there is no registry to do so now.
    pub fn start(&self, key: K::Key, seed: K::Seed) -> bool {
        self.cast(RegistryMessage::Ensure {
            key,
            seed,
            reply: None,
        })
    }

    /// Does what an operator asks for.
    pub async fn operate(
        &self,
        key: K::Key,
        operation: Operation,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        self.ask(
            deadline,
            RegistryMessage::Operate {
                key,
                operation,
                reply,
            },
            answer,
        )
        .await?
    }

    /// Asks the children of some slots to stop, or kills them. Gives their keys; [`Self::gone`] waits
    /// for their end.
    pub async fn stop_slots(
        &self,
        slots: Slots,
        kill: bool,
        deadline: Instant,
    ) -> Result<Vec<K::Key>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.ask(
            deadline,
            RegistryMessage::StopSlots { slots, kill, reply },
            answer,
        )
        .await
    }

    /// Slot of a key, if one decides where it lives.
    pub fn slot(&self, key: K::Key) -> Option<Slot> {
        self.kind.slot(key)
    }

    /// A page of what a node starts with in some slots.
    pub async fn enabled(&self, slots: &[Slot], after: Option<K::Key>) -> EnabledPage<K::Key, K::Seed> {
        self.kind.enabled(slots, after).await
    }

    /// Keys of the children in some slots.
    pub fn keys_in(&self, slots: &Slots) -> Vec<K::Key> {
        self.table().keys_in(slots)
    }

    /// Waits until none of these children is left.
    pub async fn gone(&self, keys: &[K::Key]) {
        self.until(|| {
            let table = self.table();
            !keys.iter().any(|key| table.entries.contains_key(key))
        })
        .await;
    }

    /// Waits until a child has no handle, or one that `accepts` is true of.
    pub async fn turned_over(&self, key: K::Key, accepts: impl Fn(&K::Handle) -> bool) {
        self.until(|| self.handle(key).is_none_or(|handle| accepts(&handle)))
            .await;
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if reached() {
                return;
            }
            changed.await;
        }
    }

    /// Kills whatever runs, by signals, without the registry: it may be busy. What waits to be restarted is
    /// not here any more when its time comes.
    pub fn fence(&self) {
        let mut table = self.table();
        for entry in table.entries.values_mut() {
            entry.ordered = Some(After::Forget);
            match &mut entry.phase {
                Phase::Running { cell, .. } => cell.kill(),
                Phase::Ending { after } => *after = After::Forget,
                // It is killed the next time, if it comes to run.
                Phase::Spawning | Phase::BacksOff { .. } | Phase::Quarantined => {}
            }
        }
    }

    /// Whether no child runs, begins or ends.
    pub fn none_runs(&self) -> bool {
        let idle = |phase: &Phase<K::Handle>| matches!(phase, Phase::BacksOff { .. } | Phase::Quarantined);
        self.table().entries.values().all(|entry| idle(&entry.phase))
    }

    /// Starts nothing any more.
    pub fn close(&self) {
        self.table().closed = true;
    }

    /// Breaks the registry, as a fault would.
    #[cfg(test)]
    pub fn kill_registry(&self) {
        if let Some(post) = &*self.registry.read().unwrap_or_else(PoisonError::into_inner) {
            post.kill();
        }
    }

    pub(super) fn cast(&self, message: RegistryMessage<K>) -> bool {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        registry.as_ref().is_some_and(|post| post.cast(message).is_ok())
    }

    async fn ask<T>(
        &self,
        deadline: Instant,
        message: RegistryMessage<K>,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, CallError> {
        let gone = || CallError::unavailable("the registry is being restarted");
        if !self.cast(message) {
            return Err(gone());
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        timeout(wait, answer)
            .await
            .map_err(|_| CallError::Timeout)?
            .map_err(|_| gone())
    }
}
