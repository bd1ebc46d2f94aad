//! What is asked of the owner of a bucket, as nodes of a cluster send it to each other.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use roost_domain::Slot;
use roost_domain::limit::{BucketKey, Quota, Taken};
use roost_domain::peer::{Kind, WireError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::handle::Buckets;
use super::kind::BucketKind;
use super::machine::lent_max;
use crate::CallError;
use crate::cluster::route::{self, Ask, Desk};
use crate::node::NodeContext;
use crate::registry::Kind as _;

/// Everything that is asked of the owner of a bucket. Names and forms are spoken between releases.
#[derive(Serialize, Deserialize)]
pub(crate) enum BucketAsk {
    Take(TakeAsk),
    /// What is left of what was lent comes back.
    Back(Vec<(BucketKey, NonZeroU32)>),
}

/// Take so many, and lend more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TakeAsk {
    pub key: BucketKey,
    pub quota: Quota,
    pub count: NonZeroU32,
    /// How many more the calling node would use at once.
    pub want: u32,
    /// How many of what it was lent before come back.
    pub back: u32,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lent {
    pub taken: Taken,
    /// How many more were taken, for the calling node to spend.
    pub lent: u32,
}

impl From<TakeAsk> for BucketAsk {
    fn from(ask: TakeAsk) -> Self {
        Self::Take(ask)
    }
}

impl Desk for Buckets {
    const KIND: Kind = Kind::BUCKET;
    const WHAT: &'static str = BucketKind::NAME;
    type Wire = BucketAsk;

    fn node(&self) -> &Arc<NodeContext> {
        &self.parts.node
    }

    async fn obey(&self, asked: BucketAsk, given_up: std::time::Instant) -> Result<Bytes, WireError> {
        match asked {
            BucketAsk::Take(ask) => route::answer(self, ask, given_up).await,
            BucketAsk::Back(left) => {
                // One that is not here any more is full where it is now.
                for (key, count) in left {
                    self.give_back_here(key, count);
                }
                Ok(Bytes::new())
            }
        }
    }
}

impl Ask for TakeAsk {
    type Desk = Buckets;
    type Answer = Lent;

    fn slot(&self) -> Slot {
        Slot::of_bucket(self.key)
    }

    fn repeats(&self) -> bool {
        false
    }

    async fn carry_out(self, desk: &Buckets, deadline: Instant) -> Result<Lent, CallError> {
        if let Some(back) = NonZeroU32::new(self.back) {
            desk.give_back_here(self.key, back);
        }
        let lease_max = desk.parts.shared.settings.lease_max;
        let lent = self.want.min(lent_max(self.quota, lease_max));
        let take = async {
            let both = self.count.saturating_add(lent);
            let taken = desk.take_here(self.key, self.quota, both).await;
            match taken {
                Some(taken @ Taken::Granted(_)) => Some(Lent { taken, lent }),
                Some(Taken::Refused { .. }) if lent > 0 => {
                    let taken = desk.take_here(self.key, self.quota, self.count).await?;
                    Some(Lent { taken, lent: 0 })
                }
                refused => Some(Lent {
                    taken: refused?,
                    lent: 0,
                }),
            }
        };
        let taken = timeout_at(deadline, take).await.map_err(|_| CallError::Timeout)?;
        taken.ok_or_else(|| CallError::unavailable("the bucket cannot run"))
    }
}
