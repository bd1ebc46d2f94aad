//! Who owns each slot, as far as a node of a cluster knows.
//!
//! The steward writes what it has read and taken; everybody reads, without a call. What is not known is
//! nowhere. The rows in the database decide; a node that is behind is told by the fence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use roost_domain::Epoch;
use roost_domain::cluster::{ClusterView, Lease, NodeName};
use roost_domain::slot::{Place, Placement, Slot};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A slot that is not this node's. No claim has this epoch.
const NOT_OURS: i64 = 0;

/// The node that a slot belongs to by its hash, of several: the one that draws the highest number. When a
/// node comes or goes, only its own slots move.
pub(crate) fn rendezvous<'a>(slot: Slot, nodes: &[&'a NodeName]) -> Option<&'a NodeName> {
    let draw = |node: &NodeName| xxh3_64_with_seed(node.as_str().as_bytes(), u64::from(slot.number()));
    nodes.iter().copied().max_by_key(|node| (draw(node), *node))
}

/// See the module.
pub struct ClusterPlacement {
    node: NodeName,
    lease: Arc<dyn Lease>,
    own: Box<[AtomicI64]>,
    /// Incarnation under which slots are taken now.
    life: Mutex<Option<i64>>,
    others: RwLock<Vec<Option<NodeName>>>,
    /// How often anything here has changed.
    changes: watch::Sender<u64>,
}

impl ClusterPlacement {
    /// Nothing is known yet.
    pub fn new(node: NodeName, lease: Arc<dyn Lease>) -> Self {
        let count = usize::from(Slot::COUNT);
        Self {
            node,
            lease,
            own: (0..count).map(|_| AtomicI64::new(NOT_OURS)).collect(),
            life: Mutex::default(),
            others: RwLock::new(vec![None; count]),
            changes: watch::Sender::new(0),
        }
    }

    /// Hears of changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn own(&self, slot: Slot) -> Option<&AtomicI64> {
        self.own.get(usize::from(slot.number()))
    }

    /// A life begins, without any slot.
    pub(super) fn begin(&self, incarnation: i64) {
        self.turn_over(Some(incarnation));
    }

    /// Nothing is here any more, and nothing comes until the next life begins.
    pub(crate) fn end(&self) {
        self.turn_over(None);
    }

    fn turn_over(&self, next: Option<i64>) {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        *life = next;
        self.own
            .iter()
            .for_each(|epoch| epoch.store(NOT_OURS, Ordering::Release));
        drop(life);
        self.changed();
    }

    /// The life under which slots are taken now.
    pub(super) fn life(&self) -> Option<i64> {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots are here from now on. `false` when the life that took them is over.
    pub(super) fn take(&self, incarnation: i64, slots: &[(Slot, Epoch)]) -> bool {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        if *life != Some(incarnation) {
            return false;
        }
        for &(slot, epoch) in slots {
            if let Some(own) = self.own(slot) {
                own.store(epoch.0, Ordering::Release);
            }
        }
        drop(life);
        self.changed();
        true
    }

    /// Slots are not here any more: nothing is started in them.
    pub(super) fn close(&self, slots: impl IntoIterator<Item = Slot>) {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        for own in slots.into_iter().filter_map(|slot| self.own(slot)) {
            own.store(NOT_OURS, Ordering::Release);
        }
        drop(life);
        self.changed();
    }

    /// The slots that are here.
    pub(crate) fn owned(&self) -> BTreeMap<Slot, Epoch> {
        let here = |slot: Slot| match self.place(slot) {
            Place::Here(epoch) => Some((slot, epoch)),
            _ => None,
        };
        Slot::all().filter_map(here).collect()
    }

    /// How many nodes own something, and this one.
    pub(super) fn nodes(&self) -> usize {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<&NodeName> = others.iter().flatten().collect();
        names.len() + 1
    }

    /// Learns what others own.
    pub(super) fn learn(&self, view: &ClusterView) {
        let mut owners = vec![None; usize::from(Slot::COUNT)];
        for (slot, owner) in &view.slots {
            let Some(member) = super::plan::live_owner(view, owner) else {
                continue;
            };
            if let Some(owner) = owners.get_mut(usize::from(slot.number()))
                && member.node != self.node
            {
                *owner = Some(member.node.clone());
            }
        }
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        if *others != owners {
            *others = owners;
            drop(others);
            self.changed();
        }
    }
}

