//! Events that are made on other nodes: tells them of commits here, and reads what was committed there.
//!
//! ```text
//! commit here ── note ──▶ other nodes
//! note from there, or the look of every second ──▶ wanted ──▶ one read per tenant ──▶ ring, head ──▶ readers
//! ```
//! A tenant's events have one order over all nodes, that of their `seq`; what this node commits is only a
//! part of them. So a ring is continued by what follows its last event and by nothing else: when a commit
//! here comes after one of another node, both are read from the log. One reader per tenant does it for all
//! that follow the tenant here. Notes may be lost, wrong or late: nothing depends on them but the time after
//! which an event is seen.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::event::{Event, EventFilter};
use roost_domain::peer::Peers;
use roost_domain::store::Store;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Channel, Streams};
use crate::cluster::News;

/// Tenants whose log is read at the same time.
const READS_MAX: usize = 4;
/// Events that one read brings at most.
const READ_MAX: u32 = 500;
/// Tenants whose logs one query of the look asks for.
const LOOK_TENANTS: usize = 1_000;

/// See the module.
#[derive(Default)]
pub(super) struct Elsewhere {
    peers: OnceLock<Arc<dyn Peers>>,
    /// Tenants whose log has grown by what is not in memory. At most as many as are followed here.
    wanted: Mutex<BTreeSet<TenantId>>,
    some: Notify,
}

impl Elsewhere {
    pub fn link(&self, peers: Arc<dyn Peers>) {
        // A node joins once.
        let _ = self.peers.set(peers);
    }

    /// Whether there are other nodes that write the same logs.
    pub fn exists(&self) -> bool {
        self.peers.get().is_some()
    }

    pub fn tell(&self, tenant: TenantId, last: &Event) {
        if let Some(peers) = self.peers.get() {
            let (seq, at) = (last.seq, last.timestamp);
            peers.notify(News::Committed { tenant, seq, at }.note());
        }
    }

    pub fn want(&self, tenant: TenantId) {
        self.wanted().insert(tenant);
        self.some.notify_one();
    }

    async fn next(&self) -> TenantId {
        loop {
            if let Some(tenant) = self.wanted().pop_first() {
                return tenant;
            }
            self.some.notified().await;
        }
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<TenantId>> {
        // Nothing in here can panic half-way.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Tells other nodes of commits, and takes theirs in, from now on.
    pub(crate) fn link(&self, peers: Arc<dyn Peers>) {
        self.hub.elsewhere.link(peers);
    }

    /// Another node has committed events of a tenant, up to this `seq`.
    pub(crate) fn told(&self, tenant: TenantId, seq: i64) {
        let Some(channel) = self.hub.channels().get(&tenant).cloned() else {
            return;
        };
        if channel.subscribers.load(Ordering::Acquire) == 0 {
            channel.advance(seq);
        } else if seq > channel.reach() {
            channel.heard.fetch_max(seq, Ordering::SeqCst);
            self.hub.elsewhere.want(tenant);
        }
    }

    /// Reads what was committed elsewhere, for as long as this node is one of several.
    pub(crate) async fn take_in(self) {
        let mut reads = JoinSet::new();
        loop {
            while reads.len() >= READS_MAX {
                reads.join_next().await;
            }
            let tenant = tokio::select! {
                tenant = self.hub.elsewhere.next() => tenant,
                Some(_) = reads.join_next() => continue,
            };
            let streams = self.clone();
            reads.spawn(async move { streams.read_up(tenant).await });
        }
    }

    /// Looks from time to time how far the logs are of all tenants that are followed here: notes may be
    /// lost, and links cut.
    pub(crate) async fn look(self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            match self.look_once().await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "it cannot be seen what other nodes have committed; trying again");
                    }
                }
            }
        }
    }

    async fn look_once(&self) -> Result<(), roost_domain::store::StoreError> {
        let Some(store) = self.hub.store.get() else {
            return Ok(());
        };
        for tenants in self.followed().chunks(LOOK_TENANTS) {
            for (tenant, seq) in store.last_seqs(tenants).await? {
                self.told(tenant, seq);
            }
        }
        Ok(())
    }

    fn followed(&self) -> Vec<TenantId> {
        let channels = self.hub.channels();
        let followed = channels
            .iter()
            .filter(|(_, channel)| channel.subscribers.load(Ordering::Acquire) > 0);
        followed.map(|(&tenant, _)| tenant).collect()
    }

    /// Brings memory up to what was heard of, and wakes the readers.
    async fn read_up(&self, tenant: TenantId) {
        let channel = self.hub.channels().get(&tenant).cloned();
        let (Some(channel), Some(store)) = (channel, self.hub.store.get()) else {
            return;
        };
        // Who reads for this tenant already looks once more when it is done.
        while let Some(turn) = Turn::take(&channel) {
            while !self.hub.is_closed() && channel.reach() < channel.heard.load(Ordering::SeqCst) {
                self.read_on(&channel, &**store, tenant).await;
            }
            drop(turn);
            if self.hub.is_closed() || channel.reach() >= channel.heard.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Reads what follows what is in memory, if it is worth it; else readers look for themselves.
    async fn read_on(&self, channel: &Channel, store: &dyn Store, tenant: TenantId) {
        let (reach, heard) = (channel.reach(), channel.heard.load(Ordering::SeqCst));
        let followed = channel.subscribers.load(Ordering::Acquire) > 0;
        let far = usize::try_from(heard - reach).unwrap_or(usize::MAX) > self.hub.limits.ring_events;
        if !followed || reach == 0 || far {
            let end = store.last_seq(tenant).await.unwrap_or(heard);
            return self.pass_over(channel, heard, end);
        }
        let all = EventFilter::default();
        match store.events(tenant, reach, READ_MAX, &all).await {
            Ok(batch) if batch.events.is_empty() => self.pass_over(channel, heard, batch.scanned_to),
            Ok(batch) => {
                self.hub.add(channel, &batch.events);
                self.hub.evict();
            }
            // They will see for themselves.
            Err(_) => self.pass_over(channel, heard, heard),
        }
    }

    /// What is in memory is not continued: the log is heard to be at `heard`, and is at `end`.
    fn pass_over(&self, channel: &Channel, heard: i64, end: i64) {
        let mut ring = channel.ring();
        // A commit here may have come to it meanwhile.
        if ring.last().is_none_or(|last| last < end) {
            self.hub.count(ring.bytes(), 0);
            ring.clear();
        }
        drop(ring);
        channel.advance(end);
        if end < heard {
            // What was heard is not so. If more has been heard since, that stays.
            let _ =
                channel
                    .heard
                    .compare_exchange(heard, channel.reach(), Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// The right to read for all that follow a tenant here.
struct Turn<'a>(&'a Channel);

impl<'a> Turn<'a> {
    fn take(channel: &'a Channel) -> Option<Self> {
        (!channel.reading.swap(true, Ordering::SeqCst)).then_some(Self(channel))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.reading.store(false, Ordering::SeqCst);
    }
}
