//! Units of work: what callers hand to the writer, and how each is answered for itself.

use async_trait::async_trait;
use roost_domain::store::StoreError;
use tokio::sync::oneshot;

use super::draft::{Draft, Needs};
use super::transaction::Transaction;
use crate::database::Failure;

/// A write that shares its statements with others of its kind: it names the rows it needs, then
/// changes them in memory.
pub(crate) trait Planned: Send + 'static {
    type Output: Send;

    /// Operations it counts as, towards the limit of a transaction.
    fn weight(&self) -> usize {
        1
    }

    /// Whether nobody waits for it in a hurry: it then waits a moment for others to commit with.
    fn patient(&self) -> bool {
        false
    }

    /// Names the rows it will read.
    fn needs(&self, needs: &mut Needs);

    /// Changes the draft. Refuses before its first change, or not at all. Called again when the
    /// transaction is repeated.
    fn plan(&self, draft: &mut Draft) -> Result<Self::Output, StoreError>;
}

/// A rare write with statements of its own.
#[async_trait]
pub(crate) trait Direct: Send + Sync + 'static {
    type Output: Send;

    /// Runs inside the transaction. Refuses before its first change, or not at all; a `Failure` undoes
    /// the transaction. Called again when the transaction is repeated.
    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Self::Output, StoreError>, Failure>;
}

/// A unit in the queue. Dropped without an answer only when the writer itself is gone, which its
/// caller sees.
pub(crate) enum Unit {
    Planned(Box<dyn PlannedUnit>),
    Direct(Box<dyn DirectUnit>),
}

impl Unit {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Planned(unit) => unit.weight(),
            Self::Direct(_) => 1,
        }
    }

    pub(crate) fn patient(&self) -> bool {
        match self {
            Self::Planned(unit) => unit.patient(),
            Self::Direct(_) => false,
        }
    }

    /// Answers with what the last run gave.
    pub(crate) fn answer(self) {
        match self {
            Self::Planned(unit) => unit.answer(None),
            Self::Direct(unit) => unit.answer(None),
        }
    }

    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::Planned(unit) => unit.answer(Some(error)),
            Self::Direct(unit) => unit.answer(Some(error)),
        }
    }
}

/// [`Planned`] with its output's type hidden.
pub(crate) trait PlannedUnit: Send {
    fn weight(&self) -> usize;
    fn patient(&self) -> bool;
    fn needs(&self, needs: &mut Needs);
    fn plan(&mut self, draft: &mut Draft);
    fn answer(self: Box<Self>, error: Option<StoreError>);
}

/// [`Direct`] with its output's type hidden.
#[async_trait]
pub(crate) trait DirectUnit: Send {
    async fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure>;
    fn answer(self: Box<Self>, error: Option<StoreError>);
}

pub(crate) type Answer<T> = Result<T, StoreError>;

/// A write, what its last run gave, and where the answer goes.
struct Job<W, T> {
    write: W,
    result: Option<Answer<T>>,
    reply: oneshot::Sender<Answer<T>>,
}

impl<W, T> Job<W, T> {
    fn send(self, error: Option<StoreError>) {
        let result = match error {
            Some(error) => Err(error),
            None => self
                .result
                .unwrap_or_else(|| Err(StoreError::Unavailable("the write was not run".to_owned()))),
        };
        // A caller that has gone away does not want the answer.
        let _ = self.reply.send(result);
    }
}

impl<W: Planned> PlannedUnit for Job<W, W::Output> {
    fn weight(&self) -> usize {
        self.write.weight()
    }

    fn patient(&self) -> bool {
        self.write.patient()
    }

    fn needs(&self, needs: &mut Needs) {
        self.write.needs(needs);
    }

    fn plan(&mut self, draft: &mut Draft) {
        self.result = Some(self.write.plan(draft));
    }

    fn answer(self: Box<Self>, error: Option<StoreError>) {
        (*self).send(error);
    }
}

#[async_trait]
impl<W: Direct> DirectUnit for Job<W, W::Output> {
    async fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        self.result = Some(self.write.run(transaction).await?);
        Ok(())
    }

    fn answer(self: Box<Self>, error: Option<StoreError>) {
        (*self).send(error);
    }
}

/// A unit of a shared write, and where its answer will come.
pub(crate) fn planned<W: Planned>(write: W) -> (Unit, oneshot::Receiver<Answer<W::Output>>) {
    let (reply, answer) = oneshot::channel();
    (
        Unit::Planned(Box::new(Job {
            write,
            result: None,
            reply,
        })),
        answer,
    )
}

/// A unit of a write of its own, and where its answer will come.
pub(crate) fn direct<W: Direct>(write: W) -> (Unit, oneshot::Receiver<Answer<W::Output>>) {
    let (reply, answer) = oneshot::channel();
    (
        Unit::Direct(Box::new(Job {
            write,
            result: None,
            reply,
        })),
        answer,
    )
}
