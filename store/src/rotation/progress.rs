//! How far a rotation is: a row of `meta`.

use std::sync::Arc;

use async_trait::async_trait;
use roost_domain::Timestamp;
use roost_domain::rotation::{Rotation, RotationState};
use roost_domain::store::StoreError;
use serde::{Deserialize, Serialize};

use super::target::{Cell, TARGETS, Target};
use crate::crypto::Keyring;
use crate::custody::{self, Custody};
use crate::database::{Failure, Reader, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

const NAME: &str = "rotation";

static GET: Statement = Statement::new("SELECT value FROM meta WHERE name = 'rotation'");

static HOLD: Statement = Statement::new("SELECT value FROM meta WHERE name = 'rotation' {pg:FOR UPDATE}");

/// A rotation, and the place in its table up to which it has looked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Progress {
    #[serde(flatten)]
    pub(super) rotation: Rotation,
    /// The row's key; empty at the beginning of a table.
    pub(super) after: Vec<Cell>,
    /// Where the first value was that cannot be decrypted.
    unreadable_in: Option<String>,
    /// Mark of the process that is at it. Whoever takes it over leaves its own, and the other one stops.
    #[serde(default)]
    worker: String,
}

impl Progress {
    fn new(key_id: String, old_key_ids: Vec<String>, now: Timestamp) -> Self {
        Self {
            rotation: Rotation {
                state: RotationState::Running,
                key_id,
                old_key_ids,
                pass: 1,
                table: None,
                resealed: 0,
                sealed: 0,
                unreadable: 0,
                started_at: now,
                updated_at: now,
                finished_at: None,
                error: None,
            },
            after: Vec::new(),
            unreadable_in: None,
            worker: String::new(),
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text)
            .map_err(|_| StoreError::Corrupt("the rotation's progress cannot be read".to_owned()))
    }

    /// Whether nothing has been looked at yet in this look.
    pub(super) fn at_start(&self) -> bool {
        self.after.is_empty() && self.index() == 0
    }

    /// The table at which it is.
    pub(super) fn index(&self) -> usize {
        let name = self.rotation.table.as_deref();
        TARGETS
            .iter()
            .position(|target| Some(target.name) == name)
            .unwrap_or(0)
    }

    /// Goes to a table, unless it is there.
    pub(super) fn enter(&mut self, target: &Target) {
        if self.rotation.table.as_deref() != Some(target.name) {
            self.rotation.table = Some(target.name.to_owned());
            self.after.clear();
        }
    }

    /// Looks at everything once more.
    pub(super) fn begin_look(&mut self) {
        self.rotation.pass += 1;
        self.rotation.table = None;
        self.rotation.unreadable = 0;
        self.unreadable_in = None;
        self.after.clear();
    }

    /// Counts a value that cannot be decrypted.
    pub(super) fn found_unreadable(&mut self, target: &Target) {
        self.rotation.unreadable += 1;
        self.unreadable_in.get_or_insert_with(|| target.name.to_owned());
    }

    pub(super) fn unreadable_in(&self) -> &str {
        self.unreadable_in.as_deref().unwrap_or_default()
    }

    /// Writes it down, and with it what the transaction has changed. Fenced when another has taken over.
    pub(super) async fn save(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        let args = transaction.args();
        let rows = transaction.fetch(&HOLD, args).await?;
        let now = rows.first().map(|row| Self::parse(row.str(0)?)).transpose()?;
        if now.is_none_or(|now| now.worker != self.worker) {
            return Err(StoreError::Fenced.into());
        }
        self.put(transaction).await
    }

    async fn put(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        self.rotation.updated_at = transaction.now;
        // A struct with text keys can always be written.
        let text = serde_json::to_string(self).unwrap_or_default();
        custody::put(transaction, NAME, &text).await
    }
}

/// The last rotation, as it was written down.
pub(super) async fn load(reader: &Reader) -> Result<Option<Progress>, StoreError> {
    let row = reader.fetch_one(&GET, reader.args()).await?;
    row.map(|row| Progress::parse(row.str(0)?)).transpose()
}

/// Enters the keys, and begins or goes on.
pub(super) struct Begin {
    /// With the keys that shall hold.
    pub(super) keyring: Arc<Keyring>,
    /// Mark of this process.
    pub(super) worker: String,
}

#[async_trait]
impl Direct for Begin {
    type Output = Progress;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Progress, StoreError>, Failure> {
        if let Err(error) = custody::adopt_in(transaction, &self.keyring).await? {
            return Ok(Err(error));
        }
        let custody = Custody::load_in(transaction).await?;
        let key_id = self.keyring.sealing_id().to_string();
        let before = custody.value(NAME).map(Progress::parse).transpose()?;
        let mut progress = match before {
            Some(before) if before.rotation.key_id == key_id && before.rotation.finished_at.is_none() => {
                before
            }
            _ => Progress::new(key_id, Vec::new(), transaction.now),
        };
        progress.rotation.old_key_ids = custody.old_ids();
        progress.rotation.state = RotationState::Running;
        progress.rotation.error = None;
        progress.worker.clone_from(&self.worker);
        progress.put(transaction).await?;
        Ok(Ok(progress))
    }
}

/// Writes down where it stands.
pub(super) struct Save {
    pub(super) progress: Progress,
}

#[async_trait]
impl Direct for Save {
    type Output = Progress;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Progress, StoreError>, Failure> {
        let mut progress = self.progress.clone();
        progress.save(transaction).await?;
        Ok(Ok(progress))
    }
}

/// Strikes out the earlier keys.
pub(super) struct Finish {
    pub(super) progress: Progress,
}

#[async_trait]
impl Direct for Finish {
    type Output = Progress;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Progress, StoreError>, Failure> {
        let mut progress = self.progress.clone();
        let old = progress.rotation.old_key_ids.clone();
        progress.rotation.state = RotationState::Done;
        progress.rotation.finished_at = Some(transaction.now);
        progress.rotation.table = None;
        progress.after.clear();
        progress.save(transaction).await?;
        custody::strike_out(transaction, &old).await?;
        Ok(Ok(progress))
    }
}
