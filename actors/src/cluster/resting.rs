//! Ends a tenant's actors on other nodes, and says when that is done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roost_domain::TenantId;
use roost_domain::peer::{Kind, Peers, WireError};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::residents::Residents;
use crate::rest::Rest;

/// What an answer takes besides the time in which actors have to end.
const ROUND_TRIP: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
struct Order {
    tenant: TenantId,
    rest: Rest,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    /// Nothing of the tenant runs on the node.
    rests: bool,
}

/// Has every other node end a tenant's actors. `true` when all of them have.
pub(crate) async fn order(peers: &Arc<dyn Peers>, tenant: TenantId, rest: Rest, time: Duration) -> bool {
    // Two texts: MessagePack can always write them.
    let body = Bytes::from(rmp_serde::to_vec_named(&Order { tenant, rest }).unwrap_or_default());
    let deadline = std::time::Instant::now() + time + ROUND_TRIP;
    let mut orders = JoinSet::new();
    for peer in peers.peers() {
        let (peers, body) = (Arc::clone(peers), body.clone());
        orders.spawn(async move {
            let answer = peers.call(&peer.node, Kind::REST, body, deadline).await;
            match answer.map(|answer| rmp_serde::from_slice(&answer)) {
                Ok(Ok(Answer { rests })) => rests,
                Ok(Err(error)) => {
                    tracing::warn!(node = %peer.node, %error, "another node's answer cannot be read");
                    false
                }
                Err(error) => {
                    tracing::warn!(node = %peer.node, %error, "another node does not say whether a tenant's actors have ended");
                    false
                }
            }
        });
    }
    orders.join_all().await.into_iter().all(|rests| rests)
}

/// Carries such an order out.
pub(crate) async fn obey(residents: &Arc<Residents>, body: &[u8]) -> Result<Bytes, WireError> {
    let order = rmp_serde::from_slice(body).map_err(|error| WireError::Bad(error.to_string()))?;
    let Order { tenant, rest } = order;
    let (of, tasks) = (Arc::clone(residents), &residents.node.tasks);
    // It goes on to its end when the call is given up.
    let rests = tasks.spawn(async move { of.rest(tenant, rest).await }).await;
    let rests = rests.map_err(|error| WireError::Failed(error.to_string()))?;
    Ok(rmp_serde::to_vec_named(&Answer { rests })
        .unwrap_or_default()
        .into())
}
