//! Room on the disk for copying SQLite's write-ahead log back into the database.
//!
//! ```text
//! free on the disk
//!   log + 16 floors   and more: nothing is done but to look, four times a second
//!   log +  2 floors   short: small batches, and the log is emptied before each
//!   log +  1 floor    the same, but once a write was refused all are, until there are two floors again
//!   less              every write is refused
//! ```
//!
//! A log that has taken the last of the disk cannot be copied back, because the database has to grow for
//! that, and so never becomes shorter: only an operator could end it, and the log would take what the
//! operator frees too. So nothing is committed that would not leave room for the log, with this batch in
//! it, to be copied back. Others may still take the disk's last bytes. Then nothing is written, and as
//! soon as they give back what the log needs it is emptied first.
//!
//! The log is emptied before a batch and not after it so that a batch which meets the end of the disk in
//! spite of all leaves nothing behind in the log but what emptying it gives back without copying.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::committer::Committer;
use crate::database::{Failure, Remedy, WriteConnection};
use crate::inspect::beside;

/// Floors of free room, beside the log's, below which the disk is short.
const SHORT_FLOORS: u64 = 16;
/// Floors that have to be free again once a write was refused: one that is refused for its size and a
/// smaller one that is not would otherwise take turns at stopping and starting everything.
const RECOVERED_FLOORS: u64 = 2;
/// Most operations in a transaction while the disk is short.
const SHORT_BATCH_OPERATIONS: usize = 16;
/// Bytes of a batch from which it is checked although the disk is not short: it may be larger than the
/// room that was there at the last look.
const LARGE_BYTES: u64 = 1 << 20;
/// How long emptying the log waits for those who read from it. A backup reads for longer, and everybody
/// waits for the writer.
const READERS_WAIT: Duration = Duration::from_millis(50);

/// The database's disk, as the writer and the checkpointer's thread see it.
pub(super) struct Disk {
    database: PathBuf,
    log: PathBuf,
    floor: u64,
    short: AtomicBool,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Bytes free on the disk.
    free: u64,
    /// Length of the log.
    log: u64,
}

impl Room {
    fn is_short(self, floor: u64) -> bool {
        self.free < self.log.saturating_add(floor.saturating_mul(SHORT_FLOORS))
    }

    /// Whether so many bytes may be committed: they come into the log, and later into the database.
    fn check(self, batch: u64, floors: u64) -> Result<(), Failure> {
        let needed = self
            .log
            .saturating_add(batch.saturating_mul(2))
            .saturating_add(floors);
        if self.free >= needed {
            return Ok(());
        }
        Err(Failure::DiskShort {
            free: self.free,
            needed,
            batch,
        })
    }
}

impl Disk {
    pub(super) fn new(database: &Path, floor: u64) -> Self {
        // The log is beside the file itself, wherever a link to it is.
        let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
        let disk = Self {
            log: beside(&database, "-wal"),
            database,
            floor,
            short: AtomicBool::new(false),
        };
        disk.look();
        disk
    }

    /// Looks whether the disk is short. Returns the length of the log.
    pub(super) fn look(&self) -> u64 {
        let room = self.measure();
        let short = room.is_some_and(|room| room.is_short(self.floor));
        self.short.store(short, Ordering::Relaxed);
        room.map_or(0, |room| room.log)
    }

    pub(super) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    fn check(&self, batch: u64, healthy: bool) -> Result<(), Failure> {
        let floors = if healthy { 1 } else { RECOVERED_FLOORS };
        match self.measure() {
            Some(room) => room.check(batch, self.floor.saturating_mul(floors)),
            None => Ok(()),
        }
    }

    /// `None` when the system does not say: then SQLite finds out by itself whether there is room.
    fn measure(&self) -> Option<Room> {
        let log = match std::fs::metadata(&self.log) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(_) => return None,
        };
        let disk = rustix::fs::statvfs(&self.database).ok()?;
        Some(Room {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            log,
        })
    }
}

