//! The reader of a webhook: tails the log and brings what is for the webhook, as much as it may.

use std::sync::Arc;

use roost_domain::event::EventFilter;
use roost_domain::webhook::{WebhookFilter, WebhookOwner};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::WebhookNode;
use super::message::{Fact, Reporter};
use crate::StreamError;
use crate::backoff::Backoff;

/// Waits between attempts to read.
const RETRY: Backoff = Backoff {
    first: std::time::Duration::from_millis(100),
    max: std::time::Duration::from_secs(5),
};

/// One reader's way through the log.
pub(super) struct Reader {
    pub shared: Arc<WebhookNode>,
    pub owner: WebhookOwner,
    pub filter: Arc<WebhookFilter>,
    /// Everything up to here was brought by another.
    pub after: i64,
    /// One permit for each event that may be brought.
    pub allowance: Arc<Semaphore>,
    pub reporter: Reporter,
    /// Tells its facts from those of earlier readers.
    pub number: u64,
}

impl Reader {
    /// Reads until the node stops.
    pub async fn run(self) {
        let tenant = self.owner.tenant;
        let followed = self
            .shared
            .streams
            .follow(tenant, self.after, Arc::clone(&self.filter));
        let Ok(mut log) = followed else { return };
        let (mut failures, mut told) = (0, self.after);
        loop {
            // Closed with the actor.
            let Ok(permit) = self.allowance.acquire().await else {
                return;
            };
            let max = self.allowance.available_permits() + 1;
            // Events that are not for the webhook move the cursor too, but it is told of it seldom.
            let events = match timeout(self.shared.settings.cursor_every, log.next(max)).await {
                Ok(Ok(events)) => events,
                Ok(Err(StreamError::Closed | StreamError::TooMany)) => return,
                Ok(Err(StreamError::Unavailable(error))) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(webhook.id = %self.owner.webhook, error, "a webhook waits for the event log");
                    }
                    tokio::time::sleep(RETRY.wait(failures, &*self.shared.node.entropy)).await;
                    continue;
                }
                Err(_) => Vec::new(),
            };
            failures = 0;
            if let Some(others) = events.len().checked_sub(1) {
                permit.forget();
                self.allowance.forget_permits(others);
            }
            if !events.is_empty() || log.cursor() > told {
                told = log.cursor();
                self.reporter.report(Fact::Read(self.number, events, told));
            }
        }
    }
}

/// What the database can leave out by itself; the rest is left out after it was read.
pub(crate) fn coarse(filter: &WebhookFilter) -> EventFilter {
    EventFilter {
        types: filter.events.clone(),
        instances: filter.instances.clone(),
    }
}
