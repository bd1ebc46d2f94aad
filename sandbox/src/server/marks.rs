//! Which message ids were seen, latest first: bounded, and kept across restarts.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::persist::{PersistError, SavedAccount, Shelf, Table};

/// A bounded set; the oldest marks are forgotten.
#[derive(Debug)]
pub(super) struct Marks {
    positions: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    next: u64,
    marks_max: usize,
    table: Table,
    pub shelf: Shelf,
}

/// A short name for a message, the same in every process; `author` tells equal ids apart.
pub(super) fn mark_of(author: u64, id: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(author.to_be_bytes())
        .chain_update(id)
        .finalize();
    let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*first)
}

impl Marks {
    pub(super) fn new(marks_max: usize, table: Table, shelf: Shelf) -> Self {
        Self {
            positions: HashMap::new(),
            order: BTreeMap::new(),
            next: 1,
            marks_max,
            table,
            shelf,
        }
    }

    pub(super) fn restore(&mut self, saved: &mut SavedAccount, device: u16) -> Result<(), PersistError> {
        for (position, mark) in saved.values(self.table, device)? {
            self.positions.insert(mark, position);
            self.order.insert(position, mark);
            self.next = position + 1;
        }
        Ok(())
    }

    pub(super) fn contains(&self, mark: u64) -> bool {
        self.positions.contains_key(&mark)
    }

    /// Returns false if the mark was there already.
    pub(super) fn insert(&mut self, mark: u64) -> bool {
        if self.contains(mark) {
            return false;
        }
        let position = self.next;
        self.next += 1;
        self.positions.insert(mark, position);
        self.order.insert(position, mark);
        self.shelf.keep(|rows| rows.put(self.table, position, "", &mark));
        while self.order.len() > self.marks_max
            && let Some((oldest, mark)) = self.order.pop_first()
        {
            self.positions.remove(&mark);
            self.shelf.keep(|rows| rows.delete(self.table, oldest, ""));
        }
        true
    }

    pub(super) fn remove(&mut self, mark: u64) {
        if let Some(position) = self.positions.remove(&mark) {
            self.order.remove(&position);
            self.shelf.keep(|rows| rows.delete(self.table, position, ""));
        }
    }

    /// The positions that are taken.
    pub(super) fn positions(&self) -> impl Iterator<Item = u64> {
        self.order.keys().copied()
    }
}
