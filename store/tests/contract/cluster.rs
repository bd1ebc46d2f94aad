//! Leases of nodes and owners of slots, on PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use roost_domain::cluster::{LOCAL_NODE, Member, Membership, MembershipError, NodeCard, NodeName};
use roost_domain::store::Node;
use roost_domain::{Epoch, Slot};
use roost_store::{MembershipLimits, PgMembership};

use crate::fixture::Fixture;

/// Longer than any test runs.
pub const TTL: Duration = Duration::from_secs(3600);

pub fn membership(f: &Fixture) -> PgMembership {
    let limits = MembershipLimits {
        renew: Duration::from_secs(30),
        call: Duration::from_secs(30),
    };
    PgMembership::new(&f.config, limits).unwrap()
}

pub fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

pub fn card(node: &str) -> NodeCard {
    NodeCard {
        node: name(node),
        address: format!("{node}:7700"),
        http_address: format!("{node}:8080"),
        version: "1.2.3".to_owned(),
    }
}

pub async fn join(m: &PgMembership, node: &str) -> Member {
    m.register(&card(node), TTL).await.unwrap()
}

/// Lets a lease expire now.
pub async fn expire(f: &Fixture, node: &str) {
    f.sql(&format!(
        "UPDATE node_lease SET expires_at = clock_timestamp() WHERE node = '{node}'"
    ))
    .await;
}

pub fn slots(numbers: impl IntoIterator<Item = u16>) -> Vec<Slot> {
    numbers
        .into_iter()
        .map(|number| Slot::from_number(number).unwrap())
        .collect()
}

