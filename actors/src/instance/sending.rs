//! How a session accepts, sends and settles messages.

use std::sync::Arc;
use std::time::Duration;

use roost_domain::engine::{Link, Outgoing, ReadReceipt, SendError, Typing};
use roost_domain::instance::Instance;
use roost_domain::message::{
    Chat, Direction, Message, MessageStatus, NewMessage, StatusChange, new_whatsapp_id,
};
use roost_domain::store::{Outcome, StoreError};
use roost_domain::{Address, MessageId};
use tokio::time::Instant;

use super::machine::{Effect, Machine};
use super::message::{Accepted, Fact, ReadCall, Reporter, SendCall, Unsent};
use super::outbox::{Attempt, Backlog, Change, Item, Moment};
use super::session::{Drain, Session};
use crate::CallError;
use crate::index::PaceView;
use crate::node::NodeContext;

/// Messages whose outcome is awaited, before those whose caller has left are looked for.
const SETTLING_MAX: usize = 128;
/// Longest wait for a chat to be told that nobody types any more.
const PAUSED_MAX: Duration = Duration::from_secs(5);

impl Session {
    pub(super) fn loaded(&mut self, row: Box<Instance>, unsent: Unsent) {
        let Unsent { count, last, first } = unsent;
        self.reporter.post().meta().enter(row.state.as_str());
        let input = Machine::loaded(&row);
        self.unsent = count;
        self.keep(row);
        for call in std::mem::take(&mut self.held_changes) {
            self.reread(call);
        }
        // What is accepted now is behind it also if another node's clock is ahead of ours.
        self.last_message_id = last.map_or(0, MessageId::to_u128);
        // What was just read is the first fetch of the store's backlog.
        self.outbox.suspect();
        if let Some((from, limit)) = self.outbox.fetch() {
            let now = self.moment();
            let items = first.into_iter().map(|message| item(message, now)).collect();
            self.outbox.fetched(from, limit, Some(items));
        }
        self.feed(input);
        for call in std::mem::take(&mut self.held_sends) {
            self.send(call);
        }
    }

    pub(super) fn send(&mut self, call: Box<SendCall>) {
        if call.ride.deadline <= Instant::now() {
            return;
        }
        if self.row.is_none() && self.drain == Drain::No {
            self.held_sends.push_back(call);
            return;
        }
        let refusal = if self.drain != Drain::No {
            Some(CallError::moving("the session is being moved or stopped"))
        } else if let Some(detail) = self.machine.refuses_messages() {
            Some(self.wrong_state(detail))
        } else if self.unsent + self.accepting >= self.node.settings.outbox_max {
            Some(CallError::overloaded())
        } else {
            None
        };
        match refusal {
            // A caller that no longer waits has read its deadline.
            Some(error) => drop(call.reply.send(Err(error))),
            None => self.accept(*call),
        }
    }

    fn accept(&mut self, call: SendCall) {
        let SendCall {
            to,
            content,
            reply_to,
            stamp,
            settled,
            ride,
            reply,
        } = call;
        let now = self.node.clock.now();
        let new = NewMessage {
            id: self.next_message_id(now.unix_ms()),
            chat: Chat::of(to),
            whatsapp_id: new_whatsapp_id(self.random_bits()),
            content,
            reply_to,
            created_at: now,
            expires_at: now.plus(self.node.settings.message_ttl),
        };
        self.accepting += 1;
        let (node, owner, reporter) = (Arc::clone(&self.node), self.owner, self.reporter.clone());
        self.calls.spawn(async move {
            let result = if node.placement.holds_lease() {
                node.store.accept(owner, new, stamp).await
            } else {
                Err(StoreError::Fenced)
            };
            let mut accepted = Accepted {
                message: None,
                uncertain: false,
                settled,
            };
            match &result {
                Ok(Outcome::Done(message)) => accepted.message = Some(message.clone()),
                Err(StoreError::Unavailable(_)) => accepted.uncertain = true,
                Ok(Outcome::Replayed(_)) | Err(_) => {}
            }
            // Queued before it is answered: a caller who sends the next message to the same chat only
            // then finds this one ahead of it.
            reporter.report(Fact::Accepted(Box::new(accepted)));
            let fenced = matches!(result, Err(StoreError::Fenced));
            let _ = reply.send(result.map_err(CallError::from));
            drop(ride.permit);
            // Ends the session.
            if fenced {
                reporter.report(Fact::Fenced);
            }
        });
    }

