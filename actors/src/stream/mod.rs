//! Streams: the live end of the event log.
//!
//! [`Streams`] is told of every commit by the store and keeps the recent events of those tenants that
//! somebody follows. A [`Subscription`] is a cursor: it reads from memory what is there and from the log
//! what is not, so it never misses, repeats or reorders an event, and holds no buffer of its own that
//! could overflow. Being told is a hint only: a subscription also looks into the log every few seconds.
//! In a cluster other nodes append to the same logs; `elsewhere` brings their events.
//!
//! Nothing in here has to survive: a consumer comes back with the `seq` it saw last.

pub(crate) mod actor;
mod elsewhere;
mod ring;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::event::{Event, EventFilter};
use roost_domain::store::{CommitObserver, Store};
use roost_domain::webhook::WebhookFilter;
use tokio::sync::watch;

use self::elsewhere::Elsewhere;
use self::ring::Ring;
use crate::Settings;

pub use self::subscription::{StreamError, Subscription};

/// The recent events of one tenant, and who waits for the next.
struct Channel {
    ring: Mutex<Ring>,
    /// `seq` of the last event that readers know of; 0 before the first.
    head: watch::Sender<i64>,
    /// `seq` of the last event that other nodes, or a commit ahead of theirs, have told of.
    heard: AtomicI64,
    /// Somebody reads for all.
    reading: AtomicBool,
    subscribers: AtomicUsize,
}

impl Channel {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here can panic half-way.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `seq` of the last event that is in memory or that readers look for themselves; 0 before the first.
    fn reach(&self) -> i64 {
        let last = self.ring().last();
        last.unwrap_or(0).max(*self.head.borrow())
    }

    /// Tells readers how far the log is.
    fn advance(&self, to: i64) {
        self.head.send_if_modified(|head| {
            let newer = to > *head;
            *head = to.max(*head);
            newer
        });
    }
}

struct Hub {
    store: OnceLock<Arc<dyn Store>>,
    elsewhere: Elsewhere,
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
            elsewhere: Elsewhere::default(),
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
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return;
        };
        self.hub.elsewhere.tell(tenant, last);
        let (first, last) = (first.seq, last.seq);
        let Some(channel) = self.hub.channels().get(&tenant).cloned() else {
            return;
        };
        if channel.subscribers.load(Ordering::Acquire) == 0 {
            return channel.advance(last);
        }
        let reach = channel.reach();
        if self.hub.elsewhere.exists() && reach > 0 && first > reach + 1 {
            // What another node has committed before is read together with it.
            channel.heard.fetch_max(last, Ordering::SeqCst);
            return self.hub.elsewhere.want(tenant);
        }
        self.hub.add(&channel, events);
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

    /// Puts events that follow each other into memory and wakes readers.
    fn add(&self, channel: &Channel, events: &[Arc<Event>]) {
        let mut ring = channel.ring();
        let before = ring.bytes();
        ring.append(events, self.limits.ring_events, self.limits.ring_bytes);
        self.count(before, ring.bytes());
        drop(ring);
        if let Some(last) = events.last() {
            channel.advance(last.seq);
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
                heard: AtomicI64::new(0),
                reading: AtomicBool::new(false),
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
