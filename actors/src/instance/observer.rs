//! The ear of a session on one of its links.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::Owner;
use roost_domain::engine::{LinkFact, LinkObserver, NotCommitted};
use roost_domain::message::{Inbound, InboundKey};
use roost_domain::store::StoreError;
use tokio_util::sync::CancellationToken;

use super::machine::Generation;
use super::message::{Fact, Reporter};
use crate::backoff::Backoff;
use crate::node::NodeContext;
use crate::persist::Fatal;

/// Waits between attempts to commit inbound messages: short, as WhatsApp waits for the ack.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};

/// Hears one link.
pub(crate) struct SessionObserver {
    pub node: Arc<NodeContext>,
    pub owner: Owner,
    pub generation: Generation,
    pub reporter: Reporter,
    /// Cancelled when the link is to be closed.
    pub over: CancellationToken,
}

#[async_trait]
impl LinkObserver for SessionObserver {
    fn fact(&self, fact: LinkFact) {
        // A link that talks faster than we write loses receipts, which repeat themselves, but never a step
        // of its life.
        let may_drop = matches!(fact, LinkFact::Receipt { .. } | LinkFact::Undecryptable { .. });
        let fact = Fact::Link(self.generation, fact);
        if may_drop {
            self.reporter.report_if_room(fact, self.node.settings.facts_max);
        } else {
            self.reporter.report(fact);
        }
    }

    async fn inbound(&self, batch: Vec<Inbound>) -> Result<(), NotCommitted> {
        let record = || self.node.store.record_inbound(self.owner, batch.clone());
        self.patiently(record).await
    }

    async fn knows(&self, key: &InboundKey) -> Result<bool, NotCommitted> {
        self.patiently(|| self.node.store.has_inbound(self.owner, key))
            .await
    }
}

impl SessionObserver {
    /// Asks the store until it answers, as long as this node owns the instance and the link lives.
    async fn patiently<T, W>(&self, ask: impl Fn() -> W + Send) -> Result<T, NotCommitted>
    where
        T: Send,
        W: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut failures = 0;
        loop {
            if !self.node.placement.holds_lease() {
                self.reporter.report(Fact::Fenced);
                return Err(NotCommitted("this node no longer owns the instance".to_owned()));
            }
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let Some(fatal) = Fatal::of(&error) {
                self.reporter.report(fatal.into());
                return Err(NotCommitted(error.to_string()));
            }
            failures += 1;
            if failures == 1 {
                tracing::warn!(instance.id = %self.owner.instance, error = %error, "inbound messages wait for the store");
            }
            tokio::select! {
                () = self.over.cancelled() => return Err(NotCommitted("the link is being closed".to_owned())),
                () = tokio::time::sleep(RETRY.wait(failures, &*self.node.entropy)) => {}
            }
        }
    }
}
