//! Accepted messages of one session on their way out, as a pure structure.
//!
//! Messages of a chat leave in the order of their acceptance: a chat has at most one message under
//! way, from the first attempt until WhatsApp's server has acknowledged or refused it, or until its
//! deadline. Chats go side by side, up to a limit. A pace spaces attempts out over all chats, in the
//! order in which the chats became ready; it refuses nothing, and deadlines hold meanwhile. At most so many messages are held here; the others
//! wait in the store and are fetched when there is room, so that none is forgotten.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roost_domain::engine::{Outgoing, SendError};
use roost_domain::message::{Direction, FailureReason, MessageStatus, StatusChange};
use roost_domain::time::Entropy;
use roost_domain::{Address, MessageId, Timestamp};
use tokio::time::Instant;

use super::machine::Generation;
use crate::backoff::Backoff;

mod backlog;
mod lane;
mod pacing;

use self::lane::{Lane, LaneId, Stage};
use self::pacing::{Candidate, Pacer};

pub(crate) use self::backlog::{Backlog, FETCH_MAX};
pub(crate) use self::pacing::TypingTimes;

/// A message to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub id: MessageId,
    pub outgoing: Arc<Outgoing>,
    pub deadline: Instant,
}

/// Time as the outbox needs it: for waits, and for what is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub tick: Instant,
    pub wall: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub memory: usize,
    pub chats: usize,
    pub ack_timeout: Duration,
    pub backoff: Backoff,
    pub typing: TypingTimes,
}

/// A message to be handed to the link.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub generation: Generation,
    pub outgoing: Arc<Outgoing>,
    /// Until when the chat is shown typing before the message goes.
    pub types_until: Option<Instant>,
}

/// A status change, and the message it ends the way of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub message: Option<MessageId>,
    pub status: StatusChange,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    link: Option<Generation>,
    /// Boxed: few sessions have one.
    pacer: Option<Box<Pacer>>,
    lanes: HashMap<LaneId, Lane>,
    lane_of: HashMap<Address, LaneId>,
    next_lane: LaneId,
    ready: VecDeque<LaneId>,
    under_way: usize,
    timers: BTreeSet<(Instant, LaneId)>,
    /// Heads that were tried, by the id that acks carry.
    tried: HashMap<String, LaneId>,
    held: HashSet<MessageId>,
    /// Finished here, and perhaps still accepted in the store; `true` once the store knows.
    finished: HashMap<MessageId, bool>,
    last: Option<MessageId>,
    backlog: Option<Backlog>,
    fetching: bool,
    /// The earliest message left in the store while a fetch was under way, which may have missed it.
    missed: Option<MessageId>,
}

