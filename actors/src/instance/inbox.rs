//! Facts on their way to a session actor.
//!
//! They gather here and one wake-up is queued for all of them, so that a busy link costs one mailbox
//! message per batch and not one per fact, and so that their number has a limit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roost_domain::engine::LinkFact;

use super::machine::Generation;
use super::message::{Fact, SessionMessage};
use crate::post::Post;

/// Facts handled at one go, so that orders get their turn.
const BATCH: usize = 1024;

#[derive(Default)]
struct Inbox {
    facts: VecDeque<Fact>,
    woken: bool,
    dropped: u64,
}

/// Reports facts to one life of a session actor.
#[derive(Clone)]
pub(crate) struct Reporter {
    inbox: Arc<Mutex<Inbox>>,
    post: Post<SessionMessage>,
    link_facts_max: usize,
}

impl Reporter {
    pub fn new(post: Post<SessionMessage>, link_facts_max: usize) -> Self {
        Self {
            inbox: Arc::default(),
            post,
            link_facts_max,
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing in here can panic half-way.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a fact of a task: these are bounded by the tasks.
    pub fn report(&self, fact: Fact) {
        let wake = {
            let mut inbox = self.inbox();
            inbox.facts.push_back(fact);
            !std::mem::replace(&mut inbox.woken, true)
        };
        if wake {
            self.wake();
        }
    }

    /// Reports a fact of a link. A link that talks faster than we write loses receipts, which repeat
    /// themselves, but never a step of its life.
    pub fn report_link(&self, generation: Generation, fact: LinkFact) {
        let may_drop = matches!(fact, LinkFact::Receipt { .. } | LinkFact::Undecryptable { .. });
        if may_drop {
            let mut inbox = self.inbox();
            if inbox.facts.len() >= self.link_facts_max {
                inbox.dropped += 1;
                return;
            }
        }
        self.report(Fact::Link(generation, fact));
    }

    /// Takes what lies here, a batch at a time, and how many facts were dropped.
    pub fn collect(&self) -> (VecDeque<Fact>, u64) {
        let mut inbox = self.inbox();
        let dropped = std::mem::take(&mut inbox.dropped);
        if inbox.facts.len() <= BATCH {
            inbox.woken = false;
            return (std::mem::take(&mut inbox.facts), dropped);
        }
        let batch = inbox.facts.drain(..BATCH).collect();
        drop(inbox);
        self.wake();
        (batch, dropped)
    }

    fn wake(&self) {
        // An actor that is gone needs no facts.
        let _ = self.post.cast(SessionMessage::FactsDue);
    }

    pub fn post(&self) -> &Post<SessionMessage> {
        &self.post
    }
}
