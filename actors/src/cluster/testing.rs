//! Rows of nodes and slots in memory, with faults, for tests. Its clock is tokio's.

mod net;
mod node;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::cluster::{
    ClusterView, Member, Membership, MembershipError, NodeCard, NodeLease, NodeName, SlotOwner,
};
use roost_domain::store::StoreError;
use roost_domain::{Epoch, Slot};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::net::TestNet;
pub use self::node::{Node, settings, settled};
use super::UpTime;

pub fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

pub fn card(node: &str, address: &str) -> NodeCard {
    NodeCard {
        node: name(node),
        address: address.into(),
        http_address: String::new(),
        version: "1".into(),
    }
}

/// A node that has lived for a minute and has just renewed a lease of 15 s.
pub fn live(node: &str, incarnation: i64) -> NodeLease {
    NodeLease {
        card: card(node, node),
        incarnation,
        expires_in: Some(Duration::from_secs(15)),
        age: Duration::from_secs(60),
        draining: false,
    }
}

/// A clock that goes with tokio's, and can jump ahead of it as that of a host that was asleep.
pub struct TestClock {
    start: Instant,
    asleep: AtomicU64,
}

impl TestClock {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            asleep: AtomicU64::new(1),
        }
    }

    pub fn sleeps(&self, millis: u64) {
        self.asleep.fetch_add(millis, Ordering::SeqCst);
    }
}

impl UpTime for TestClock {
    fn now(&self) -> Duration {
        self.start.elapsed() + Duration::from_millis(self.asleep.load(Ordering::SeqCst))
    }
}

#[derive(Clone)]
struct Row {
    card: NodeCard,
    incarnation: i64,
    expires: Instant,
    registered: Instant,
    draining: bool,
}

impl Row {
    fn is_live(&self) -> bool {
        Instant::now() < self.expires
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Calls fail at once.
    Refuses,
    /// Calls are carried out, and are not answered for this time.
    Slow(Duration),
    /// Calls are not carried out, and never answered.
    Silent,
    /// Claims are carried out, and fail.
    LosesClaims,
    /// Whoever reads the rows panics.
    BreaksReaders,
}

#[derive(Default)]
struct Rows {
    nodes: BTreeMap<NodeName, Row>,
    slots: BTreeMap<Slot, SlotOwner>,
    counter: i64,
    registrations: usize,
    renewals: usize,
}

pub struct TestMembership {
    rows: Mutex<Rows>,
    fault: Mutex<Fault>,
    changed: Notify,
}

impl TestMembership {
    pub fn new() -> Self {
        Self {
            rows: Mutex::default(),
            fault: Mutex::new(Fault::None),
            changed: Notify::new(),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    pub fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub fn registrations(&self) -> usize {
        self.rows().registrations
    }

    pub fn renewals(&self) -> usize {
        self.rows().renewals
    }

    pub fn has(&self, node: &str) -> bool {
        self.rows().nodes.contains_key(&name(node))
    }

    /// Whether the database would let others take over from this life.
    pub fn is_live(&self, me: &Member) -> bool {
        Self::alive(&self.rows(), me)
    }

    /// Ends a lease, as a takeover by another process of that name does.
    pub fn expire(&self, node: &str) {
        if let Some(row) = self.rows().nodes.get_mut(&name(node)) {
            row.expires = Instant::now();
        }
        self.changed.notify_waiters();
    }

    fn alive(rows: &Rows, me: &Member) -> bool {
        let row = rows.nodes.get(&me.node);
        row.is_some_and(|row| row.is_live() && row.incarnation == me.incarnation)
    }

    async fn answer<T>(&self, act: impl FnOnce(&mut Rows) -> T) -> Result<T, MembershipError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::Refuses => return Err(gone()),
            Fault::Silent => std::future::pending().await,
            Fault::None | Fault::LosesClaims | Fault::BreaksReaders | Fault::Slow(_) => {}
        }
        let value = act(&mut self.rows());
        if let Fault::Slow(time) = fault {
            tokio::time::sleep(time).await;
        }
        Ok(value)
    }
}

fn gone() -> MembershipError {
    MembershipError::Store(StoreError::Unavailable("as the test wants".to_owned()))
}

#[async_trait]
impl Membership for TestMembership {
    async fn register(&self, card: &NodeCard, ttl: Duration) -> Result<Member, MembershipError> {
        let registered = self
            .answer(|rows| {
                if let Some(row) = rows.nodes.get(&card.node)
                    && row.is_live()
                    && row.card.address != card.address
                {
                    return Err(MembershipError::NameTaken {
                        node: card.node.clone(),
                        address: row.card.address.clone(),
                    });
                }
                rows.registrations += 1;
                rows.counter += 1;
                let (incarnation, now) = (rows.counter, Instant::now());
                let row = Row {
                    card: card.clone(),
                    incarnation,
                    expires: now + ttl,
                    registered: now,
                    draining: false,
                };
                rows.nodes.insert(card.node.clone(), row);
                Ok(Member {
                    node: card.node.clone(),
                    incarnation,
                })
            })
            .await?;
        self.changed.notify_waiters();
        registered
    }