    /// Ids of one session rise in the order of acceptance, also within a millisecond.
    fn next_message_id(&mut self, unix_ms: i64) -> MessageId {
        const RANDOM_BITS: u32 = 80;
        let unix_ms = u64::try_from(unix_ms).unwrap_or(0);
        let id = MessageId::from_parts(unix_ms, self.random_bits() >> (128 - RANDOM_BITS)).to_u128();
        self.last_message_id = id.max(self.last_message_id + 1);
        let random = self.last_message_id & ((1 << RANDOM_BITS) - 1);
        // The upper 48 bits are the milliseconds, so they fit.
        MessageId::from_parts((self.last_message_id >> RANDOM_BITS) as u64, random)
    }

    pub(super) fn accepted(&mut self, accepted: Accepted) {
        self.accepting -= 1;
        if accepted.uncertain {
            self.outbox.suspect();
        }
        let Some(message) = accepted.message else { return };
        self.unsent += 1;
        if self.machine.fails_messages() {
            // It was committed after those before it had failed.
            self.run(Effect::FailPending);
            return;
        }
        if self.settling.len() >= SETTLING_MAX {
            self.settling
                .retain(|_, waiting| waiting.iter().any(|settled| !settled.is_closed()));
        }
        if let Some(settled) = accepted.settled {
            self.settling
                .entry(message.whatsapp_id.clone())
                .or_default()
                .push(settled);
        }
        let now = self.moment();
        self.outbox.offer(item(message, now));
    }

    /// Hands messages to the link, as many as may go.
    pub(super) fn dispatch(&mut self) {
        let Some(live) = &self.link else { return };
        if self.drain != Drain::No || self.machine.up() != Some(live.generation) {
            return;
        }
        let Some(link) = live.link().cloned() else { return };
        let (now, mut changes) = (self.moment(), Vec::new());
        let entropy = Arc::clone(&self.node.entropy);
        while let Some(attempt) = self.outbox.next(now, &*entropy, &mut changes) {
            let (node, reporter, link) = (Arc::clone(&self.node), self.reporter.clone(), Arc::clone(&link));
            self.tasks.spawn(hand_over(node, reporter, link, attempt));
        }
        self.report_changes(changes);
    }

    /// Tells operators how many messages the pace holds up, and until when.
    pub(super) fn show_pace(&self) {
        let shown = self.outbox.next_send().map(|at| {
            let now = self.moment();
            PaceView {
                waiting: self.unsent,
                next_send_at: (self.unsent > 0)
                    .then(|| now.wall.plus(at.saturating_duration_since(now.tick))),
            }
        });
        self.reporter.post().meta().paced(shown);
    }

    /// Reads accepted messages from the store when there is room for them.
    pub(super) fn fetch(&mut self) {
        if self.row.is_none() {
            return;
        }
        let Some((from, limit)) = self.outbox.fetch() else {
            return;
        };
        let (node, owner, reporter) = (Arc::clone(&self.node), self.owner, self.reporter.clone());
        self.tasks.spawn(async move {
            let rows = u32::try_from(limit).unwrap_or(u32::MAX);
            let messages = match node.store.pending(owner, from.after, rows).await {
                Ok(messages) => Some(messages),
                Err(StoreError::Fenced) => return reporter.report(Fact::Fenced),
                Err(error) => {
                    tracing::warn!(instance.id = %owner.instance, %error, "accepted messages cannot be read; trying again");
                    tokio::time::sleep(node.settings.backoff_first).await;
                    None
                }
            };
            reporter.report(Fact::Fetched(from, limit, messages));
        });
    }

    pub(super) fn fetched(&mut self, from: Backlog, limit: usize, messages: Option<Vec<Message>>) {
        let now = self.moment();
        let items = messages.map(|messages| messages.into_iter().map(|message| item(message, now)).collect());
        self.outbox.fetched(from, limit, items);
    }

    /// Writes the status changes that gathered, unless a write is under way.
    pub(super) fn write_status(&mut self) {
        let dropped = self.status.take_dropped();
        if dropped > 0 {
            tracing::warn!(instance.id = %self.owner.instance, receipts = dropped, "receipts were dropped, as the store does not take them");
        }
        let Some(changes) = self.status.batch(self.node.settings.status_batch_max) else {
            return;
        };
        let statuses: Vec<StatusChange> = changes.iter().map(|change| change.status.clone()).collect();
        let persist = self.persist();
        let reporter = self.reporter.clone();
        self.tasks.spawn(async move {
            let moved = persist.until_done(|store, owner| {
                let statuses = statuses.clone();
                async move { store.advance(owner, statuses).await }
            });
            match moved.await {
                Ok(moved) => reporter.report(Fact::Advanced(moved, changes)),
                Err(fatal) => reporter.report(fatal.into()),
            }
        });
    }

