//! The shell: takes messages, lets the session change, and ends when it has to.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use roost_domain::Owner;

use super::machine::{Exit, Input};
use super::message::{Reporter, SessionMessage};
use super::session::Session;
use crate::index::ActorMeta;
use crate::node::NodeContext;
use crate::permit::Permits;
use crate::post::Post;
use crate::registry::ActorExit;

/// The live run of one instance.
pub(crate) struct SessionActor;

/// What a session starts with.
pub(crate) struct SessionArguments {
    pub node: Arc<NodeContext>,
    pub owner: Owner,
    pub permits: Arc<Permits>,
    pub meta: Arc<ActorMeta>,
}

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = Box<Session>;
    type Arguments = SessionArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMessage>,
        arguments: SessionArguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let SessionArguments {
            node,
            owner,
            permits,
            meta,
        } = arguments;
        let reporter = Reporter::new(Post::new(myself, meta));
        let mut session = Box::new(Session::new(node, owner, permits, reporter));
        session.load();
        Ok(session)
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMessage>,
        message: SessionMessage,
        session: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        session.reporter.post().meta().handling(message.name());
        let mut leaves = false;
        match message {
            SessionMessage::Order(call) => session.order(call),
            SessionMessage::Send(call) => session.send(call),
            SessionMessage::MarkRead(call) => session.mark_read(*call),
            SessionMessage::AwaitCode(call) => session.await_code(call),
            SessionMessage::Changed(call) => session.changed(call),
            SessionMessage::Shutdown { succeeded } => session.shut_down(succeeded),
            SessionMessage::FactsDue => {
                let (facts, dropped) = session.reporter.collect();
                if dropped > 0 {
                    tracing::warn!(instance.id = %session.owner.instance, facts = dropped, "a link's receipts were dropped, as they come faster than they are handled");
                }
                for fact in facts {
                    session.learn(fact);
                }
            }
            SessionMessage::LifeDue(generation) => session.feed(Input::Timer { generation }),
            SessionMessage::OutboxDue(generation) => {
                if generation == session.timer_generation {
                    session.outbox_due();
                }
            }
            SessionMessage::IdleDue => leaves = session.may_leave(),
        }
        session.go_on();
        match session.exit.clone() {
            Some(Exit::Fenced) => {
                session.fence();
                Err(Box::new(ActorExit::Fenced))
            }
            Some(Exit::Retry(reason)) => Err(Box::new(ActorExit::Retry(reason))),
            Some(Exit::Panic(reason)) => Err(Box::new(ActorExit::Panic(reason))),
            Some(Exit::Done) if session.is_flushed() => {
                session.permits.retire();
                myself.stop(None);
                Ok(())
            }
            None if leaves => {
                myself.stop(None);
                Ok(())
            }
            Some(Exit::Done) | None => Ok(()),
        }
    }
}
