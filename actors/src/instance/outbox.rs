//! Accepted messages of one session on their way out, as a pure structure.
//!
//! Messages of a chat leave in the order of their acceptance: a chat has at most one message under
//! way, from the first attempt until WhatsApp's server has acknowledged or refused it, or until its
//! deadline. Chats go side by side, up to a limit. At most so many messages are held here; the others
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
}

/// Messages read from the store in one go, at most.
pub(crate) const FETCH_MAX: usize = roost_domain::page::PAGE_ROWS_MAX as usize;

type LaneId = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In the list of chats that can go on.
    Ready,
    /// Being handed to the link of this generation.
    Sending(Generation),
    /// On the wire; sent again when the ack does not come.
    OnWire(Generation, Instant),
    /// Failed for now.
    Waiting(Instant),
}

#[derive(Debug)]
struct Entry {
    item: Item,
    failures: u32,
    was_on_wire: bool,
}

#[derive(Debug)]
struct Lane {
    chat: Address,
    queue: VecDeque<Entry>,
    stage: Stage,
    timer: Option<Instant>,
}

impl Lane {
    fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Sending(_) | Stage::OnWire(..))
    }
}

/// Where messages wait in the store that are not held here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub after: Option<MessageId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    link: Option<Generation>,
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

    /// Takes a message that was just accepted, or leaves it in the store when there is no room.
    pub fn offer(&mut self, item: Item) {
        let beyond = |after: Option<MessageId>| after.is_none_or(|after| item.id > after);
        match self.backlog {
            Some(backlog) if beyond(backlog.after) => {
                if self.fetching {
                    self.missed = Some(self.missed.map_or(item.id, |missed| missed.min(item.id)));
                }
                return;
            }
            None if self.len() >= self.limits.memory && beyond(self.last) => {
                self.backlog = Some(Backlog { after: self.last });
                return;
            }
            _ => {}
        }
        self.push(item);
    }

    /// Something may have been accepted without our knowing: the store is read from its beginning.
    pub fn suspect(&mut self) {
        self.backlog = Some(Backlog { after: None });
    }

    /// Where to read on in the store, when there is room. The answer goes to [`Self::fetched`].
    pub fn fetch(&mut self) -> Option<(Backlog, usize)> {
        let room = self.limits.memory.saturating_sub(self.len());
        if self.fetching || room < self.limits.memory.div_ceil(2) {
            return None;
        }
        let backlog = self.backlog?;
        self.fetching = true;
        self.missed = None;
        // What is read may be held already, or finished just now.
        let limit = room + self.len() + self.finished.len();
        Some((backlog, limit.min(FETCH_MAX)))
    }

    /// What the store had; `limit` is how many were asked for. `None` when it could not be read.
    pub fn fetched(&mut self, from: Backlog, limit: usize, items: Option<Vec<Item>>) {
        self.fetching = false;
        if let Some(items) = items {
            let complete = items.len() < limit;
            let reached = items.last().map(|item| item.id).or(from.after);
            for item in items {
                self.push(item);
            }
            // A suspicion that came up meanwhile stands.
            if self.backlog == Some(from) {
                self.backlog = match self.missed {
                    Some(missed) if Some(missed) <= reached => Some(from),
                    None if complete => None,
                    _ => Some(Backlog { after: reached }),
                };
            }
        }
        self.missed = None;
        self.finished.retain(|_, stored| !*stored);
        self.shrink();
    }

    /// The store knows how this message ended.
    pub fn stored(&mut self, id: MessageId) {
        if self.fetching {
            self.finished.entry(id).and_modify(|stored| *stored = true);
        } else {
            self.finished.remove(&id);
        }
    }

    /// Forgets everything: the store has failed what was accepted.
    pub fn clear(&mut self) {
        let (limits, link) = (self.limits, self.link);
        *self = Self {
            link,
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
    pub fn next(&mut self, now: Moment, changes: &mut Vec<Change>) -> Option<(Generation, Arc<Outgoing>)> {
        let generation = self.link?;
        while self.under_way < self.limits.chats {
            let id = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let Some(head) = lane.queue.front() else { continue };
            if head.item.deadline <= now.tick {
                self.expire(id, now, changes);
                continue;
            }
            let outgoing = Arc::clone(&head.item.outgoing);
            lane.stage = Stage::Sending(generation);
            self.under_way += 1;
            if !self.tried.contains_key(&outgoing.whatsapp_id) {
                self.tried.insert(outgoing.whatsapp_id.clone(), id);
            }
            self.set_timer(id);
            return Some((generation, outgoing));
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
        self.timers.first().map(|&(at, _)| at)
    }

    /// Does what has become due.
    pub fn due(&mut self, now: Moment, changes: &mut Vec<Change>) {
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

    fn push(&mut self, item: Item) {
        if self.finished.contains_key(&item.id) || !self.held.insert(item.id) {
            return;
        }
        self.last = self.last.max(Some(item.id));
        let chat = &item.outgoing.to;
        let id = match self.lane_of.get(chat) {
            Some(&id) => id,
            None => {
                let id = self.next_lane;
                self.next_lane += 1;
                let (stage, timer) = (Stage::Ready, None);
                let lane = Lane {
                    chat: chat.clone(),
                    queue: VecDeque::new(),
                    stage,
                    timer,
                };
                self.lane_of.insert(chat.clone(), id);
                self.lanes.insert(id, lane);
                self.ready.push_back(id);
                id
            }
        };
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        // Commits of calls made at the same time may come in another order than their ids. A head that
        // was tried keeps its place.
        let tried = usize::from(
            lane.queue
                .front()
                .is_some_and(|head| self.tried.contains_key(&head.item.outgoing.whatsapp_id)),
        );
        let mut at = lane.queue.len();
        while at > tried && lane.queue[at - 1].item.id > item.id {
            at -= 1;
        }
        lane.queue.insert(
            at,
            Entry {
                item,
                failures: 0,
                was_on_wire: false,
            },
        );
        if at == 0 {
            self.set_timer(id);
        }
    }

    fn make_ready(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if lane.is_under_way() {
            self.under_way -= 1;
        }
        if lane.stage != Stage::Ready {
            lane.stage = Stage::Ready;
            self.ready.push_back(id);
        }
        self.set_timer(id);
    }

    fn expire(&mut self, id: LaneId, now: Moment, changes: &mut Vec<Change>) {
        let was_on_wire = self
            .lanes
            .get(&id)
            .and_then(|lane| lane.queue.front())
            .is_some_and(|head| head.was_on_wire);
        let reason = if was_on_wire {
            FailureReason::NotAcknowledged
        } else {
            FailureReason::DeadlinePassed
        };
        self.finish(id, MessageStatus::Expired, Some(reason), now.wall, changes);
    }

    fn finish(
        &mut self,
        id: LaneId,
        status: MessageStatus,
        failure: Option<FailureReason>,
        at: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let Some(entry) = lane.queue.pop_front() else {
            return;
        };
        let was_ready = lane.stage == Stage::Ready;
        if lane.is_under_way() {
            self.under_way -= 1;
        }
        let whatsapp_id = entry.item.outgoing.whatsapp_id.clone();
        self.tried.remove(&whatsapp_id);
        self.held.remove(&entry.item.id);
        self.finished.insert(entry.item.id, false);
        let status = change(whatsapp_id, status, failure, at);
        changes.push(Change {
            message: Some(entry.item.id),
            status,
        });
        lane.stage = Stage::Ready;
        let (empty, listed) = (lane.queue.is_empty(), was_ready && self.ready.contains(&id));
        if empty {
            self.remove_lane(id);
        } else {
            if !listed {
                self.ready.push_back(id);
            }
            self.set_timer(id);
        }
    }

    fn remove_lane(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.lane_of.remove(&lane.chat);
            if let Some(at) = lane.timer {
                self.timers.remove(&(at, id));
            }
        }
        self.shrink();
    }

    /// An idle session gives its memory back.
    fn shrink(&mut self) {
        const ROOM: usize = 32;
        if self.lanes.is_empty() && self.lanes.capacity() > ROOM {
            self.lanes = HashMap::new();
            self.lane_of = HashMap::new();
            self.tried = HashMap::new();
            self.held = HashSet::new();
            self.ready = VecDeque::new();
        }
        if self.finished.is_empty() && self.finished.capacity() > ROOM {
            self.finished = HashMap::new();
        }
    }

    fn set_timer(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let deadline = lane.queue.front().map(|head| head.item.deadline);
        let wanted = match lane.stage {
            Stage::Ready | Stage::Sending(_) => deadline,
            Stage::OnWire(_, at) | Stage::Waiting(at) => deadline.map(|deadline| deadline.min(at)),
        };
        if lane.timer != wanted {
            if let Some(at) = lane.timer.take() {
                self.timers.remove(&(at, id));
            }
            if let Some(at) = wanted {
                self.timers.insert((at, id));
                lane.timer = wanted;
            }
        }
    }
}

/// A status change, and the message it ends the way of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub message: Option<MessageId>,
    pub status: StatusChange,
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
