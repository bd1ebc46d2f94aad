//! What operators see of the actors of this node.
//!
//! Each live actor, and each that backs off or is in quarantine, has one [`ActorMeta`]. Handles, the
//! actor and its registry write into it as they go; a listing reads it without asking the actor, so a
//! stuck actor is listed too, with a queue that grows older.

mod view;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ractor::ActorCell;
use roost_domain::slot::Slot;
use roost_domain::{Clock, Epoch, Timestamp};

pub use self::view::{ActorFilter, ActorView, Grade, LastError, MailboxView, PaceView, PermitView, Urgency};
use crate::bucket::BucketCell;
use crate::permit::{Class, Permits};

/// Longest text of a failure that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 512;

/// Most actors a listing gives at once.
pub const ACTORS_PAGE_MAX: usize = 500;

#[derive(Default)]
struct Inner {
    state: &'static str,
    cell: Option<ActorCell>,
    epoch: Option<Epoch>,
    started_at: Option<Timestamp>,
    restarts: u32,
    last_error: Option<Box<LastError>>,
    next_retry_at: Option<Timestamp>,
    needs_operator: bool,
    queued: VecDeque<Timestamp>,
    handled: u64,
    last_activity_at: Option<Timestamp>,
    last_message: Option<&'static str>,
    permits: Option<Arc<Permits>>,
    bucket: Option<Arc<BucketCell>>,
    pacing: Option<Box<PaceView>>,
}

impl Inner {
    fn mailbox(&self, now: Timestamp) -> MailboxView {
        let oldest = self.queued.front().map(|&at| now.since(at).as_millis());
        MailboxView {
            depth: self.queued.len(),
            oldest_ms: oldest.map_or(0, millis),
        }
    }
}

/// The book kept on one actor, over all its lives.
pub(crate) struct ActorMeta {
    path: Box<str>,
    kind: &'static str,
    slot: Option<Slot>,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

impl ActorMeta {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the fields consistent, so a poisoned lock is as good.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// A new life begins.
    pub fn started(&self, cell: ActorCell, epoch: Option<Epoch>, permits: Option<Arc<Permits>>) {
        let now = self.clock.now();
        let mut inner = self.inner();
        if inner.started_at.is_some() {
            inner.restarts += 1;
        }
        inner.cell = Some(cell);
        inner.epoch = epoch;
        inner.started_at = Some(now);
        inner.next_retry_at = None;
        inner.handled = 0;
        inner.permits = permits;
    }

    /// This life is over.
    pub fn stopped(&self, state: &'static str) {
        let mut inner = self.inner();
        inner.state = state;
        inner.cell = None;
        inner.permits = None;
        inner.bucket = None;
        inner.pacing = None;
        inner.queued = VecDeque::new();
    }

    /// Where a bucket counts, in this life.
    pub fn counts_in(&self, cell: Arc<BucketCell>) {
        self.inner().bucket = Some(cell);
    }

    pub fn failed(&self, class: &'static str, mut text: String) {
        let at = self.clock.now();
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
        let class = Cow::Borrowed(class);
        self.inner().last_error = Some(Box::new(LastError { at, class, text }));
    }

    pub fn retries_at(&self, at: Option<Timestamp>, needs_operator: bool) {
        let mut inner = self.inner();
        inner.next_retry_at = at;
        inner.needs_operator = needs_operator;
    }

    pub fn enter(&self, state: &'static str) {
        self.inner().state = state;
    }

    pub fn paced(&self, pace: Option<PaceView>) {
        let mut inner = self.inner();
        match (pace, &mut inner.pacing) {
            (Some(pace), Some(shown)) => **shown = pace,
            (pace, shown) => *shown = pace.map(Box::new),
        }
    }

    pub fn queued(&self) {
        let now = self.clock.now();
        self.inner().queued.push_back(now);
    }

    pub fn not_queued(&self) {
        self.inner().queued.pop_back();
    }

    pub fn handling(&self, message: &'static str) {
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.queued.pop_front();
        inner.handled += 1;
        inner.last_activity_at = Some(now);
        inner.last_message = Some(message);
    }

    fn matches(&self, filter: &ActorFilter) -> bool {
        filter.kind.as_deref().is_none_or(|kind| kind == self.kind)
            && filter
                .state
                .as_deref()
                .is_none_or(|state| state == self.inner().state)
    }

    fn urgency(&self) -> Urgency {
        let now = self.clock.now();
        let inner = self.inner();
        Urgency::new(
            inner.needs_operator,
            inner.state,
            inner.mailbox(now),
            inner.restarts,
        )
    }