    async fn renew(&self, me: &Member, ttl: Duration) -> Result<(), MembershipError> {
        self.answer(|rows| {
            if !Self::alive(rows, me) {
                return Err(MembershipError::Lost);
            }
            rows.renewals += 1;
            if let Some(row) = rows.nodes.get_mut(&me.node) {
                row.expires = Instant::now() + ttl;
            }
            Ok(())
        })
        .await?
    }

    async fn view(&self) -> Result<ClusterView, MembershipError> {
        let breaks = *self.fault.lock().unwrap() == Fault::BreaksReaders;
        assert!(!breaks, "as the test wants");
        self.answer(|rows| {
            let lease = |row: &Row| NodeLease {
                card: row.card.clone(),
                incarnation: row.incarnation,
                expires_in: row.is_live().then(|| row.expires - Instant::now()),
                age: row.registered.elapsed(),
                draining: row.draining,
            };
            let nodes = rows.nodes.iter().map(|(node, row)| (node.clone(), lease(row)));
            ClusterView {
                nodes: nodes.collect(),
                slots: rows.slots.clone(),
            }
        })
        .await
    }

    async fn claim(&self, me: &Member, slots: &[Slot]) -> Result<Vec<(Slot, Epoch)>, MembershipError> {
        let taken = self
            .answer(|rows| {
                if !Self::alive(rows, me) {
                    return Err(MembershipError::Lost);
                }
                rows.counter += 1;
                let epoch = Epoch(rows.counter);
                let mut taken = Vec::new();
                for &slot in slots {
                    let owner = rows.slots.get(&slot).and_then(|owner| owner.member.clone());
                    if !owner.is_some_and(|owner| Self::alive(rows, &owner)) {
                        let member = Some(me.clone());
                        rows.slots.insert(slot, SlotOwner { member, epoch });
                        taken.push((slot, epoch));
                    }
                }
                Ok(taken)
            })
            .await?;
        self.changed.notify_waiters();
        if *self.fault.lock().unwrap() == Fault::LosesClaims {
            return Err(gone());
        }
        taken
    }

    async fn release(&self, me: &Member, slots: &[Slot]) -> Result<(), MembershipError> {
        self.answer(|rows| {
            for slot in slots {
                if let Some(owner) = rows.slots.get_mut(slot)
                    && owner.member.as_ref() == Some(me)
                {
                    owner.member = None;
                }
            }
        })
        .await?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn set_draining(&self, node: &NodeName, draining: bool) -> Result<bool, MembershipError> {
        let found = self
            .answer(|rows| {
                let row = rows.nodes.get_mut(node);
                row.map(|row| row.draining = draining).is_some()
            })
            .await?;
        self.changed.notify_waiters();
        Ok(found)
    }

    async fn leave(&self, me: &Member) -> Result<(), MembershipError> {
        self.answer(|rows| {
            if rows
                .nodes
                .get(&me.node)
                .is_some_and(|row| row.incarnation == me.incarnation)
            {
                rows.nodes.remove(&me.node);
            }
        })
        .await?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn changed(&self) -> Result<(), MembershipError> {
        self.changed.notified().await;
        Ok(())
    }
}
