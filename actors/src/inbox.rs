//! Facts on their way to an actor, and the tasks that report them.
//!
//! Facts gather in an inbox and one wake-up is queued for all of them, so that a busy link costs one
//! mailbox message per batch and not one per fact. Their number is bounded by the tasks that report
//! them; whoever reports more than that does so by [`Reporter::report_if_room`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::Message;
use tokio::task::{AbortHandle, JoinSet};

use crate::post::Post;

/// Facts handled at one go, so that orders get their turn.
const BATCH: usize = 1024;

/// Messages of an actor that learns facts.
pub(crate) trait Learns: Message {
    type Fact: Send + 'static;

    /// Facts lie in the inbox.
    fn facts_due() -> Self;

    /// A task of the actor panicked.
    fn task_panicked() -> Self::Fact;
}

struct Inbox<F> {
    facts: VecDeque<F>,
    woken: bool,
    dropped: u64,
}

/// Reports facts to one life of an actor.
pub(crate) struct Reporter<M: Learns> {
    inbox: Arc<Mutex<Inbox<M::Fact>>>,
    post: Post<M>,
}

impl<M: Learns> Clone for Reporter<M> {
    fn clone(&self) -> Self {
        Self {
            inbox: Arc::clone(&self.inbox),
            post: self.post.clone(),
        }
    }
}

impl<M: Learns> Reporter<M> {
    pub fn new(post: Post<M>) -> Self {
        let inbox = Inbox {
            facts: VecDeque::new(),
            woken: false,
            dropped: 0,
        };
        Self {
            inbox: Arc::new(Mutex::new(inbox)),
            post,
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox<M::Fact>> {
        // Nothing that runs under the lock can panic half-way.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn report(&self, fact: M::Fact) {
        let wake = {
            let mut inbox = self.inbox();
            inbox.facts.push_back(fact);
            !std::mem::replace(&mut inbox.woken, true)
        };
        if wake {
            self.tell(M::facts_due());
        }
    }

    /// Reports a fact unless as many as this lie here; then it is dropped, and counted.
    pub fn report_if_room(&self, fact: M::Fact, max: usize) {
        let mut inbox = self.inbox();
        if inbox.facts.len() >= max {
            inbox.dropped += 1;
            return;
        }
        drop(inbox);
        self.report(fact);
    }

    /// Takes what lies here, a batch at a time, and how many facts were dropped.
    pub fn collect(&self) -> (VecDeque<M::Fact>, u64) {
        let mut inbox = self.inbox();
        let dropped = std::mem::take(&mut inbox.dropped);
        if inbox.facts.len() <= BATCH {
            inbox.woken = false;
            return (std::mem::take(&mut inbox.facts), dropped);
        }
        let batch = inbox.facts.drain(..BATCH).collect();
        drop(inbox);
        self.tell(M::facts_due());
        (batch, dropped)
    }

    pub fn tell(&self, message: M) {
        // An actor that is gone needs no facts.
        let _ = self.post.cast(message);
    }

    pub fn post(&self) -> &Post<M> {
        &self.post
    }
}

/// Tasks of an actor, aborted with it. Should one panic, so does the actor: somebody may wait for what
/// the task was to report.
pub(crate) struct Tasks<M: Learns> {
    running: JoinSet<()>,
    reporter: Reporter<M>,
}

impl<M: Learns> Tasks<M> {
    pub fn new(reporter: Reporter<M>) -> Self {
        Self {
            running: JoinSet::new(),
            reporter,
        }
    }

    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let witness = Witness(self.reporter.clone());
        self.running.spawn(async move {
            let witness = witness;
            task.await;
            drop(witness);
        })
    }

    /// Forgets those that have ended.
    pub fn sweep(&mut self) {
        while self.running.try_join_next().is_some() {}
    }

    pub fn abort_all(&mut self) {
        self.running.abort_all();
    }

    /// Those that run, to outlive the actor.
    pub fn take(&mut self) -> JoinSet<()> {
        std::mem::take(&mut self.running)
    }
}

/// Tells the actor when the task that it is part of unwinds.
struct Witness<M: Learns>(Reporter<M>);

impl<M: Learns> Drop for Witness<M> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.report(M::task_panicked());
        }
    }
}
