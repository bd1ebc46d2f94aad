//! Reads and writes of an actor: tried until they are done while the database is away, and ended for
//! good by a later owner.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::Owner;
use roost_domain::store::{Store, StoreError};
use roost_domain::webhook::WebhookOwner;

use crate::backoff::Backoff;
use crate::node::NodeContext;

/// Waits between attempts.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// Whose reads and writes they are.
pub(crate) trait Writes: Copy {
    /// Logs that they wait for the store.
    fn waits(&self, error: &str);
}

impl Writes for Owner {
    fn waits(&self, error: &str) {
        tracing::warn!(instance.id = %self.instance, error, "a session waits for the store");
    }
}

impl Writes for WebhookOwner {
    fn waits(&self, error: &str) {
        tracing::warn!(webhook.id = %self.webhook, error, "a webhook waits for the store");
    }
}

/// What ends an actor, as the same would never succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fatal {
    /// Another owner has taken over.
    Fenced,
    /// The row is gone.
    Vanished,
    /// The store cannot go on with it.
    Broken(String),
}

impl Fatal {
    /// What an error ends the actor with, unless the same may succeed later.
    pub fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Unavailable(_) | StoreError::Overloaded => None,
            StoreError::Fenced => Some(Self::Fenced),
            StoreError::NotFound => Some(Self::Vanished),
            StoreError::IdempotencyKeyReused
            | StoreError::Conflict(_)
            | StoreError::NeverWritten
            | StoreError::Corrupt(_) => Some(Self::Broken(error.to_string())),
        }
    }
}

/// Why one attempt was in vain.
#[derive(Debug)]
pub(crate) enum Setback {
    /// The store said this, and may say something else later.
    NotNow(String),
    Fatal(Fatal),
}

/// Reads and writes for one owner.
pub(crate) struct Persist<O> {
    node: Arc<NodeContext>,
    owner: O,
}

impl<O: Writes> Persist<O> {
    pub fn new(node: Arc<NodeContext>, owner: O) -> Self {
        Self { node, owner }
    }

    /// Tries once.
    pub async fn attempt<T, F, W>(&self, work: W) -> Result<T, Setback>
    where
        W: FnOnce(Arc<dyn Store>, O) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        if !self.node.placement.holds_lease() {
            return Err(Setback::Fatal(Fatal::Fenced));
        }
        let done = work(Arc::clone(&self.node.store), self.owner).await;
        done.map_err(|error| match Fatal::of(&error) {
            Some(fatal) => Setback::Fatal(fatal),
            None => Setback::NotNow(error.to_string()),
        })
    }

    /// Tries until it is done, or until the actor has to end.
    pub async fn until_done<T, F, W>(&self, mut work: W) -> Result<T, Fatal>
    where
        W: FnMut(Arc<dyn Store>, O) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut failures = 0;
        loop {
            match self.attempt(&mut work).await {
                Ok(value) => return Ok(value),
                Err(Setback::Fatal(fatal)) => return Err(fatal),
                Err(Setback::NotNow(error)) => {
                    failures += 1;
                    if failures == 1 {
                        self.owner.waits(&error);
                    }
                    tokio::time::sleep(RETRY.wait(failures, &*self.node.entropy)).await;
                }
            }
        }
    }
}
