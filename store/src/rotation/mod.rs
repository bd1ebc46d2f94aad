//! Rotation of the master key: everything sealed is sealed anew, while the gateway works.
//!
//! ```text
//! key file: [new, old] ─▶ meta: new seals, old is listed ─▶ keyring: [new, old]
//!     ─▶ look at every value, reseal what needs it … until a whole look has found nothing
//!     ─▶ meta: old struck out ─▶ key file: [new] ─▶ keyring: [new]
//! ```
//! Values are read by the pool and sealed here; the writer only replaces them, a few at a time, each only
//! if it still is what was read. So traffic goes on, and never waits longer than for one small unit. How
//! far it is stands in `meta`, written with the values themselves. A crash at any point leaves the file
//! and `meta` with every key that is needed, and the next start goes on.
//!
//! Of several nodes over one database one is at it. It leaves its mark with each step; when none has come for
//! a while another node takes it over, and whoever was at it is refused from then on. The keys of several
//! nodes come from outside: none makes a new one, as the others would not have it.
//!
//! With `store.encrypt_messages` a look also seals what is plain text from before.

mod look;
mod progress;
mod target;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::rotation::{MasterKeys as Port, Rotation, RotationState};
use roost_domain::store::StoreError;
use roost_domain::time::{Clock, Entropy};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::progress::{Begin, Finish, Progress, Save};
use crate::SqlStore;
use crate::crypto::{Keyring, Retired};
use crate::database::Reader;
use crate::master_key::{KeySource, MasterKey, MasterKeyError, MasterKeys};
use crate::stop_point::around;
use crate::writer::Writer;