    pub(super) fn advanced(&mut self, moved: Vec<Message>, changes: Vec<Change>) {
        self.status.written();
        for change in &changes {
            if let Some(id) = change.message {
                self.outbox.stored(id);
                self.unsent = self.unsent.saturating_sub(1);
            }
        }
        if self.settling.is_empty() {
            return;
        }
        for message in moved {
            let settled = self.settling.remove(&message.whatsapp_id).into_iter().flatten();
            settled.for_each(|settled| drop(settled.send(message.clone())));
        }
        // A message that ended otherwise, for example expired in the store: its callers read it there.
        for change in changes.iter().filter(|change| change.message.is_some()) {
            self.settling.remove(&change.status.whatsapp_id);
        }
        if self.settling.is_empty() {
            self.settling = std::collections::HashMap::new();
        }
    }

    pub(super) fn mark_read(&mut self, call: ReadCall) {
        let ReadCall { message, ride, reply } = call;
        let live = self
            .link
            .as_ref()
            .filter(|live| self.machine.up() == Some(live.generation));
        let Some(link) = live.and_then(|live| live.link().cloned()) else {
            drop(reply.send(Err(CallError::NotConnected)));
            return;
        };
        let (node, owner) = (Arc::clone(&self.node), self.owner);
        self.calls.spawn(async move {
            let sender = matches!(message.chat.id, Address::Group(_))
                .then(|| message.sender.as_ref().map(|sender| sender.id.clone()))
                .flatten();
            let read = ReadReceipt {
                chat: message.chat.id.clone(),
                sender,
                whatsapp_ids: vec![message.whatsapp_id.clone()],
            };
            let result = match tokio::time::timeout_at(ride.deadline, link.mark_read(&read)).await {
                Err(_) => Err(CallError::Timeout),
                Ok(Err(error)) => Err(not_sent(error)),
                Ok(Ok(())) => {
                    let step = StatusChange {
                        whatsapp_id: message.whatsapp_id.clone(),
                        direction: Direction::Inbound,
                        status: MessageStatus::Read,
                        failure: None,
                        at: node.clock.now(),
                    };
                    match node.store.advance(owner, vec![step]).await {
                        Ok(moved) => match moved.into_iter().find(|moved| moved.id == message.id) {
                            Some(moved) => Ok(moved),
                            None => node
                                .store
                                .message(owner.tenant, message.id)
                                .await
                                .map_err(CallError::from),
                        },
                        Err(error) => Err(error.into()),
                    }
                }
            };
            let _ = reply.send(result);
            drop(ride.permit);
        });
    }

    /// Expires and repeats what has become due.
    pub(super) fn outbox_due(&mut self) {
        self.outbox_timer = None;
        let (now, mut changes) = (self.moment(), Vec::new());
        self.outbox.due(now, &mut changes);
        self.report_changes(changes);
    }
}

/// One attempt: with typing before it, if it is to be shown.
async fn hand_over(node: Arc<NodeContext>, reporter: Reporter, link: Arc<dyn Link>, attempt: Attempt) {
    let Attempt {
        generation,
        outgoing,
        types_until,
    } = attempt;
    if let Some(until) = types_until {
        if node.placement.holds_lease() {
            // Best effort: a chat that is not shown it gets its message all the same.
            let _ = tokio::time::timeout_at(until, link.typing(&outgoing.to, Typing::Composing)).await;
        }
        tokio::time::sleep_until(until).await;
    }
    if !node.placement.holds_lease() {
        reporter.report(Fact::Fenced);
        return;
    }
    let attempt = tokio::time::timeout(node.settings.send_attempt_timeout, link.send(&outgoing));
    let result = attempt.await.unwrap_or_else(|_| {
        Err(SendError::Transient(
            "the link did not take the message in time".to_owned(),
        ))
    });
    let types_on = types_until.is_some() && result.is_err();
    reporter.report(Fact::Sent(generation, outgoing.whatsapp_id.clone(), result));
    // A message ends the typing by itself.
    if types_on {
        let _ = tokio::time::timeout(PAUSED_MAX, link.typing(&outgoing.to, Typing::Paused)).await;
    }
}

fn item(message: Message, now: Moment) -> Item {
    // Rows of accepted messages always have a deadline.
    let expires_at = message.expires_at.unwrap_or(now.wall);
    let outgoing = Outgoing {
        whatsapp_id: message.whatsapp_id,
        to: message.chat.id,
        content: message.content,
        reply_to: message.reply_to,
    };
    Item {
        id: message.id,
        outgoing: Arc::new(outgoing),
        deadline: now.tick + expires_at.since(now.wall),
    }
}

fn not_sent(error: SendError) -> CallError {
    match error {
        SendError::NotConnected => CallError::NotConnected,
        SendError::Transient(detail) => CallError::unavailable(detail),
        SendError::RecipientNotOnWhatsapp | SendError::Rejected(_) | SendError::Permanent(_) => {
            CallError::UpstreamFailed {
                detail: error.to_string(),
            }
        }
    }
}
