//! Status changes of one session on their way into the store, as a pure structure.
//!
//! While one write is under way the rest gather, so that the number of writes falls as the load grows.

use std::collections::VecDeque;

use roost_domain::message::MessageStatus;

use super::outbox::Change;

#[derive(Debug, Default)]
pub(crate) struct StatusQueue {
    waiting: VecDeque<Change>,
    writing: bool,
    dropped: u64,
}

impl StatusQueue {
    /// Adds a change. Beyond `max` waiting ones a receipt is dropped: WhatsApp reports more of them
    /// later, and acks and failures are bounded by the outbox.
    pub fn push(&mut self, change: Change, max: usize) {
        let receipt = matches!(
            change.status.status,
            MessageStatus::Delivered | MessageStatus::Read
        );
        if receipt && self.waiting.len() >= max {
            self.dropped += 1;
            return;
        }
        self.waiting.push_back(change);
    }

    /// What to write now, unless a write is under way. [`Self::written`] ends it.
    pub fn batch(&mut self, max: usize) -> Option<Vec<Change>> {
        if self.writing || self.waiting.is_empty() {
            return None;
        }
        self.writing = true;
        let count = self.waiting.len().min(max);
        let batch = self.waiting.drain(..count).collect();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(batch)
    }

    pub fn written(&mut self) {
        self.writing = false;
    }

    pub fn is_idle(&self) -> bool {
        !self.writing && self.waiting.is_empty()
    }

    /// Receipts dropped since the last question.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}
