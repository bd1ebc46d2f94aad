//! Keys and tenants as the running node knows them, and every change of them.
//!
//! [`Access`] remembers keys that were looked up within the last seconds, knows which streams each of
//! them holds open, and is the one way to change keys and tenants: after each write what is remembered
//! is dropped and open streams end, so that a key that is revoked opens nothing from then on. It notes
//! when keys were used, lets the actors of suspended tenants rest, and removes deleted tenants.
//!
//! Nodes of a cluster tell each other of changes at once (`news.rs`). When that is lost, and when the command
//! line changes a key, they hear of it within `keys.cache_for`, for calls and for open streams: that is how
//! old what they remember may be, and how often they look at the keys of open streams.
//!
//! After a crash: the rows hold what was answered. Uses of the last minute may be lost; the removal of a
//! tenant goes on where it was, and suspended tenants rest again.

mod cache;
mod change;
mod error;
mod found;
mod hold;
mod last_used;
mod news;
mod removal;
mod settings;
mod tenant;

use std::sync::Arc;
use std::time::Duration;

use roost_actors::Runtime;
use roost_domain::store::Store;
use roost_domain::time::Entropy;
use roost_domain::{Clock, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use cache::{KeyCache, Look, Whose};
use found::Known;
use hold::Holds;
use last_used::LastUsed;
use removal::Removals;

pub use change::{KeyText, MadeKey, NewKey};
pub use error::AccessError;
pub use found::{Found, Lapse};
pub use hold::{Ended, Hold};
pub use removal::RemovalView;
pub use settings::AccessSettings;
pub use tenant::NewTenant;

/// Shortest time between two looks at the keys of open streams.
const RECHECK_MIN: Duration = Duration::from_secs(1);
/// How long a call waits for its turn to look a key up.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    runtime: Arc<Runtime>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    config: AccessSettings,
    cache: KeyCache,
    holds: Arc<Holds>,
    used: LastUsed,
    lookups: Semaphore,
    /// One at a time makes a key, so that their number is exact.
    making: tokio::sync::Mutex<()>,
    turns: tenant::Turns,
    settling: tenant::Settling,
    removals: Removals,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Access {
    /// Begins: notes uses from now on, and goes on with what an earlier life of the node had begun.
    pub fn start(
        store: Arc<dyn Store>,
        runtime: Arc<Runtime>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        config: AccessSettings,
    ) -> Self {
        let access = Self(Arc::new(Inner {
            cache: KeyCache::new(config.cache_for, config.cache_max, config.unknown_max),
            holds: Arc::default(),
            used: LastUsed::new(config.last_used_every),
            lookups: Semaphore::new(config.lookups_max),
            making: tokio::sync::Mutex::default(),
            turns: tenant::Turns::default(),
            settling: tenant::Settling::default(),
            removals: Removals::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            store,
            runtime,
            clock,
            entropy,
            config,
        }));
        let job = access.clone();
        access.in_background(async move { job.note_uses().await });
        access.listen();
        let job = access.clone();
        access.in_background(async move { job.look_after_tenants().await });
        let job = access.clone();
        access.in_background(async move { job.recheck_holds().await });
        access
    }

    /// Ends its jobs, writes when keys were used, and waits for both. What it has not done is done by the
    /// next life.
    pub async fn stop(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.write_uses().await;
    }

    /// What the text with this public prefix opens: from memory, else from the database.
    pub async fn find(&self, prefix: &str) -> Result<Option<Found>, AccessError> {
        match self.0.cache.look(prefix) {
            Look::Key(found) => return Ok(Some(found)),
            Look::Unknown => return Ok(None),
            Look::Ask(_) => {}
        }
        let turn = timeout(LOOKUP_WAIT, self.0.lookups.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(AccessError::Busy);
        };
        // Another call may have asked the same meanwhile.
        match self.0.cache.look(prefix) {
            Look::Key(found) => Ok(Some(found)),
            Look::Unknown => Ok(None),
            Look::Ask(seen) => {
                let credential = self.0.store.credential(prefix).await?;
                Ok(self.0.cache.keep(prefix, credential, seen))
            }
        }
    }

    /// What the configuration says.
    pub fn config(&self) -> &AccessSettings {
        &self.0.config
    }

    /// What memory says of a prefix, however old. Asks no database.
    pub fn remembered(&self, prefix: &str) -> Option<Found> {
        self.0.cache.remembered(prefix)
    }

    /// Notes that a key was used.
    pub fn used(&self, found: &Found, now: Timestamp) {
        let next = self.0.used.next(now);
        if found.known.is_due(now, next) {
            self.0.used.note(found.credential().key.id, now);
        }
    }

    /// Holds a stream open in the name of a key: it ends when the key is changed or revoked, when it
    /// expires, and when its tenant is suspended. `None` when that has happened since it was found.
    pub async fn hold(&self, found: &Found) -> Result<Option<Hold>, AccessError> {
        let now = self.0.clock.now();
        let expires = found.expires_at().map(|at| Instant::now() + at.since(now));
        // A change from here on finds the stream; one before has raised the generation.
        let hold = self.0.holds.open(found, expires);
        if self.0.cache.generation() == found.seen {
            return Ok(Some(hold));
        }
        Ok(self.stands(found).await?.then_some(hold))
    }

    /// Whether a key is in the database as it was found, and opens something.
    async fn stands(&self, found: &Found) -> Result<bool, AccessError> {
        let prefix = &found.credential().secret.prefix;
        let Some(is) = self.0.store.credential(prefix).await? else {
            return Ok(false);
        };
        let is = Found::new(Arc::new(Known::new(is)), found.seen);
        Ok(is.opens_as(found) && is.lapse(self.0.clock.now()).is_none())
    }

    /// Looks from time to time whether keys that hold streams open still stand: another gateway or the
    /// command line may have changed them.
    async fn recheck_holds(&self) {
        let mut ticks = tokio::time::interval(self.0.config.cache_for.max(RECHECK_MIN));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for found in self.0.holds.keys() {
                match self.stands(&found).await {
                    Ok(true) => {}
                    Ok(false) => self.withdraw(Whose::Key(found.credential().key.id)),
                    // The next round asks again.
                    Err(error) => {
                        tracing::warn!(%error, "keys of open streams could not be looked up");
                        break;
                    }
                }
            }
        }
    }

    /// Forgets keys, and ends what they hold open.
    fn withdraw(&self, whose: Whose) {
        self.0.cache.forget(whose);
        self.0.holds.end(whose);
    }

    /// Carries a change out to its end, whatever becomes of the call that asked for it: a write that
    /// commits after its caller has left must be heard of too.
    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, AccessError>> + Send + 'static,
    ) -> Result<T, AccessError> {
        if self.0.stopping.is_cancelled() {
            return Err(AccessError::Stopping);
        }
        self.0.tasks.spawn(change).await.unwrap_or_else(|error| {
            // Only the runtime's own end stops a task that nobody aborts.
            if error.is_panic() {
                std::panic::resume_unwind(error.into_panic());
            }
            Err(AccessError::Stopping)
        })
    }

    /// Runs a job until it ends or the node stops. What it leaves is taken up by the next life.
    fn in_background(&self, job: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.0.stopping.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = job => {}
            }
        });
    }

    async fn note_uses(&self) {
        let mut ticks = tokio::time::interval(self.0.config.last_used_flush);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.write_uses().await;
        }
    }

    async fn write_uses(&self) {
        for batch in self.0.used.take(self.0.clock.now()) {
            if let Err(error) = self.0.store.touch_keys(batch).await {
                tracing::warn!(%error, "when keys were used could not be written");
            }
        }
    }
}
