//! The way into an actor's mailbox, with its queue kept in the index.

use std::sync::Arc;

use ractor::{ActorRef, Message};

use crate::index::ActorMeta;

/// The actor takes no more messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Sends messages to one life of an actor.
pub(crate) struct Post<M> {
    actor: ActorRef<M>,
    meta: Arc<ActorMeta>,
}

impl<M> Clone for Post<M> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
            meta: Arc::clone(&self.meta),
        }
    }
}

impl<M: Message> Post<M> {
    pub fn new(actor: ActorRef<M>, meta: Arc<ActorMeta>) -> Self {
        Self { actor, meta }
    }

    pub fn cast(&self, message: M) -> Result<(), Gone> {
        self.meta.queued();
        self.actor.cast(message).map_err(|_| {
            self.meta.not_queued();
            Gone
        })
    }

    #[cfg(test)]
    pub fn kill(&self) {
        self.actor.kill();
    }

    pub fn meta(&self) -> &Arc<ActorMeta> {
        &self.meta
    }
}
