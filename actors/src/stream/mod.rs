//! Streams: the live end of the event log.
//!
//! [`Streams`] is told of every commit by the store and keeps the recent events of those tenants that
//! somebody follows. A [`Subscription`] is a cursor: it reads from memory what is there and from the log
//! what is not, so it never misses, repeats or reorders an event, and holds no buffer of its own that
//! could overflow. Being told is a hint only: a subscription also looks into the log every few seconds.
//!
//! Nothing in here has to survive: a consumer comes back with the `seq` it saw last.

pub(crate) mod actor;
mod ring;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::event::{Event, EventFilter};
use roost_domain::store::{CommitObserver, Store};
use roost_domain::webhook::WebhookFilter;
use tokio::sync::watch;

use self::ring::Ring;
use crate::Settings;

pub use self::subscription::{StreamError, Subscription};

/// The recent events of one tenant, and who waits for the next.
struct Channel {
    ring: Mutex<Ring>,
    /// `seq` of the last event heard of; 0 before the first.
    head: watch::Sender<i64>,
    subscribers: AtomicUsize,
}

impl Channel {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here can panic half-way.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Hub {
    store: OnceLock<Arc<dyn Store>>,
    channels: RwLock<HashMap<TenantId, Arc<Channel>>>,
    bytes: AtomicUsize,
    subscriptions: AtomicUsize,
    closed: AtomicBool,
    limits: Limits,
}

struct Limits {
    ring_events: usize,
    ring_bytes: usize,
    rings_bytes: usize,
    subscriptions: usize,
    poll: Duration,
}

/// The live end of the event log. Cheap to clone; made before the store is opened, which it observes.
#[derive(Clone)]
pub struct Streams {
    hub: Arc<Hub>,
}

impl Streams {
    /// Nothing to follow yet: [`crate::Runtime::start`] adds the log.
    pub fn new(settings: &Settings) -> Self {
        let limits = Limits {
            ring_events: settings.ring_events_max.max(1),
            ring_bytes: settings.ring_bytes_max,
            rings_bytes: settings.rings_bytes_max,
            subscriptions: settings.subscriptions_max,
            poll: settings.subscription_poll,
        };
        let hub = Hub {
            store: OnceLock::new(),
            channels: RwLock::default(),
            bytes: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            limits,
        };
        Self { hub: Arc::new(hub) }
    }

    /// Follows a tenant's log from after a `seq`.
    pub fn tail(
        &self,
        tenant: TenantId,
        after: i64,
        filter: EventFilter,
    ) -> Result<Subscription, StreamError> {
        Subscription::open(Arc::clone(&self.hub), tenant, after, filter)
    }

    /// Follows a tenant's log for one of its webhooks, which does not count as a subscription.
    pub(crate) fn follow(
        &self,
        tenant: TenantId,
        after: i64,
        filter: Arc<WebhookFilter>,
    ) -> Result<Subscription, StreamError> {
        Subscription::follow(Arc::clone(&self.hub), tenant, after, filter)
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.hub.subscriptions.load(Ordering::Relaxed)
    }

    /// Bytes of recent events in memory, roughly.
    pub fn buffered_bytes(&self) -> usize {
        self.hub.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn attach(&self, store: Arc<dyn Store>) {
        // A second runtime over the same streams would have to have the same store.
        let _ = self.hub.store.set(store);
    }

    /// Ends every subscription, and takes no more.
    pub(crate) fn close(&self) {
        self.hub.closed.store(true, Ordering::Release);
        for channel in self.hub.channels().values() {
            channel.head.send_modify(|_| {});
        }
    }

    /// Drops the rings of tenants that nobody follows.
    pub(crate) fn sweep(&self) {
        let mut channels = self.hub.channels.write().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, channel| {
            let followed = channel.subscribers.load(Ordering::Acquire) > 0;
            if !followed {
                self.hub
                    .bytes
                    .fetch_sub(channel.ring().bytes(), Ordering::Relaxed);
            }
            followed
        });
    }
}

impl CommitObserver for Streams {
    fn committed(&self, tenant: TenantId, events: &[Arc<Event>]) {
        let Some(channel) = self.hub.channels().get(&tenant).cloned() else {
            return;
        };
        let Some(last) = events.last().map(|event| event.seq) else {
            return;
        };
        if channel.subscribers.load(Ordering::Acquire) > 0 {
            let mut ring = channel.ring();
            let before = ring.bytes();
            ring.append(events, self.hub.limits.ring_events, self.hub.limits.ring_bytes);
            self.hub.count(before, ring.bytes());
        }
        channel.head.send_if_modified(|head| {
            let newer = last > *head;
            *head = last.max(*head);
            newer
        });
        self.hub.evict();
    }
}

impl Hub {
    fn channels(&self) -> std::sync::RwLockReadGuard<'_, HashMap<TenantId, Arc<Channel>>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn count(&self, before: usize, after: usize) {
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Over the limit of all rings together, the largest is emptied: its readers go on in the log.
    fn evict(&self) {
        while self.bytes.load(Ordering::Relaxed) > self.limits.rings_bytes {
            let largest = self
                .channels()
                .values()
                .max_by_key(|channel| channel.ring().bytes())
                .cloned();
            let Some(channel) = largest else { return };
            let mut ring = channel.ring();
            if ring.bytes() == 0 {
                return;
            }
            self.count(ring.bytes(), 0);
            ring.clear();
        }
    }

    /// The channel of a tenant, with one more subscriber.
    fn join(&self, tenant: TenantId) -> Arc<Channel> {
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry(tenant).or_insert_with(|| {
            Arc::new(Channel {
                ring: Mutex::default(),
                head: watch::Sender::new(0),
                subscribers: AtomicUsize::new(0),
            })
        });
        channel.subscribers.fetch_add(1, Ordering::AcqRel);
        Arc::clone(channel)
    }

    fn leave(&self, channel: &Channel, counted: bool) {
        if channel.subscribers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut ring = channel.ring();
            self.count(ring.bytes(), 0);
            ring.clear();
        }
        if counted {
            self.subscriptions.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
