//! Every write of a link's state, joined into as few store units as its promises allow.
//!
//! **Writes** are awaited. Those that come while another is under way are applied together, all or
//! none, in order.
//!
//! **Riders** are changes that need not be durable at once. They are visible to the link's reads
//! right away and ride in the same unit as the next write. That is not only cheap: a decrypted
//! message waits here until its commit, and becomes durable in the very unit that advances its
//! ratchet, and a message that is committed before its ratchet is stored is never written twice. After
//! a crash riders are gone: then their ratchet was not stored either, and WhatsApp sends the message
//! again. What this cannot see is a message between its decryption and its arrival here: a ratchet
//! that is stored in that moment is ahead of it, and [`crate::web::redelivery`] sees to that.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use roost_domain::engine::LinkEnd;
use roost_domain::store::{Collection, LinkState, StateOp, StoreError};
use roost_domain::{Owner, Timestamp};

use crate::web::report::Reporter;

/// Riders kept at most before one of them waits for a write of its own.
const RIDERS_MAX: usize = 1024;
/// Room for this many is kept.
const RIDERS_KEPT: usize = 32;
const RIDER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Pauses between the tries of a write or a read that must not be given up while the link lives.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

type Key = (Collection, String);
/// Changes to be applied, and which riders they are.
type Taken = (Vec<StateOp>, Vec<(Key, u64)>);

/// A change that rides.
struct Rider {
    /// `None` deletes.
    value: Option<(Bytes, Option<Timestamp>)>,
    /// Tells this rider from a later one of the same key.
    stamp: u64,
    /// Something may be stored under the key: by an earlier link, or by a write under way.
    beneath: bool,
}

#[derive(Default)]
struct Queue {
    batch: Arc<Batch>,
    ops: Vec<StateOp>,
    riders: HashMap<Key, Rider>,
    rider_bytes: usize,
    stamps: u64,
    /// Keys of messages that are stored and not committed yet; few, and short-lived.
    stored: HashSet<Key>,
}

/// Writes that are applied together.
#[derive(Default)]
struct Batch {
    result: OnceLock<Result<(), StoreError>>,
}

/// Writes one link's state.
pub(super) struct Writer {
    state: Arc<dyn LinkState>,
    owner: Owner,
    reporter: Arc<Reporter>,
    queue: Mutex<Queue>,
    turn: tokio::sync::Mutex<()>,
}