impl Committer {
    /// Most operations in the next transaction. Units that are going to be refused are taken all at once.
    pub(super) fn weight_max(&self) -> usize {
        let most = self.limits.batch_max_ops;
        if self.healthy && self.short_disk().is_some() {
            most.min(SHORT_BATCH_OPERATIONS)
        } else {
            most
        }
    }

    /// Before a batch: empties the log while the disk is short, and refuses when that does not leave room.
    pub(super) fn make_room(&self, connection: &mut WriteConnection) -> Result<(), Failure> {
        let Some(disk) = self.short_disk() else {
            return Ok(());
        };
        match connection.empty_log(READERS_WAIT) {
            Ok(emptied) => tracing::trace!(emptied, "the write-ahead log was to be emptied"),
            Err(failure) if failure.remedy() == Remedy::Reconnect => return Err(failure),
            Err(failure) => tracing::debug!(?failure, "the write-ahead log could not be emptied"),
        }
        disk.check(0, self.healthy)
    }

    /// Before a commit: refuses a batch after which the log could not be copied back.
    pub(super) fn check_room(&self, connection: &WriteConnection) -> Result<(), Failure> {
        let batch = connection.given();
        match &self.disk {
            Some(disk) if disk.is_short() || batch >= LARGE_BYTES => disk.check(batch, true),
            _ => Ok(()),
        }
    }

    /// When the database said that there is no room, the log is emptied before the next attempt.
    pub(super) fn note_full(&self, failure: &Failure) {
        if let Some(disk) = self.disk.as_deref().filter(|_| failure.is_full()) {
            disk.short.store(true, Ordering::Relaxed);
        }
    }

    fn short_disk(&self) -> Option<&Disk> {
        self.disk.as_deref().filter(|disk| disk.is_short())
    }
}

#[cfg(test)]
mod tests {
    use roost_domain::store::StoreError;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(free: u64, log: u64) -> Room {
        Room {
            free: free * MIB,
            log: log * MIB,
        }
    }

    #[test]
    fn a_disk_is_short_when_the_log_and_sixteen_floors_do_not_fit() {
        assert!(!room(80, 16).is_short(4 * MIB));
        assert!(room(79, 16).is_short(4 * MIB));
        assert!(!room(0, 0).is_short(0));
        assert!(room(u64::MAX >> 20, 1).is_short(u64::MAX));
    }

    #[test]
    fn a_batch_must_leave_room_for_the_log_with_it_to_be_copied_back() {
        let floor = 4 * MIB;
        room(12, 4).check(2 * MIB, floor).unwrap();
        let refused = room(12, 4).check(2 * MIB + 1, floor).unwrap_err();
        assert!(refused.blames_a_unit(), "{refused:?}");
        assert!(refused.is_for_all(1) && !refused.is_for_all(2));
        let StoreError::Unavailable(words) = refused.into_store_error() else {
            panic!("not unavailable");
        };
        assert_eq!(
            words,
            "the disk is almost full: 12288 KiB are free, 12288 KiB have to be"
        );
    }

    #[test]
    fn below_the_floor_every_batch_is_refused() {
        let refused = room(7, 4).check(0, 4 * MIB).unwrap_err();
        assert!(!refused.blames_a_unit() && refused.is_for_all(2), "{refused:?}");
        assert_eq!(refused.remedy(), Remedy::None);
    }

    #[test]
    fn what_was_refused_once_is_taken_again_with_twice_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roost.db");
        std::fs::write(&path, "x").unwrap();
        let free = Disk::new(&path, 0).measure().unwrap().free;
        let disk = Disk::new(&path, free / 4 * 3);
        assert!(disk.is_short());
        disk.check(0, true).unwrap();
        disk.check(0, false).unwrap_err();
    }

    #[test]
    fn a_disk_is_short_no_longer_than_until_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(&folder.path().join("none.db"), 0);
        assert!(!disk.is_short());
        disk.short.store(true, Ordering::Relaxed);
        assert!(disk.is_short());
        assert_eq!(disk.look(), 0);
        assert!(!disk.is_short());
    }
}