/// Looks of one rotation. After the first, each finds only what was written meanwhile under an earlier
/// key, by another node that has not got the new one yet.
const LOOKS_MAX: u32 = 20;
/// Attempts of a step while the database is away, and the wait between them: half a minute.
const ATTEMPTS_MAX: u32 = 60;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);
/// How long writes that were sealed before the change of keys may take to be committed.
const RETIRE_MAX: Duration = Duration::from_secs(60);
const RETIRE_POLL: Duration = Duration::from_millis(5);
/// A rotation that has not moved on for so long is taken over by another node. Longer than any step.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// What rotations work with.
pub(crate) struct Rotator {
    reader: Arc<Reader>,
    writer: Arc<Writer>,
    keyring: Arc<Keyring>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    source: KeySource,
    /// Whether other nodes work with the database.
    shared: bool,
    /// Mark of this process.
    worker: String,
    /// One at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What may be interrupted.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Rotator {
    pub(crate) fn new(
        reader: Arc<Reader>,
        writer: Arc<Writer>,
        keyring: Arc<Keyring>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        (source, shared): (KeySource, bool),
    ) -> Self {
        Self {
            worker: format!("{:020x}", entropy.bits()),
            reader,
            writer,
            keyring,
            entropy,
            clock,
            source,
            shared,
            turn: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// Stops where it is; the next start goes on. One that is about to be done comes to its end.
    pub(crate) async fn stop(&self) {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
        }
        drop(self.turn.lock().await);
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, or goes on with what is under way, and works on in the background.
    async fn start(self: &Arc<Self>) -> Result<Rotation, StoreError> {
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else {
            return self
                .standing()
                .await?
                .ok_or_else(|| StoreError::Conflict("a rotation is just being begun".to_owned()));
        };
        if let Some(rotation) = self.under_way_elsewhere().await? {
            return Ok(rotation);
        }
        let keys = self.next_keys().await?;
        let progress = self.enter(&keys).await?;
        let rotation = progress.rotation.clone();
        let retired = self.keyring.replace(&keys);
        let mut task = self.task();
        *task = Some(tokio::spawn(Arc::clone(self).work(turn, progress, keys, retired)));
        Ok(rotation)
    }

    /// The rotation that another node is at, if there may be one.
    async fn under_way_elsewhere(&self) -> Result<Option<Rotation>, StoreError> {
        if !self.shared {
            return Ok(None);
        }
        let now = self.clock.now();
        let standing = self.standing().await?;
        Ok(standing.filter(|rotation| {
            rotation.state == RotationState::Running && now < rotation.updated_at.plus(STALE_AFTER)
        }))
    }

    async fn work(
        self: Arc<Self>,
        turn: OwnedMutexGuard<()>,
        mut progress: Progress,
        keys: MasterKeys,
        retired: Retired,
    ) {
        let to = progress.rotation.key_id.clone();
        tracing::info!(to, "the master key is being rotated");
        match self.carry_on(&mut progress, keys, &retired).await {
            Ok(()) => {
                let Rotation { resealed, sealed, .. } = progress.rotation;
                tracing::info!(to, resealed, sealed, "the master key is rotated");
            }
            Err(StoreError::Fenced) => {
                tracing::info!(to, "another node goes on with the rotation of the master key")
            }
            Err(error) => {
                tracing::error!(to, %error, "the rotation of the master key could not go on");
                progress.rotation.state = RotationState::Failed;
                progress.rotation.error = Some(error.to_string());
                if let Err(error) = self.writer.direct(Save { progress }).await {
                    tracing::warn!(%error, "that the rotation stopped could not be recorded");
                }
            }
        }
        drop(turn);
    }

    /// The keys that shall hold. A key file with a single one gets a new one before it.
    async fn next_keys(&self) -> Result<MasterKeys, StoreError> {
        let path = match &self.source {
            KeySource::Given(keys) => return Ok(keys.clone()),
            KeySource::File(path) => path,
        };
        let mut keys = MasterKeys::load(path).map_err(unusable)?;
        let in_file = Keyring::new(&keys, false, self.entropy.clone());
        let sealing = self.keyring.sealing_id();
        if !in_file.masters().iter().any(|master| master.id() == sealing) {
            return Err(StoreError::Conflict(format!(
                "the master key file does not have the key {sealing} any more, which this node works with"
            )));
        }
        if keys.further.is_empty() {
            let first = MasterKey::generate(&*self.entropy);
            keys.further.push(std::mem::replace(&mut keys.first, first));
            let write = async { keys.replace(path, &*self.entropy) };
            around("rotate_file", write).await.map_err(unusable)?;
        }
        Ok(keys)
    }

    /// Has the database know the keys before anything is sealed under the first of them.
    async fn enter(&self, keys: &MasterKeys) -> Result<Progress, StoreError> {
        let keyring = Arc::new(Keyring::new(
            keys,
            self.keyring.seals_messages(),
            self.entropy.clone(),
        ));
        let begin = || {
            self.writer.direct(Begin {
                keyring: keyring.clone(),
                worker: self.worker.clone(),
            })
        };
        around("rotate_begin", patiently(begin)).await
    }

    /// Looks until there is nothing more to do.
    async fn carry_on(
        &self,
        progress: &mut Progress,
        keys: MasterKeys,
        retired: &Retired,
    ) -> Result<(), StoreError> {
        await_retired(retired).await?;
        // A look that was interrupted may have passed what was written since under an earlier key.
        let mut whole = progress.at_start();
        for _ in 0..LOOKS_MAX {
            let changes = self.look(progress).await?;
            let unreadable = progress.rotation.unreadable;
            if changes == 0 && whole && unreadable > 0 {
                return Err(StoreError::Corrupt(format!(
                    "{unreadable} values cannot be decrypted, the first of them in {}; the earlier keys are kept",
                    progress.unreadable_in()
                )));
            }
            if changes == 0 && whole {
                return self.finish(progress, keys).await;
            }
            progress.begin_look();
            whole = true;
        }
        Err(StoreError::Conflict(
            "values are still being written under an earlier key: another node has not got the new one"
                .to_owned(),
        ))
    }

    /// Gives up the earlier keys, the database's need of them first.
    async fn finish(&self, progress: &mut Progress, keys: MasterKeys) -> Result<(), StoreError> {
        // Not interrupted any more: who reads that it is done may rely on the file.
        drop(self.task().take());
        let finish = || {
            self.writer.direct(Finish {
                progress: progress.clone(),
            })
        };
        let done = around("rotate_finish", patiently(finish)).await?;
        *progress = done;
        let KeySource::File(path) = &self.source else {
            return Ok(());
        };
        let keys = MasterKeys::one(keys.first);
        let trim = async { keys.replace(path, &*self.entropy) };
        around("rotate_trim", trim).await.map_err(unusable)?;
        self.keyring.replace(&keys);
        Ok(())
    }

    /// The last rotation.
    async fn standing(&self) -> Result<Option<Rotation>, StoreError> {
        let progress = progress::load(&self.reader).await?;
        Ok(progress.map(|progress| progress.rotation))
    }
}

/// What was sealed with the earlier keys has to be where a look can see it.
async fn await_retired(retired: &Retired) -> Result<(), StoreError> {
    let deadline = Instant::now() + RETIRE_MAX;
    while retired.in_use() {
        if Instant::now() >= deadline {
            return Err(StoreError::Unavailable(
                "writes under the earlier key are not done".to_owned(),
            ));
        }
        tokio::time::sleep(RETIRE_POLL).await;
    }
    Ok(())
}

/// Tries a step again while the database is away or has no room in its queue.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(
    mut step: impl FnMut() -> F,
) -> Result<T, StoreError> {
    for _ in 1..ATTEMPTS_MAX {
        match step().await {
            Err(StoreError::Unavailable(_) | StoreError::Overloaded) => {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            result => return result,
        }
    }
    step().await
}

fn unusable(error: MasterKeyError) -> StoreError {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    StoreError::Conflict(text)
}

impl SqlStore {
    /// Goes on with a rotation that the end of a process interrupted, be it this one or that of another node.
    pub async fn resume_rotation(&self) -> Result<Option<Rotation>, StoreError> {
        if self.rotator().under_way_elsewhere().await?.is_some() {
            return Ok(None);
        }
        let interrupted = self
            .rotator()
            .standing()
            .await?
            .is_some_and(|rotation| rotation.state == RotationState::Running);
        // The file may have its new key while the database has not heard of it, or no need of the old one.
        let pending =
            matches!(self.rotator().source, KeySource::File(_)) && self.keyring().masters().len() > 1;
        if !interrupted && !pending {
            return Ok(None);
        }
        self.rotator().start().await.map(Some)
    }
}

#[async_trait]
impl Port for SqlStore {
    async fn rotate_master_key(&self) -> Result<Rotation, StoreError> {
        self.rotator().start().await
    }

    async fn rotation(&self) -> Result<Option<Rotation>, StoreError> {
        self.rotator().standing().await
    }
}