impl Placement for ClusterPlacement {
    fn node(&self) -> &str {
        self.node.as_str()
    }

    fn place(&self, slot: Slot) -> Place {
        let own = self.own(slot).map_or(NOT_OURS, |own| own.load(Ordering::Acquire));
        if own != NOT_OURS {
            return Place::Here(Epoch(own));
        }
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        match others.get(usize::from(slot.number())) {
            Some(Some(node)) => Place::Node(node.clone()),
            _ => Place::Nowhere {
                retry_after: crate::error::RETRY_AFTER,
            },
        }
    }

    fn holds_lease(&self) -> bool {
        self.lease.holds()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roost_domain::cluster::{Member, SlotOwner};

    use super::*;
    use crate::cluster::testing::{live, name};

    struct Held;

    impl Lease for Held {
        fn holds(&self) -> bool {
            true
        }
    }

    fn shares(nodes: &[NodeName]) -> BTreeMap<NodeName, usize> {
        let nodes: Vec<&NodeName> = nodes.iter().collect();
        let mut shares = BTreeMap::new();
        for slot in Slot::all() {
            *shares
                .entry(rendezvous(slot, &nodes).unwrap().clone())
                .or_default() += 1;
        }
        shares
    }

    #[test]
    fn a_slot_of_nobody_has_no_node() {
        assert_eq!(rendezvous(Slot::EVERY[0], &[]), None);
    }

    #[test]
    fn the_draw_is_frozen() {
        // Nodes of different releases have to agree.
        let nodes = [name("a"), name("b"), name("c")];
        let drawn: String = Slot::all()
            .take(16)
            .map(|slot| {
                rendezvous(slot, &nodes.iter().collect::<Vec<_>>())
                    .unwrap()
                    .as_str()
                    .to_owned()
            })
            .collect();
        assert_eq!(drawn, FROZEN);
    }

    const FROZEN: &str = "aabbbccabaaabbba";

    proptest! {
        #[test]
        fn shares_are_even_and_only_the_slots_of_who_leaves_move(
            names in proptest::collection::btree_set("[a-z][a-z0-9-]{0,20}", 2..10),
        ) {
            let nodes: Vec<NodeName> = names.iter().map(|text| name(text)).collect();
            let mean = usize::from(Slot::COUNT) / nodes.len();
            for share in shares(&nodes).values() {
                prop_assert!(*share < mean * 2, "{share} of {mean}");
                prop_assert!(*share > mean / 2, "{share} of {mean}");
            }
            let (gone, stay) = nodes.split_first().unwrap();
            let (all, stay): (Vec<_>, Vec<_>) = (nodes.iter().collect(), stay.iter().collect());
            for slot in Slot::all() {
                let (before, after) = (rendezvous(slot, &all), rendezvous(slot, &stay));
                prop_assert!(before == after || before == Some(gone));
            }
        }
    }

    #[test]
    fn a_life_that_is_over_takes_nothing() {
        let placement = ClusterPlacement::new(name("a"), Arc::new(Held));
        let slot = Slot::EVERY[7];
        assert!(!placement.take(1, &[(slot, Epoch(5))]));
        placement.begin(2);
        assert!(!placement.take(1, &[(slot, Epoch(5))]));
        assert!(placement.take(2, &[(slot, Epoch(6))]));
        assert_eq!(placement.place(slot), Place::Here(Epoch(6)));
        placement.end();
        assert!(matches!(placement.place(slot), Place::Nowhere { .. }));
        assert!(!placement.take(2, &[(slot, Epoch(6))]));
        assert!(placement.owned().is_empty());
    }

    #[test]
    fn a_slot_lives_on_its_owner_while_the_owner_lives() {
        let placement = ClusterPlacement::new(name("a"), Arc::new(Held));
        let mut view = ClusterView::default();
        view.nodes.insert(name("b"), live("b", 3));
        for (slot, incarnation) in [(Slot::EVERY[0], 3), (Slot::EVERY[1], 2)] {
            let member = Some(Member {
                node: name("b"),
                incarnation,
            });
            let epoch = Epoch(9);
            view.slots.insert(slot, SlotOwner { member, epoch });
        }
        placement.learn(&view);
        assert_eq!(placement.place(Slot::EVERY[0]), Place::Node(name("b")));
        assert!(matches!(placement.place(Slot::EVERY[1]), Place::Nowhere { .. }));
        assert!(matches!(placement.place(Slot::EVERY[2]), Place::Nowhere { .. }));
    }
}
