//! The shell: takes messages, lets the webhook change, and ends when it has to.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use roost_domain::webhook::WebhookOwner;

use super::WebhookNode;
use super::hook::{End, Hook};
use super::message::{Reporter, WebhookMessage};
use super::stats::Live;
use crate::CallError;
use crate::index::ActorMeta;
use crate::permit::Permits;
use crate::post::Post;
use crate::registry::ActorExit;

/// The live run of one webhook.
pub(super) struct WebhookActor;

/// What it starts with.
pub(super) struct WebhookArguments {
    pub shared: Arc<WebhookNode>,
    pub owner: WebhookOwner,
    pub permits: Arc<Permits>,
    pub meta: Arc<ActorMeta>,
    pub live: Arc<Live>,
}

impl Actor for WebhookActor {
    type Msg = WebhookMessage;
    type State = Box<Hook>;
    type Arguments = WebhookArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<WebhookMessage>,
        arguments: WebhookArguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let WebhookArguments {
            shared,
            owner,
            permits,
            meta,
            live,
        } = arguments;
        let reporter = Reporter::new(Post::new(myself, meta));
        let mut hook = Box::new(Hook::new(shared, owner, permits, reporter, live));
        hook.load();
        Ok(hook)
    }

    async fn handle(
        &self,
        myself: ActorRef<WebhookMessage>,
        message: WebhookMessage,
        hook: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        hook.reporter.post().meta().handling(message.name());
        match message {
            WebhookMessage::Reload(applied) => hook.reload(applied),
            WebhookMessage::Redrive(call) => hook.redrive(call),
            WebhookMessage::Replay(call) => hook.replay(call),
            WebhookMessage::Shutdown => hook.shut_down(),
            WebhookMessage::FactsDue => {
                let (facts, _) = hook.reporter.collect();
                for fact in facts {
                    hook.learn(fact);
                }
            }
            WebhookMessage::WakeDue => hook.woken(),
            WebhookMessage::DrainDue => hook.abandon(),
        }
        hook.go_on();
        let Some(end) = hook.end.clone() else {
            return Ok(());
        };
        // Takes no more calls, before it takes no more messages.
        if end == End::Fenced {
            hook.fence();
        } else {
            hook.permits.retire();
        }
        hook.refuse_all(&match end {
            End::Fenced => CallError::Moved,
            End::Vanished => CallError::NotFound,
            // What was begun may have been written.
            _ => CallError::unavailable("the actor of this webhook is being restarted"),
        });
        match end {
            End::Done | End::Vanished => {
                myself.stop(None);
                Ok(())
            }
            End::Fenced => Err(Box::new(ActorExit::Fenced)),
            End::Retry(reason) => Err(Box::new(ActorExit::Retry(reason))),
            End::Panic(reason) => Err(Box::new(ActorExit::Panic(reason))),
        }
    }
}
