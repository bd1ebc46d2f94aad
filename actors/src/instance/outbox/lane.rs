//! Lanes: the messages to one chat, one after the other, of which the first may be under way.

use std::collections::{HashMap, HashSet, VecDeque};

use roost_domain::message::{FailureReason, MessageStatus};
use roost_domain::{Address, Timestamp};
use tokio::time::Instant;

use super::{Change, Item, Moment, Outbox, change};
use crate::instance::machine::Generation;

pub(super) type LaneId = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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
pub(super) struct Entry {
    pub item: Item,
    pub failures: u32,
    pub was_on_wire: bool,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub chat: Address,
    pub queue: VecDeque<Entry>,
    pub stage: Stage,
    pub timer: Option<Instant>,
}

impl Lane {
    pub fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Sending(_) | Stage::OnWire(..))
    }
}

impl Outbox {
    pub(super) fn push(&mut self, item: Item) {
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

    pub(super) fn make_ready(&mut self, id: LaneId) {
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

    pub(super) fn expire(&mut self, id: LaneId, now: Moment, changes: &mut Vec<Change>) {
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

    pub(super) fn finish(
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
    pub(super) fn shrink(&mut self) {
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

    pub(super) fn set_timer(&mut self, id: LaneId) {
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
