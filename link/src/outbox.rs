//! Notes to one peer that have not gone out yet.
//!
//! One batch is under way at a time, and the next one leaves after its answer: so notes pile up here,
//! where later ones replace earlier ones, and never in the link.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use roost_domain::peer::{Note, NoteKind};
use tokio::sync::Notify;

/// Largest note, key and body together.
pub(crate) const NOTE_BYTES_MAX: usize = 4_096;

/// Largest batch, but for its last note.
const BATCH_BYTES_MAX: usize = 65_536 / 2;

/// What an entry of a batch takes besides key and body, at most.
const ENTRY_BYTES: usize = 16;

/// The notes, in the order in which their keys came.
pub(crate) struct Outbox {
    notes_max: usize,
    waiting: Mutex<Waiting>,
    some: Notify,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bodies: HashMap<(NoteKind, Bytes), Bytes>,
    order: VecDeque<(NoteKind, Bytes)>,
}

impl Outbox {
    pub fn new(notes_max: usize) -> Self {
        Self {
            notes_max,
            waiting: Mutex::default(),
            some: Notify::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a note, in place of an earlier one of the same kind and key.
    pub fn put(&self, note: Note) {
        if note.key.len() + note.body.len() > NOTE_BYTES_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut waiting = self.lock();
        let full = waiting.order.len() >= self.notes_max;
        let key = (note.kind, note.key);
        if let Some(body) = waiting.bodies.get_mut(&key) {
            *body = note.body;
        } else if full {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        } else {
            waiting.order.push_back(key.clone());
            waiting.bodies.insert(key, note.body);
        }
        drop(waiting);
        self.some.notify_one();
    }

    /// Waits for notes and takes as many as a batch holds.
    pub async fn take(&self) -> Vec<Note> {
        loop {
            let batch = self.batch();
            if !batch.is_empty() {
                return batch;
            }
            self.some.notified().await;
        }
    }

    /// Drops what waits: the peer is gone, and looks for itself when it comes back.
    pub fn clear(&self) {
        let mut waiting = self.lock();
        let count = waiting.order.len() as u64;
        *waiting = Waiting::default();
        drop(waiting);
        self.lost(count);
    }

    /// Counts notes that went out and did not arrive.
    pub fn lost(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn batch(&self) -> Vec<Note> {
        let mut waiting = self.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES_MAX
            && let Some(key) = waiting.order.pop_front()
        {
            let Some(body) = waiting.bodies.remove(&key) else {
                continue;
            };
            bytes += key.1.len() + body.len() + ENTRY_BYTES;
            batch.push(Note {
                kind: key.0,
                key: key.1,
                body,
            });
        }
        batch
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(key: &str, body: &str) -> Note {
        Note {
            kind: NoteKind::COMMIT,
            key: Bytes::copy_from_slice(key.as_bytes()),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[tokio::test]
    async fn a_later_note_replaces_one_that_has_not_gone_out() {
        let outbox = Outbox::new(8);
        outbox.put(note("t1", "1"));
        outbox.put(note("t2", "1"));
        outbox.put(note("t1", "2"));
        assert_eq!(outbox.take().await, [note("t1", "2"), note("t2", "1")]);
        outbox.put(note("t1", "3"));
        assert_eq!(outbox.take().await, [note("t1", "3")]);
        assert_eq!(outbox.dropped(), 0);
    }

    #[tokio::test]
    async fn a_full_outbox_drops_new_keys_and_counts_them() {
        let outbox = Outbox::new(2);
        for key in ["a", "b", "c", "a"] {
            outbox.put(note(key, "x"));
        }
        assert_eq!(outbox.dropped(), 1);
        assert_eq!(outbox.take().await.len(), 2);
    }

    #[tokio::test]
    async fn a_batch_stays_within_a_frame() {
        let outbox = Outbox::new(10_000);
        let body = "x".repeat(NOTE_BYTES_MAX - 8);
        for key in 0..100 {
            outbox.put(note(&key.to_string(), &body));
        }
        let mut seen = 0;
        while seen < 100 {
            let batch = outbox.take().await;
            let bytes: usize = batch.iter().map(|note| note.key.len() + note.body.len()).sum();
            assert!(bytes <= BATCH_BYTES_MAX + NOTE_BYTES_MAX);
            seen += batch.len();
        }
    }

    #[test]
    fn a_note_that_is_too_large_is_dropped() {
        let outbox = Outbox::new(8);
        outbox.put(note("k", &"x".repeat(NOTE_BYTES_MAX)));
        assert_eq!(outbox.dropped(), 1);
    }
}
