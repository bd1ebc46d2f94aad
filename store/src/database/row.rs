//! Rows of either database.

use roost_domain::Timestamp;
use roost_domain::store::StoreError;
use rusqlite::types::Value as Stored;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use std::str::FromStr;

/// One row.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    /// Of [`super::local`].
    Local(Vec<Stored>),
}

impl Row {
    /// Bytes of its texts and blobs; what a limit of bytes counts.
    pub(crate) fn size(&self) -> usize {
        match self {
            // Of the statements that open a store; none of them is limited.
            Self::Sqlite(_) => 0,
            Self::Postgres(row) => (0..row.len())
                .filter_map(|at| Some(row.try_get_raw(at).ok()?.as_bytes().ok()?.len()))
                .sum(),
            Self::Local(cells) => cells.iter().map(bytes_of).sum(),
        }
    }

    pub(crate) fn int(&self, at: usize) -> Result<i64, StoreError> {
        self.opt_int(at)?.ok_or_else(|| unexpected_null(at))
    }

    pub(crate) fn opt_int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(at).map_err(corrupt),
            Self::Postgres(row) => row.try_get_unchecked(at).map_err(corrupt),
            Self::Local(cells) => match cells.get(at) {
                Some(Stored::Integer(value)) => Ok(Some(*value)),
                Some(Stored::Null) => Ok(None),
                _ => Err(unexpected_kind(at)),
            },
        }
    }

    pub(crate) fn str(&self, at: usize) -> Result<&str, StoreError> {
        self.opt_str(at)?.ok_or_else(|| unexpected_null(at))
    }

    pub(crate) fn opt_str(&self, at: usize) -> Result<Option<&str>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(at).map_err(corrupt),
            Self::Postgres(row) => row.try_get_unchecked(at).map_err(corrupt),
            Self::Local(cells) => match cells.get(at) {
                Some(Stored::Text(value)) => Ok(Some(value)),
                Some(Stored::Null) => Ok(None),
                _ => Err(unexpected_kind(at)),
            },
        }
    }

    pub(crate) fn text(&self, at: usize) -> Result<String, StoreError> {
        self.str(at).map(str::to_owned)
    }

    pub(crate) fn opt_text(&self, at: usize) -> Result<Option<String>, StoreError> {
        Ok(self.opt_str(at)?.map(str::to_owned))
    }

    pub(crate) fn bytes(&self, at: usize) -> Result<Vec<u8>, StoreError> {
        self.opt_bytes(at)?.ok_or_else(|| unexpected_null(at))
    }

    pub(crate) fn opt_bytes(&self, at: usize) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(at).map_err(corrupt),
            Self::Postgres(row) => row.try_get_unchecked(at).map_err(corrupt),
            Self::Local(cells) => match cells.get(at) {
                Some(Stored::Blob(value)) => Ok(Some(value.clone())),
                Some(Stored::Null) => Ok(None),
                _ => Err(unexpected_kind(at)),
            },
        }
    }

    pub(crate) fn time(&self, at: usize) -> Result<Timestamp, StoreError> {
        self.int(at).map(Timestamp::from_unix_ms)
    }

    pub(crate) fn opt_time(&self, at: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(at)?.map(Timestamp::from_unix_ms))
    }

    /// A value that is stored as its text.
    pub(crate) fn parse<T: FromStr>(&self, at: usize) -> Result<T, StoreError> {
        self.opt_parse(at)?.ok_or_else(|| unexpected_null(at))
    }

    pub(crate) fn opt_parse<T: FromStr>(&self, at: usize) -> Result<Option<T>, StoreError> {
        let Some(text) = self.opt_str(at)? else {
            return Ok(None);
        };
        let parsed = text
            .parse()
            .map_err(|_| StoreError::Corrupt(format!("column {at} cannot be read")))?;
        Ok(Some(parsed))
    }

    /// A value that is stored as its name.
    pub(crate) fn name<T>(&self, at: usize, from_name: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        from_name(self.str(at)?)
            .ok_or_else(|| StoreError::Corrupt(format!("column {at} has an unknown name")))
    }
}

fn unexpected_null(at: usize) -> StoreError {
    StoreError::Corrupt(format!("column {at} is empty"))
}

fn unexpected_kind(at: usize) -> StoreError {
    StoreError::Corrupt(format!("column {at} is of another kind"))
}

fn corrupt(error: sqlx::Error) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

fn bytes_of(cell: &Stored) -> usize {
    match cell {
        Stored::Text(text) => text.len(),
        Stored::Blob(bytes) => bytes.len(),
        Stored::Null | Stored::Integer(_) | Stored::Real(_) => 0,
    }
}
