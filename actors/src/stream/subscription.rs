//! One consumer's way through a tenant's log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roost_domain::TenantId;
use roost_domain::event::{Event, EventFilter};
use roost_domain::webhook::WebhookFilter;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ring::Look;
use super::{Channel, Hub};
use crate::webhook::coarse;

/// Events looked at in memory in one go.
const LOOKS: usize = 4096;
/// Events read from the log in one go, at most.
const READ_MAX: usize = 500;

/// Why a stream does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// This node has as many subscriptions as it takes.
    #[error("this node has too many subscriptions")]
    TooMany,
    /// The log cannot be read now; the same call may succeed later.
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
    /// The node is being stopped.
    #[error("this node is being stopped")]
    Closed,
}

/// A cursor over a tenant's log that waits at its end. Dropping it ends it.
pub struct Subscription {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    head: watch::Receiver<i64>,
    tenant: TenantId,
    filter: EventFilter,
    /// What passes besides: a webhook's filter says more than the log can leave out by itself.
    wanted: Option<Arc<WebhookFilter>>,
    counted: bool,
    cursor: i64,
    /// The log may hold more than the cursor, as far as is known.
    behind: bool,
    /// The end of the log was reached when the head was here, whatever the head says.
    ended_at: i64,
}

impl Subscription {
    pub(super) fn open(
        hub: Arc<Hub>,
        tenant: TenantId,
        after: i64,
        filter: EventFilter,
    ) -> Result<Self, StreamError> {
        if hub.is_closed() {
            return Err(StreamError::Closed);
        }
        if hub.subscriptions.fetch_add(1, Ordering::AcqRel) >= hub.limits.subscriptions {
            hub.subscriptions.fetch_sub(1, Ordering::AcqRel);
            return Err(StreamError::TooMany);
        }
        Ok(Self::join(hub, tenant, after, filter, None))
    }

    /// One for a webhook: the limit of subscriptions is for clients.
    pub(super) fn follow(
        hub: Arc<Hub>,
        tenant: TenantId,
        after: i64,
        wanted: Arc<WebhookFilter>,
    ) -> Result<Self, StreamError> {
        if hub.is_closed() {
            return Err(StreamError::Closed);
        }
        let filter = coarse(&wanted);
        Ok(Self::join(hub, tenant, after, filter, Some(wanted)))
    }

    fn join(
        hub: Arc<Hub>,
        tenant: TenantId,
        after: i64,
        filter: EventFilter,
        wanted: Option<Arc<WebhookFilter>>,
    ) -> Self {
        let channel = hub.join(tenant);
        let head = channel.head.subscribe();
        // Whatever was committed before this moment is in the log only.
        Self {
            hub,
            channel,
            head,
            tenant,
            filter,
            counted: wanted.is_none(),
            wanted,
            cursor: after.max(0),
            behind: true,
            ended_at: 0,
        }
    }

    /// Everything up to this `seq` was given out or did not pass the filter.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Changes what passes from here on.
    pub fn set_filter(&mut self, filter: EventFilter) {
        self.filter = filter;
    }

    /// The next events, in order, at least one and at most `max`; waits for them. May be dropped while
    /// it waits: nothing is lost. After [`StreamError::Unavailable`] it may be called again.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Arc<Event>>, StreamError> {
        let max = max.max(1);
        loop {
            if self.hub.is_closed() {
                return Err(StreamError::Closed);
            }
            let head = *self.head.borrow_and_update();
            let events = match self.look(max) {
                Some(events) => events,
                None if self.behind || head > self.cursor.max(self.ended_at) => {
                    let events = self.read(max).await?;
                    if !self.behind {
                        self.ended_at = head;
                    }
                    events
                }
                None => {
                    self.wait().await?;
                    continue;
                }
            };
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn look(&mut self, max: usize) -> Option<Vec<Arc<Event>>> {
        let passes = |event: &Event| match &self.wanted {
            Some(wanted) => wanted.matches(event),
            None => self.filter.matches(event),
        };
        let look = self.channel.ring().look(self.cursor, passes, max, LOOKS);
        match look {
            Look::Found(events, cursor) => {
                self.cursor = cursor;
                self.behind = false;
                Some(events)
            }
            Look::NotHere => None,
        }
    }

    async fn read(&mut self, max: usize) -> Result<Vec<Arc<Event>>, StreamError> {
        let store = self.hub.store.get().ok_or(StreamError::Closed)?;
        let limit = u32::try_from(max.min(READ_MAX)).unwrap_or(u32::MAX);
        let batch = store
            .events(self.tenant, self.cursor, limit, &self.filter)
            .await
            .map_err(|error| StreamError::Unavailable(error.to_string()))?;
        // The end of the log is where a read finds nothing more to look at.
        self.behind = batch.scanned_to > self.cursor;
        self.cursor = self.cursor.max(batch.scanned_to);
        let mut events = batch.events;
        if let Some(wanted) = &self.wanted {
            events.retain(|event| wanted.matches(event));
        }
        Ok(events)
    }

    async fn wait(&mut self) -> Result<(), StreamError> {
        match timeout(self.hub.limits.poll, self.head.changed()).await {
            Ok(changed) => changed.map_err(|_| StreamError::Closed),
            Err(_) => {
                self.behind = true;
                Ok(())
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(&self.channel, self.counted);
    }
}