fn taken(claimed: &[(Slot, Epoch)]) -> Vec<Slot> {
    let mut taken: Vec<_> = claimed.iter().map(|(slot, _)| *slot).collect();
    taken.sort();
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_view_shows_what_nodes_said_and_what_they_own() {
    let f = Fixture::postgres().await;
    let m = membership(&f);
    assert!(m.view().await.unwrap().nodes.is_empty());
    let (a, b) = (join(&m, "a").await, join(&m, "b").await);
    assert!(a.incarnation < b.incarnation);
    let claimed = m.claim(&a, &slots(0..3)).await.unwrap();
    assert_eq!(taken(&claimed), slots(0..3));
    m.release(&a, &slots([1, 7])).await.unwrap();
    assert!(m.set_draining(&b.node, true).await.unwrap());
    assert!(!m.set_draining(&name("c"), true).await.unwrap());
    let view = m.view().await.unwrap();
    let lease = &view.nodes[&b.node];
    assert_eq!((&lease.card, lease.incarnation), (&card("b"), b.incarnation));
    assert!(lease.is_live() && lease.draining && lease.expires_in.unwrap() <= TTL);
    assert!(!view.nodes[&a.node].draining);
    let owners: Vec<_> = view
        .slots
        .iter()
        .map(|(slot, owner)| (slot.number(), owner.member.clone(), owner.epoch))
        .collect();
    let epoch = claimed[0].1;
    assert_eq!(
        owners,
        [
            (0, Some(a.clone()), epoch),
            (1, None, epoch),
            (2, Some(a.clone()), epoch)
        ]
    );
    assert!(m.set_draining(&b.node, false).await.unwrap());
    m.leave(&b).await.unwrap();
    let view = m.view().await.unwrap();
    assert_eq!(view.nodes.keys().collect::<Vec<_>>(), [&a.node]);
    assert_eq!(m.renew(&b, TTL).await, Err(MembershipError::Lost));
    m.leave(&b).await.unwrap();
    assert!(
        join(&m, "b").await.incarnation > b.incarnation,
        "no life has the number of another"
    );
}

/// Who has each slot, as those believe who claimed it, and the last epoch of each.
struct Owners {
    holders: Vec<AtomicI64>,
    epochs: Vec<AtomicI64>,
}

impl Owners {
    fn take(&self, who: i64, claimed: &[(Slot, Epoch)]) {
        for (slot, epoch) in claimed {
            let at = usize::from(slot.number());
            let before = self.holders[at].swap(who, Ordering::SeqCst);
            assert_eq!(before, 0, "slot {at} has two owners");
            let earlier = self.epochs[at].swap(epoch.0, Ordering::SeqCst);
            assert!(
                earlier < epoch.0,
                "slot {at} went from epoch {earlier} to {epoch:?}"
            );
        }
    }

    fn give(&self, slots: &[Slot]) {
        for slot in slots {
            self.holders[usize::from(slot.number())].store(0, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_nodes_that_race_for_slots_one_wins_each_and_epochs_grow() {
    const NODES: i64 = 8;
    const ROUNDS: u16 = 25;
    let f = Fixture::postgres().await;
    let f = Arc::new(f);
    let owners = Arc::new(Owners {
        holders: (0..1024).map(|_| AtomicI64::new(0)).collect(),
        epochs: (0..1024).map(|_| AtomicI64::new(0)).collect(),
    });
    let races = (1..=NODES).map(|who| {
        let (f, owners) = (f.clone(), owners.clone());
        tokio::spawn(async move {
            let m = membership(&f);
            let me = join(&m, &format!("n{who}")).await;
            let mut won = 0;
            for round in 0..ROUNDS {
                let before = f.store.next_epoch().await.unwrap();
                // Each in another order, so that they would wait for each other in circles.
                let from = round * 40 + 128 * who as u16;
                let wanted = slots((0..1024).map(|n| (n + from) % 1024));
                let claimed = m.claim(&me, &wanted).await.unwrap();
                owners.take(who, &claimed);
                assert!(claimed.iter().all(|(_, epoch)| *epoch > before));
                let after = f.store.next_epoch().await.unwrap();
                assert!(claimed.iter().all(|(_, epoch)| *epoch < after));
                won += claimed.len();
                // Some rounds keep a part, for which the others then ask in vain.
                let mut mine = taken(&claimed);
                mine.truncate(mine.len() - usize::from(round % 3) * mine.len() / 8);
                owners.give(&mine);
                m.release(&me, &mine).await.unwrap();
            }
            // What was kept is seen as kept.
            let view = m.view().await.unwrap();
            let kept: Vec<_> = view
                .slots
                .iter()
                .filter(|(_, owner)| owner.member.as_ref() == Some(&me))
                .map(|(slot, _)| *slot)
                .collect();
            for slot in &kept {
                let holder = &owners.holders[usize::from(slot.number())];
                assert_eq!(holder.load(Ordering::SeqCst), who);
            }
            owners.give(&kept);
            m.leave(&me).await.unwrap();
            won
        })
    });
    let won: Vec<_> = join_all(races).await.into_iter().map(Result::unwrap).collect();
    assert!(won.iter().filter(|won| **won > 0).count() > 1, "{won:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_expired_lease_is_taken_over_and_never_revived() {
    let f = Fixture::postgres().await;
    let m = membership(&f);
    let (a, b) = (join(&m, "a").await, join(&m, "b").await);
    let first = m.claim(&a, &slots(0..10)).await.unwrap();
    assert!(m.claim(&b, &slots(0..10)).await.unwrap().is_empty());
    expire(&f, "a").await;
    let lost = Err(MembershipError::Lost);
    assert_eq!(m.renew(&a, TTL).await, lost);
    assert_eq!(m.claim(&a, &slots(0..20)).await, Err(MembershipError::Lost));
    let view = m.view().await.unwrap();
    assert!(!view.nodes[&a.node].is_live());
    assert!(view.slots.len() == 10, "a node without a lease takes nothing");
    let second = m.claim(&b, &slots(5..10)).await.unwrap();
    assert_eq!(taken(&second), slots(5..10));
    assert!(second[0].1 > first[0].1);
    // What the zombie does has no effect.
    assert_eq!(m.renew(&a, TTL).await, lost);
    m.release(&a, &slots(5..10)).await.unwrap();
    let view = m.view().await.unwrap();
    assert_eq!(view.slots[&slots([5])[0]].member, Some(b.clone()));
    // It comes back as another, which has nothing of what it had.
    let again = join(&m, "a").await;
    assert!(again.incarnation > a.incarnation);
    assert_eq!(m.renew(&a, TTL).await, lost);
    assert_eq!(taken(&m.claim(&again, &slots(0..10)).await.unwrap()), slots(0..5));
    m.renew(&again, TTL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_is_taken_while_its_lease_lives_except_at_the_same_address() {
    let f = Fixture::postgres().await;
    let m = membership(&f);
    let first = join(&m, "a").await;
    m.claim(&first, &slots(0..4)).await.unwrap();
    let elsewhere = NodeCard {
        address: "elsewhere:7700".to_owned(),
        ..card("a")
    };
    let taken_error = Err(MembershipError::NameTaken {
        node: name("a"),
        address: "a:7700".to_owned(),
    });
    assert_eq!(m.register(&elsewhere, TTL).await, taken_error);
    m.renew(&first, TTL).await.unwrap();
    // Whoever has its port is its successor.
    let second = join(&m, "a").await;
    assert!(second.incarnation > first.incarnation);
    assert_eq!(m.renew(&first, TTL).await, Err(MembershipError::Lost));
    assert_eq!(m.claim(&first, &slots(4..8)).await, Err(MembershipError::Lost));
    let claimed = m.claim(&second, &slots(0..4)).await.unwrap();
    assert_eq!(taken(&claimed), slots(0..4));
    expire(&f, "a").await;
    m.register(&elsewhere, TTL).await.unwrap();
    let view = m.view().await.unwrap();
    assert_eq!(view.nodes[&name("a")].card, elsewhere);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_nodes_that_race_for_a_name_one_has_it() {
    let f = Arc::new(Fixture::postgres().await);
    let races = (0..8).map(|n| {
        let f = f.clone();
        tokio::spawn(async move {
            let card = NodeCard {
                address: format!("host-{n}:7700"),
                ..card("a")
            };
            membership(&f).register(&card, TTL).await
        })
    });
    let outcomes: Vec<_> = join_all(races).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let taken = |outcome: &&Result<_, _>| matches!(outcome, Err(MembershipError::NameTaken { .. }));
    assert_eq!(outcomes.iter().filter(taken).count(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gateway_outside_of_a_cluster_is_alone() {
    let f = Fixture::postgres().await;
    let m = membership(&f);
    let local = join(&m, LOCAL_NODE).await;
    let not_alone = |node: &str| {
        Err(MembershipError::NotAlone {
            node: name(node),
            address: format!("{node}:7700"),
        })
    };
    let second = NodeCard {
        address: "other:8080".to_owned(),
        ..card(LOCAL_NODE)
    };
    let refused = m.register(&second, TTL).await;
    assert_eq!(refused, not_alone(LOCAL_NODE));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("local at local:7700"), "{text}");
    assert_eq!(m.register(&card("a"), TTL).await, not_alone(LOCAL_NODE));
    // The same again after a crash.
    let local = {
        let next = join(&m, LOCAL_NODE).await;
        assert!(next.incarnation > local.incarnation);
        next
    };
    m.leave(&local).await.unwrap();
    join(&m, "a").await;
    join(&m, "b").await;
    assert_eq!(m.register(&card(LOCAL_NODE), TTL).await, not_alone("a"));
    expire(&f, "a").await;
    expire(&f, "b").await;
    join(&m, LOCAL_NODE).await;
    // A mixture cannot come about by a race either.
    expire(&f, LOCAL_NODE).await;
    let (one, other) = (membership(&f), membership(&f));
    let (local, node) = (card(LOCAL_NODE), card("c"));
    let (local, node) = tokio::join!(one.register(&local, TTL), other.register(&node, TTL));
    assert_ne!(local.is_ok(), node.is_ok(), "{local:?} {node:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_was_laid_out_otherwise_is_not_joined() {
    let f = Fixture::postgres().await;
    let m = membership(&f);
    f.sql("UPDATE cluster_layout SET slots = 4096").await;
    let Err(MembershipError::Layout(text)) = m.register(&card("a"), TTL).await else {
        panic!("joined")
    };
    assert_eq!(
        text,
        "the database has 4096 slots by xxh3_64, this release 1024 slots by xxh3_64"
    );
    assert!(m.view().await.unwrap().nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_are_gone_for_long_and_own_nothing_are_forgotten() {
    let f = Fixture::postgres().await;
    let m = membership(&f);
    let (a, _, _) = (join(&m, "a").await, join(&m, "b").await, join(&m, "c").await);
    m.claim(&a, &slots([3])).await.unwrap();
    f.sql("UPDATE node_lease SET expires_at = clock_timestamp() - interval '2 days' WHERE node <> 'c'")
        .await;
    join(&m, "d").await;
    let view = m.view().await.unwrap();
    let names: Vec<_> = view.nodes.keys().map(NodeName::as_str).collect();
    assert_eq!(names, ["a", "c", "d"]);
}