impl Outbox {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            link: None,
            pacer: None,
            lanes: HashMap::new(),
            lane_of: HashMap::new(),
            next_lane: 0,
            ready: VecDeque::new(),
            under_way: 0,
            timers: BTreeSet::new(),
            tried: HashMap::new(),
            held: HashSet::new(),
            finished: HashMap::new(),
            last: None,
            backlog: None,
            fetching: false,
            missed: None,
        }
    }

    /// Messages held in memory.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Messages that are with the link and whose outcome is not known yet.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Forgets everything: the store has failed what was accepted.
    pub fn clear(&mut self) {
        let (limits, link, pacer) = (self.limits, self.link, self.pacer.take());
        *self = Self {
            link,
            pacer,
            ..Self::new(limits)
        };
    }

    pub fn link_up(&mut self, generation: Generation) {
        self.link_down();
        self.link = Some(generation);
        let waiting: Vec<LaneId> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.stage != Stage::Ready)
            .map(|(&id, _)| id)
            .collect();
        for id in waiting {
            self.make_ready(id);
        }
    }

    pub fn link_down(&mut self) {
        self.link = None;
        if let Some(pacer) = &mut self.pacer {
            pacer.link_down();
        }
        if self.under_way > 0 {
            let cut: Vec<LaneId> = self
                .lanes
                .iter()
                .filter(|(_, lane)| lane.is_under_way())
                .map(|(&id, _)| id)
                .collect();
            for id in cut {
                self.make_ready(id);
            }
        }
    }

    /// The next message to hand to the link, if one may go now.
    pub fn next(&mut self, now: Moment, entropy: &dyn Entropy, changes: &mut Vec<Change>) -> Option<Attempt> {
        let generation = self.link?;
        while self.under_way < self.limits.chats {
            let &id = self.ready.front()?;
            let Some(head) = self.lanes.get(&id).and_then(|lane| lane.queue.front()) else {
                self.ready.pop_front();
                continue;
            };
            if head.item.deadline <= now.tick {
                self.ready.pop_front();
                self.expire(id, now, changes);
                continue;
            }
            let outgoing = Arc::clone(&head.item.outgoing);
            let deadline = head.item.deadline;
            // Typing that was shown once is not shown again for the same message.
            let again = self.tried.contains_key(&outgoing.whatsapp_id);
            let mut types_until = None;
            if let Some(pacer) = &mut self.pacer {
                let types = pacer.types() && !again;
                let typing = if types {
                    self.limits.typing.of(&outgoing.content)
                } else {
                    Duration::ZERO
                };
                let candidate = Candidate {
                    generation,
                    outgoing: &outgoing,
                    typing,
                    deadline,
                };
                let text_at = pacer.begin(&candidate, now.tick, entropy)?;
                types_until = types.then_some(text_at);
            }
            self.ready.pop_front();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.stage = Stage::Sending(generation);
            }
            self.under_way += 1;
            if !again {
                self.tried.insert(outgoing.whatsapp_id.clone(), id);
            }
            self.set_timer(id);
            return Some(Attempt {
                generation,
                outgoing,
                types_until,
            });
        }
        None
    }

    /// What became of an attempt.
    pub fn sent(
        &mut self,
        generation: Generation,
        whatsapp_id: &str,
        result: Result<(), SendError>,
        now: Moment,
        entropy: &dyn Entropy,
        changes: &mut Vec<Change>,
    ) {
        if let Some(pacer) = &mut self.pacer {
            pacer.ended(generation, whatsapp_id, now.tick);
        }
        let Some(&id) = self.tried.get(whatsapp_id) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if lane.stage != Stage::Sending(generation) {
            return;
        }
        let Some(head) = lane.queue.front_mut() else {
            return;
        };
        let failure = match result {
            Ok(()) => {
                head.was_on_wire = true;
                lane.stage = Stage::OnWire(generation, now.tick + self.limits.ack_timeout);
                self.set_timer(id);
                return;
            }
            Err(SendError::NotConnected | SendError::Transient(_)) => {
                head.failures += 1;
                lane.stage = Stage::Waiting(now.tick + self.limits.backoff.wait(head.failures, entropy));
                self.under_way -= 1;
                self.set_timer(id);
                return;
            }
            Err(SendError::RecipientNotOnWhatsapp) => FailureReason::RecipientNotOnWhatsapp,
            Err(SendError::Rejected(number)) => FailureReason::Rejected {
                whatsapp_error: number,
            },
            Err(SendError::Permanent(detail)) => FailureReason::Engine { detail },
        };
        self.finish(id, MessageStatus::Failed, Some(failure), now.wall, changes);
    }

    /// WhatsApp's server has a message, or refused it. Comes before or after the end of the attempt.
    pub fn acked(&mut self, whatsapp_id: &str, error: Option<u16>, at: Timestamp, changes: &mut Vec<Change>) {
        let (status, failure) = match error {
            None => (MessageStatus::Sent, None),
            Some(number) => (
                MessageStatus::Failed,
                Some(FailureReason::Rejected {
                    whatsapp_error: number,
                }),
            ),
        };
        if let Some(&id) = self.tried.get(whatsapp_id) {
            self.finish(id, status, failure, at, changes);
        } else if error.is_none() {
            // Not ours any more, for example expired: the store decides whether it still counts.
            let whatsapp_id = whatsapp_id.to_owned();
            changes.push(Change {
                message: None,
                status: change(whatsapp_id, status, failure, at),
            });
        }
    }

    /// When [`Self::due`] has to be called next.
    pub fn next_due(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|&(at, _)| at);
        let wake = self.pacer.as_ref().and_then(|pacer| pacer.wake());
        [timer, wake].into_iter().flatten().min()
    }

    /// Does what has become due.
    pub fn due(&mut self, now: Moment, changes: &mut Vec<Change>) {
        if let Some(pacer) = &mut self.pacer {
            pacer.woke(now.tick);
        }
        while let Some(&(at, id)) = self.timers.first() {
            if at > now.tick {
                return;
            }
            let Some(lane) = self.lanes.get(&id) else {
                self.timers.pop_first();
                continue;
            };
            let expired = lane
                .queue
                .front()
                .is_some_and(|head| head.item.deadline <= now.tick);
            match lane.stage {
                // The attempt's own time-out ends it; what it comes to decides.
                Stage::Sending(_) if expired => {
                    self.timers.pop_first();
                    self.lanes.entry(id).and_modify(|lane| lane.timer = None);
                }
                _ if expired => self.expire(id, now, changes),
                _ => self.make_ready(id),
            }
        }
    }
}

fn change(
    whatsapp_id: String,
    status: MessageStatus,
    failure: Option<FailureReason>,
    at: Timestamp,
) -> StatusChange {
    StatusChange {
        whatsapp_id,
        direction: Direction::Outbound,
        status,
        failure,
        at,
    }
}
