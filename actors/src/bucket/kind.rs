//! How the registry of buckets starts and stops their actors.

use std::sync::Arc;

use ractor::{Actor, ActorCell, SpawnErr};
use roost_domain::Epoch;
use roost_domain::limit::BucketKey;
use roost_domain::page::Page;
use roost_domain::slot::Slot;
use tokio::sync::Semaphore;

use super::BucketNode;
use super::actor::{BucketActor, BucketState};
use super::cell::BucketCell;
use super::message::BucketMessage;
use crate::post::Post;
use crate::registry::{Child, EnabledPage, Kind, Start};

/// The kind of actor that owns a bucket.
pub(crate) struct BucketKind {
    pub(crate) shared: Arc<BucketNode>,
}

/// What callers need of a live bucket.
pub(crate) struct LiveBucket {
    pub(super) cell: Arc<BucketCell>,
    pub(super) post: Post<BucketMessage>,
    /// One caller at a time asks the actor; the others mostly find the lease that it got.
    pub(super) turn: Arc<Semaphore>,
}

impl Kind for BucketKind {
    const NAME: &'static str = "bucket";
    const REGISTRY: &'static str = "buckets";
    type Key = BucketKey;
    type Seed = ();
    type Handle = Arc<LiveBucket>;

    fn slot(&self, key: BucketKey) -> Option<Slot> {
        (!key.is_of_each_node()).then(|| Slot::of_bucket(key))
    }

    async fn spawn(
        &self,
        start: Start<BucketKey, ()>,
        supervisor: ActorCell,
    ) -> Result<Child<Arc<LiveBucket>>, SpawnErr> {
        let Start { key, epoch, meta, .. } = start;
        let cell = Arc::new(BucketCell::new(Arc::clone(&self.shared.uptime)));
        let arguments = BucketState {
            shared: Arc::clone(&self.shared),
            cell: Arc::clone(&cell),
            meta: Arc::clone(&meta),
        };
        let (actor, join) = BucketActor::spawn_linked(None, BucketActor, arguments, supervisor).await?;
        let actor_cell = actor.get_cell();
        meta.started(actor_cell.clone(), self.slot(key).map(|_| epoch), None);
        meta.counts_in(Arc::clone(&cell));
        let handle = Arc::new(LiveBucket {
            cell,
            post: Post::new(actor, meta),
            turn: Arc::new(Semaphore::new(1)),
        });
        Ok(Child {
            handle,
            cell: actor_cell,
            join,
        })
    }

    fn ask_to_stop(&self, handle: &Arc<LiveBucket>, _succeeded: bool) {
        handle.cell.retire();
        // One that is gone has stopped.
        let _ = handle.post.cast(BucketMessage::Shutdown);
    }

    /// A bucket is started by the first call that takes from it.
    async fn enabled(&self, _: &[Slot], _: Option<BucketKey>) -> EnabledPage<BucketKey, ()> {
        let (rows, next) = (Vec::new(), None);
        Ok(Page { rows, next })
    }

    /// The next call starts it again, full.
    async fn stopped(&self, _: BucketKey, (): (), _: Epoch) {}
}