impl Writer {
    pub(super) fn new(state: Arc<dyn LinkState>, owner: Owner, reporter: Arc<Reporter>) -> Self {
        Self {
            state,
            owner,
            reporter,
            queue: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Applies changes, and whatever rides. `Ok` means durable.
    pub(super) async fn write(&self, ops: Vec<StateOp>) -> Result<(), StoreError> {
        let batch = {
            let mut queue = self.lock();
            queue.ops.extend(ops);
            Arc::clone(&queue.batch)
        };
        let _turn = self.turn.lock().await;
        if let Some(result) = batch.result.get() {
            return result.clone();
        }
        let Some((ops, riders)) = self.take(&batch) else {
            return Err(StoreError::Unavailable("the write was given up".to_owned()));
        };
        let result = if ops.is_empty() {
            Ok(())
        } else {
            self.state.apply(self.owner, ops).await
        };
        self.settle(&riders, &result);
        // Only the holder of the turn sets it, once.
        let _ = batch.result.set(result.clone());
        result
    }

    /// Like [`Writer::write`], but does not give up while the database is away and the link lives.
    pub(super) async fn write_patiently(&self, ops: Vec<StateOp>) -> Result<(), StoreError> {
        self.patiently(|| self.write(ops.clone())).await
    }

    /// Does something until the database is there, or the link ends.
    async fn patiently<T, A>(&self, act: impl Fn() -> A) -> Result<T, StoreError>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = RETRY_FIRST;
        loop {
            let result = act().await;
            if !matches!(result, Err(StoreError::Unavailable(_) | StoreError::Overloaded)) {
                return result;
            }
            tokio::select! {
                biased;
                () = self.reporter.ending.cancelled() => return result,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
            }
        }
    }

    /// Sets a value with the next write.
    pub(super) async fn ride(
        &self,
        collection: Collection,
        key: String,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let full = self.add(collection, key, Some((value, expires_at)));
        if full {
            self.write(Vec::new()).await
        } else {
            Ok(())
        }
    }

    /// Removes a value with the next write. A rider that nobody has tried to store yet just goes, when
    /// nothing is beneath it.
    pub(super) async fn ride_delete(&self, collection: Collection, key: String) -> Result<(), StoreError> {
        let full = self.add(collection, key, None);
        if full {
            self.write(Vec::new()).await
        } else {
            Ok(())
        }
    }

    /// Takes back a value that rides and was never tried to be stored; deletes it otherwise.
    pub(super) async fn take_back(&self, collection: Collection, key: String) -> Result<(), StoreError> {
        {
            let mut queue = self.lock();
            let id = (collection, key.clone());
            if queue
                .riders
                .get(&id)
                .is_some_and(|rider| rider.value.is_some() && !rider.beneath)
            {
                let rider = queue.riders.remove(&id);
                queue.rider_bytes -= rider.as_ref().map_or(0, Rider::bytes);
                return Ok(());
            }
        }
        self.ride_delete(collection, key).await
    }

    /// What rides for a key: `None` nothing, `Some(None)` its removal.
    pub(super) fn riding(&self, collection: Collection, key: &str) -> Option<Option<Bytes>> {
        let queue = self.lock();
        let rider = queue.riders.get(&(collection, key.to_owned()))?;
        Some(rider.value.as_ref().map(|(value, _)| value.clone()))
    }

    /// Reads a value, riders included.
    pub(super) async fn get(&self, collection: Collection, key: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(riding) = self.riding(collection, key) {
            return Ok(riding);
        }
        self.read(|| self.state.get(self.owner, collection, key)).await
    }

    /// Reads a value before the link lives: whoever opens it has patience of its own.
    pub(super) async fn get_at_once(
        &self,
        collection: Collection,
        key: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let result = self.state.get(self.owner, collection, key).await;
        result.inspect_err(|error| self.check_fence(error))
    }

    /// Reads the values that exist, riders included, in any order.
    pub(super) async fn get_many(
        &self,
        collection: Collection,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (mut found, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match self.riding(collection, &key) {
                Some(Some(value)) => found.push((key, value)),
                Some(None) => {}
                None => missing.push(key),
            }
        }
        if !missing.is_empty() {
            let read = || self.state.get_many(self.owner, collection, &missing);
            found.extend(self.read(read).await?);
        }
        Ok(found)
    }

    /// Reads the values whose keys begin with a prefix. Not for collections with riders.
    pub(super) async fn scan(
        &self,
        collection: Collection,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.read(|| self.state.scan(self.owner, collection, prefix, limit))
            .await
    }

    /// The greatest stored key of a collection.
    pub(super) async fn last_key(&self, collection: Collection) -> Result<Option<String>, StoreError> {
        self.read(|| self.state.last_key(self.owner, collection)).await
    }

    /// Stores what still rides.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        if self.lock().riders.is_empty() {
            Ok(())
        } else {
            self.write(Vec::new()).await
        }
    }

    /// Reads; does not give up while the database is away and the link lives. The library refuses a message
    /// whose session or keys it cannot read, and WhatsApp would throw it away.
    async fn read<T, R>(&self, read: impl Fn() -> R) -> Result<T, StoreError>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        let result = self.patiently(read).await;
        result.inspect_err(|error| self.check_fence(error))
    }

    fn check_fence(&self, error: &StoreError) {
        if *error == StoreError::Fenced {
            self.reporter.end(LinkEnd::Fenced);
        }
    }

    /// Returns whether there are too many riders now.
    fn add(&self, collection: Collection, key: String, value: Option<(Bytes, Option<Timestamp>)>) -> bool {
        let mut queue = self.lock();
        queue.stamps += 1;
        let stamp = queue.stamps;
        let id = (collection, key);
        let beneath = queue.stored.contains(&id) || queue.riders.get(&id).is_some_and(|rider| rider.beneath);
        let rider = Rider {
            value,
            stamp,
            beneath,
        };
        queue.rider_bytes += rider.bytes();
        let before = queue.riders.insert(id, rider);
        queue.rider_bytes -= before.as_ref().map_or(0, Rider::bytes);
        queue.riders.len() > RIDERS_MAX || queue.rider_bytes > RIDER_BYTES_MAX
    }

    /// Remembers that something is stored under a key that is read before it is written again, so
    /// that [`Writer::take_back`] removes it.
    pub(super) fn note_stored(&self, collection: Collection, key: &str) {
        self.lock().stored.insert((collection, key.to_owned()));
    }

    /// Takes what is to be applied now, if the batch still waits for that.
    fn take(&self, batch: &Arc<Batch>) -> Option<Taken> {
        let mut queue = self.lock();
        if !Arc::ptr_eq(&queue.batch, batch) {
            // The one who took it was cancelled: nothing is known about its writes.
            return None;
        }
        queue.batch = Arc::default();
        let own = std::mem::take(&mut queue.ops);
        let mut ops = Vec::with_capacity(own.len() + queue.riders.len());
        let mut riders = Vec::with_capacity(queue.riders.len());
        for ((collection, key), rider) in &mut queue.riders {
            // From here on it may be stored, whatever comes of this write.
            rider.beneath = true;
            riders.push(((*collection, key.clone()), rider.stamp));
            ops.push(match &rider.value {
                Some((value, expires_at)) => StateOp::Put {
                    collection: *collection,
                    key: key.clone(),
                    value: value.clone(),
                    expires_at: *expires_at,
                },
                None => StateOp::Delete {
                    collection: *collection,
                    key: key.clone(),
                },
            });
        }
        ops.extend(own);
        Some((ops, riders))
    }

    fn settle(&self, riders: &[(Key, u64)], result: &Result<(), StoreError>) {
        match result {
            Ok(()) => {
                let mut queue = self.lock();
                for (id, stamp) in riders {
                    if queue.riders.get(id).is_some_and(|rider| rider.stamp == *stamp) {
                        let rider = queue.riders.remove(id);
                        queue.rider_bytes -= rider.as_ref().map_or(0, Rider::bytes);
                        if rider.is_some_and(|rider| rider.value.is_none()) {
                            queue.stored.remove(id);
                        }
                    }
                }
                Self::shrink(&mut queue);
            }
            Err(error) => self.check_fence(error),
        }
    }

    /// Gives back what a burst has taken: an idle link is to be small.
    fn shrink(queue: &mut Queue) {
        if queue.riders.is_empty() && queue.riders.capacity() > RIDERS_KEPT {
            queue.riders = HashMap::new();
        }
        if queue.stored.is_empty() && queue.stored.capacity() > RIDERS_KEPT {
            queue.stored = HashSet::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Rider {
    fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, |(value, _)| value.len())
    }
}
