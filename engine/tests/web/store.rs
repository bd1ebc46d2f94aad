//! How often the store is written: what the node's writer has to carry.

use std::time::Duration;

use roost_domain::store::{Collection, StateOp};
use serde_json::json;

use crate::support::PATIENCE;
use crate::world::{Open, World, outgoing};

fn touches_session(unit: &[StateOp]) -> bool {
    unit.iter().any(|op| {
        matches!(
            op,
            StateOp::Put {
                collection: Collection::Session,
                ..
            }
        )
    })
}

/// Waits until the session was stored, and returns everything that was stored up to then.
async fn units_with_session(world: &World) -> Vec<Vec<StateOp>> {
    let mut units = Vec::new();
    let stored = async {
        while !units.iter().any(|unit: &Vec<StateOp>| touches_session(unit)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            units.extend(world.state.take_units());
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.unwrap();
    units
}

async fn send(open: &Open, id: &str) {
    open.link.send(&outgoing(id, "text")).await.unwrap();
}

/// Repeats something until it costs one unit: a link that has just come up still stores what it
/// learns, and makes a session with the first messages.
async fn settles_at_one_unit<F: Future<Output = ()>>(
    world: &World,
    what: impl Fn(usize) -> F,
) -> Vec<StateOp> {
    let mut seen = Vec::new();
    for n in 0..50 {
        world.state.take_units();
        what(n).await;
        seen = units_with_session(world).await;
        if seen.len() == 1 {
            return seen.remove(0);
        }
    }
    panic!("it never cost one unit: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_a_known_chat_costs_one_unit() {
    let world = World::new().await;
    let open = world.paired().await;
    let sent = settles_at_one_unit(&world, |n| {
        let open = &open;
        async move { send(open, &format!("3EB0{n:04}")).await }
    })
    .await;
    let kept = |op: &&StateOp| {
        matches!(
            op,
            StateOp::Put {
                collection: Collection::SentMessage,
                ..
            }
        )
    };
    assert_eq!(
        sent.iter().filter(kept).count(),
        1,
        "kept for retries, in the same unit"
    );

    settles_at_one_unit(&world, |_| async {
        let id = world.friend_sends(json!({"text": "text"})).await;
        open.said
            .message("the text", |inbound| inbound.whatsapp_id == id)
            .await;
    })
    .await;
    // What the last message left to be cleared away rides with the next write: here, the closing one.
    open.link.close().await;
    assert_eq!(world.state.count(world.owner, Collection::PendingInbound), 0);
}
