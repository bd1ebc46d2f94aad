//! Reads and writes of one webhook's actor: tried until they are done while the database is away, and
//! ended for good by a later owner.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::store::{Store, StoreError};
use roost_domain::webhook::WebhookOwner;

use super::message::Fact;
use crate::backoff::Backoff;
use crate::node::NodeContext;

/// Waits between attempts.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// See the module.
#[derive(Clone)]
pub(super) struct Persist {
    node: Arc<NodeContext>,
    owner: WebhookOwner,
}

impl Persist {
    pub fn new(node: Arc<NodeContext>, owner: WebhookOwner) -> Self {
        Self { node, owner }
    }

    /// Tries until it is done, or until the actor has to end, which the fact says.
    pub async fn until_done<T, F, W>(&self, mut work: W) -> Result<T, Fact>
    where
        W: FnMut(Arc<dyn Store>, WebhookOwner) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut failures = 0;
        loop {
            if !self.node.placement.holds_lease() {
                return Err(Fact::Fenced);
            }
            let error = match work(Arc::clone(&self.node.store), self.owner).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if let Some(fact) = ends(&error) {
                return Err(fact);
            }
            failures += 1;
            if failures == 1 {
                tracing::warn!(webhook.id = %self.owner.webhook, %error, "a webhook waits for the store");
            }
            tokio::time::sleep(RETRY.wait(failures, &*self.node.entropy)).await;
        }
    }
}

/// What an error ends the actor with, unless the same may succeed later.
pub(super) fn ends(error: &StoreError) -> Option<Fact> {
    match error {
        StoreError::Unavailable(_) | StoreError::Overloaded => None,
        StoreError::Fenced => Some(Fact::Fenced),
        StoreError::NotFound => Some(Fact::Vanished),
        StoreError::IdempotencyKeyReused | StoreError::Conflict(_) | StoreError::Corrupt(_) => {
            Some(Fact::Broken(error.to_string()))
        }
    }
}