    fn view(&self, node: &str) -> ActorView {
        let now = self.clock.now();
        let inner = self.inner();
        let permits = inner.permits.as_ref().map_or_else(Vec::new, |permits| {
            let view = |class: Class| {
                let (used, max) = permits.used(class);
                PermitView {
                    class: class.name().into(),
                    used,
                    max,
                }
            };
            Class::ALL.map(view).to_vec()
        });
        let running = inner.cell.as_ref();
        ActorView {
            path: self.path.to_string(),
            kind: self.kind.into(),
            key: self.path.split_once('/').map(|(_, key)| key.to_owned()),
            slot: self.slot,
            node: node.to_owned(),
            epoch: inner.epoch,
            state: inner.state.into(),
            ractor_status: running.map(|cell| format!("{:?}", cell.get_status()).to_lowercase()),
            started_at: inner.started_at,
            uptime_ms: running
                .and(inner.started_at)
                .map(|at| millis(now.since(at).as_millis())),
            restarts: inner.restarts,
            last_error: inner.last_error.as_deref().cloned(),
            next_retry_at: inner.next_retry_at,
            needs_operator: inner.needs_operator,
            mailbox: inner.mailbox(now),
            permits,
            pacing: inner.pacing.as_deref().cloned(),
            handled: inner.handled,
            last_activity_at: inner.last_activity_at,
            last_message: inner.last_message.map(Cow::Borrowed),
            bucket: inner.bucket.as_ref().and_then(|cell| cell.view()),
        }
    }
}

fn millis(millis: u128) -> u64 {
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// Every actor of this node. Cheap to clone.
#[derive(Clone)]
pub struct ActorIndex {
    shared: Arc<Shared>,
}

struct Shared {
    node: String,
    clock: Arc<dyn Clock>,
    actors: RwLock<BTreeMap<Box<str>, Arc<ActorMeta>>>,
}

impl ActorIndex {
    pub(crate) fn new(node: &str, clock: Arc<dyn Clock>) -> Self {
        let actors = RwLock::new(BTreeMap::new());
        Self {
            shared: Arc::new(Shared {
                node: node.to_owned(),
                clock,
                actors,
            }),
        }
    }

    /// Opens the book of an actor, or gives the one that is open.
    pub(crate) fn open(&self, path: &str, kind: &'static str, slot: Option<Slot>) -> Arc<ActorMeta> {
        let mut actors = self.shared.actors.write().unwrap_or_else(PoisonError::into_inner);
        let meta = actors.entry(path.into()).or_insert_with(|| {
            let inner = Mutex::new(Inner {
                state: "starting",
                ..Inner::default()
            });
            Arc::new(ActorMeta {
                path: path.into(),
                kind,
                slot,
                clock: Arc::clone(&self.shared.clock),
                inner,
            })
        });
        Arc::clone(meta)
    }

    /// Closes the book of an actor that is gone for now.
    pub(crate) fn close(&self, path: &str) {
        self.shared
            .actors
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(path);
    }

    /// Actors by path after `after`, at most `limit`, and the path after which the next page begins.
    pub fn list(
        &self,
        filter: &ActorFilter,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<ActorView>, Option<String>) {
        self.list_from(filter, after.map_or(Bound::Unbounded, Bound::Excluded), limit)
    }

    /// The same from a path on.
    pub(crate) fn list_from(
        &self,
        filter: &ActorFilter,
        from: Bound<&str>,
        limit: usize,
    ) -> (Vec<ActorView>, Option<String>) {
        let limit = limit.clamp(1, ACTORS_PAGE_MAX);
        let mut found: Vec<Arc<ActorMeta>> = {
            let actors = self.shared.actors.read().unwrap_or_else(PoisonError::into_inner);
            actors
                .range::<str, _>((from, Bound::Unbounded))
                .map(|(_, meta)| meta)
                .filter(|meta| meta.matches(filter))
                .take(limit + 1)
                .cloned()
                .collect()
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let views: Vec<ActorView> = found.iter().map(|meta| meta.view(&self.shared.node)).collect();
        let next = if more {
            views.last().map(|view| view.path.clone())
        } else {
            None
        };
        (views, next)
    }

    /// Those that most need somebody to look at them, at most `limit`.
    pub(crate) fn worst(&self, filter: &ActorFilter, limit: usize) -> Vec<ActorView> {
        let limit = limit.clamp(1, ACTORS_PAGE_MAX);
        let mut found: Vec<(Reverse<Urgency>, Arc<ActorMeta>)> = {
            let actors = self.shared.actors.read().unwrap_or_else(PoisonError::into_inner);
            let matching = actors.values().filter(|meta| meta.matches(filter));
            matching
                .map(|meta| (Reverse(meta.urgency()), Arc::clone(meta)))
                .collect()
        };
        found.sort_by(|(a, left), (b, right)| (a, &left.path).cmp(&(b, &right.path)));
        found.truncate(limit);
        found
            .iter()
            .map(|(_, meta)| meta.view(&self.shared.node))
            .collect()
    }

    /// One actor.
    pub fn get(&self, path: &str) -> Option<ActorView> {
        let actors = self.shared.actors.read().unwrap_or_else(PoisonError::into_inner);
        let meta = actors.get(path).cloned()?;
        drop(actors);
        Some(meta.view(&self.shared.node))
    }

    /// How many actors wait for an operator.
    pub(crate) fn need_operator(&self) -> usize {
        let actors = self.shared.actors.read().unwrap_or_else(PoisonError::into_inner);
        actors.values().filter(|meta| meta.inner().needs_operator).count()
    }

    /// How many actors of a kind there are, in each state.
    pub fn count(&self, kind: &str) -> BTreeMap<&'static str, usize> {
        let actors = self.shared.actors.read().unwrap_or_else(PoisonError::into_inner);
        let mut count = BTreeMap::new();
        for meta in actors.values().filter(|meta| meta.kind == kind) {
            *count.entry(meta.inner().state).or_default() += 1;
        }
        count
    }
}
