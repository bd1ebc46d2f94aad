//! Facts on their way to a webhook's actor. They gather here and one wake-up is queued for all of them.
//! Their number is bounded by the tasks that report them: POSTs by the webhook's concurrency, events by
//! what the machine allows to be read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{Fact, WebhookMessage};
use crate::post::Post;

#[derive(Default)]
struct Inbox {
    facts: VecDeque<Fact>,
    woken: bool,
}

/// Reports facts to one life of an actor.
#[derive(Clone)]
pub(super) struct Reporter {
    inbox: Arc<Mutex<Inbox>>,
    post: Post<WebhookMessage>,
}

impl Reporter {
    pub fn new(post: Post<WebhookMessage>) -> Self {
        Self {
            inbox: Arc::default(),
            post,
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing that runs under the lock can panic half-way.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn report(&self, fact: Fact) {
        let wake = {
            let mut inbox = self.inbox();
            inbox.facts.push_back(fact);
            !std::mem::replace(&mut inbox.woken, true)
        };
        if wake {
            self.tell(WebhookMessage::FactsDue);
        }
    }

    pub fn collect(&self) -> VecDeque<Fact> {
        let mut inbox = self.inbox();
        inbox.woken = false;
        std::mem::take(&mut inbox.facts)
    }

    pub fn tell(&self, message: WebhookMessage) {
        // An actor that is gone needs no facts.
        let _ = self.post.cast(message);
    }

    pub fn post(&self) -> &Post<WebhookMessage> {
        &self.post
    }
}
