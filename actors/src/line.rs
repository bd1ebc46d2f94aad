//! One call to a live actor, from its permit to its answer, and what it is told when the actor ends
//! meanwhile. Registries hand a line out; handles call through it.

use std::sync::Arc;

use ractor::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::CallError;
use crate::permit::{Class, Permits, Refused};
use crate::post::Post;

/// The way to one life of an actor.
pub(crate) struct Line<M> {
    kind: &'static str,
    pub permits: Arc<Permits>,
    pub post: Post<M>,
}

impl<M> Clone for Line<M> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            permits: Arc::clone(&self.permits),
            post: self.post.clone(),
        }
    }
}

impl<M: Message> Line<M> {
    pub fn new(kind: &'static str, permits: Arc<Permits>, post: Post<M>) -> Self {
        Self { kind, permits, post }
    }

    /// A permit for one command.
    pub fn take(&self, class: Class) -> Result<OwnedSemaphorePermit, CallError> {
        self.permits.take(class).map_err(|refused| match refused {
            Refused::Exhausted => CallError::overloaded(),
            Refused::Retired => restarting(self.kind),
            Refused::Fenced => CallError::Moved,
        })
    }

    /// Queues a command that holds a permit.
    pub fn tell(&self, message: M) -> Result<(), CallError> {
        self.post.cast(message).map_err(|_| {
            if self.permits.is_fenced() {
                CallError::Moved
            } else {
                restarting(self.kind)
            }
        })
    }

    /// Waits for the answer to a command.
    pub async fn answer<T>(
        &self,
        deadline: Instant,
        answer: oneshot::Receiver<Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            // A fenced actor answers what it has begun, so this was never taken up.
            Ok(Err(_)) if self.permits.is_fenced() => Err(CallError::Moved),
            // The actor ended under the call: whether it was carried out is not known.
            Ok(Err(_)) | Err(_) => Err(CallError::Timeout),
        }
    }
}

/// What a call is told whose actor ends before it took the call up.
pub(crate) fn restarting(kind: &str) -> CallError {
    CallError::moving(format!("the actor of this {kind} is being restarted"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr, ActorRef};

    use super::*;
    use crate::index::ActorIndex;
    use crate::testing::SystemClock;

    struct Idle;

    impl Actor for Idle {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    /// A line to an actor that has ended.
    async fn dead(permits: Permits) -> Line<()> {
        let (actor, ended) = Actor::spawn(None, Idle, ()).await.unwrap();
        actor.stop(None);
        ended.await.unwrap();
        let meta = ActorIndex::new("node-a", Arc::new(SystemClock)).open("thing/1", "thing", None);
        Line::new("thing", Arc::new(permits), Post::new(actor, meta))
    }

    async fn unanswered(line: &Line<()>) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        drop(reply);
        line.answer(Instant::now() + Duration::from_secs(60), answer)
            .await
    }

    #[tokio::test]
    async fn a_call_that_a_fenced_actor_did_not_take_up_learns_who_has_taken_over() {
        let permits = Permits::new(1, 1, 1);
        permits.fence();
        let line = dead(permits).await;
        assert_eq!(line.take(Class::Send).unwrap_err(), CallError::Moved);
        assert_eq!(line.tell(()), Err(CallError::Moved));
        assert_eq!(unanswered(&line).await, Err(CallError::Moved));
    }

    #[tokio::test]
    async fn a_call_whose_actor_ended_otherwise_may_be_repeated_or_is_uncertain() {
        let permits = Permits::new(1, 1, 1);
        permits.retire();
        let line = dead(permits).await;
        assert_eq!(line.take(Class::Send).unwrap_err(), restarting("thing"));
        assert_eq!(line.tell(()), Err(restarting("thing")));
        assert_eq!(unanswered(&line).await, Err(CallError::Timeout));
    }
}
