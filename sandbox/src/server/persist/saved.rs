//! What a data folder held at the start, handed to its owners account by account.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;

use super::PersistError;
use super::table::Table;

/// One row.
#[derive(Debug)]
pub(in crate::server) struct Row {
    pub table: Table,
    pub device: u16,
    pub item: u64,
    pub name: Box<str>,
    value: Vec<u8>,
}

impl Row {
    pub(super) fn new(table: Table, device: u16, item: u64, name: Box<str>, value: Vec<u8>) -> Self {
        Self {
            table,
            device,
            item,
            name,
            value,
        }
    }

    pub fn value<T: DeserializeOwned>(&self) -> Result<T, PersistError> {
        rmp_serde::from_slice(&self.value).map_err(|error| self.corrupt(error))
    }

    pub fn corrupt(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PersistError {
        PersistError::Corrupt {
            table: self.table.name(),
            source: source.into(),
        }
    }
}

/// All rows, by account; those of account 0 are the service's own.
#[derive(Debug, Default)]
pub(in crate::server) struct Saved {
    pub accounts: BTreeMap<u32, SavedAccount>,
}

/// The rows of one account, each handed out once, in the order of device, item and name.
#[derive(Debug, Default)]
pub(in crate::server) struct SavedAccount {
    tables: HashMap<(Table, u16), Vec<Row>>,
}

impl SavedAccount {
    pub(super) fn add(&mut self, row: Row) {
        self.tables.entry((row.table, row.device)).or_default().push(row);
    }

    /// The rows of a table that belong to a device; device 0 is the phone, and the account itself.
    pub fn take(&mut self, table: Table, device: u16) -> Vec<Row> {
        self.tables.remove(&(table, device)).unwrap_or_default()
    }

    /// As [`Self::take`], with the values read.
    pub fn values<T: DeserializeOwned>(
        &mut self,
        table: Table,
        device: u16,
    ) -> Result<Vec<(u64, T)>, PersistError> {
        let rows = self.take(table, device);
        rows.iter().map(|row| Ok((row.item, row.value()?))).collect()
    }

    /// The one row an account has in a table.
    pub fn only<T: DeserializeOwned>(&mut self, table: Table) -> Result<T, PersistError> {
        let row = self.take(table, 0).pop();
        let table = table.name();
        row.ok_or(PersistError::Incomplete { table })?.value()
    }

    /// The rows of a table for all devices.
    pub fn take_all(&mut self, table: Table) -> Vec<Row> {
        let mut devices: Vec<_> = self.tables.keys().filter(|key| key.0 == table).copied().collect();
        devices.sort_unstable();
        devices
            .into_iter()
            .flat_map(|(table, device)| self.take(table, device))
            .collect()
    }
}
