//! What a node does next with slots: pure, from what it has read and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roost_domain::cluster::{ClusterView, Member, NodeName, SlotOwner};
use roost_domain::{Epoch, Slot};

use super::ClusterSettings;
use super::placement::rendezvous;

/// What a node knows and holds.
pub(crate) struct Situation<'a> {
    pub me: &'a Member,
    /// The rows, read after the last claim and release of this node.
    pub view: &'a ClusterView,
    /// What it runs.
    pub owned: &'a BTreeMap<Slot, Epoch>,
    /// What it is giving away at this moment.
    pub leaving: &'a BTreeSet<Slot>,
    /// What has been free for so long that anybody may take it.
    pub overdue: &'a BTreeSet<Slot>,
}

/// What a node does next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Free slots to take.
    pub claim: Vec<Slot>,
    /// Slots that are this life's by the rows, but do not run: the answer to a claim was lost, or a wave
    /// was broken off.
    pub adopt: Vec<(Slot, Epoch)>,
    /// Slots that run and are not this life's by the rows.
    pub lost: Vec<Slot>,
    /// Slots to give away.
    pub give: Vec<Slot>,
    /// Whether this node gives everything away.
    pub drains: bool,
}

/// The owner of a slot, if its lease holds.
pub(crate) fn live_owner<'a>(view: &ClusterView, owner: &'a SlotOwner) -> Option<&'a Member> {
    let member = owner.member.as_ref()?;
    let lease = view.nodes.get(&member.node)?;
    (lease.is_live() && lease.incarnation == member.incarnation).then_some(member)
}

/// The slots that nobody owns.
pub(crate) fn free(view: &ClusterView) -> BTreeSet<Slot> {
    let owned = |slot: &Slot| {
        view.slots
            .get(slot)
            .and_then(|owner| live_owner(view, owner))
            .is_some()
    };
    Slot::all().filter(|slot| !owned(slot)).collect()
}

/// Makes a plan.
pub(crate) fn plan(now: &Situation<'_>, settings: &ClusterSettings) -> Plan {
    let Situation { me, view, owned, .. } = *now;
    let alive = view
        .nodes
        .get(&me.node)
        .is_some_and(|lease| lease.is_live() && lease.incarnation == me.incarnation);
    if !alive {
        // The keeper finds out too; nothing is decided on rows of another life.
        return Plan::default();
    }
    let takers: Vec<&NodeName> = view
        .nodes
        .iter()
        .filter(|(_, lease)| lease.is_live() && !lease.draining)
        .map(|(node, _)| node)
        .collect();
    let drains = view.nodes.get(&me.node).is_some_and(|lease| lease.draining);
    let free = free(view);
    let mut plan = Plan {
        drains,
        ..Plan::default()
    };
    for &slot in &free {
        let ours = rendezvous(slot, &takers) == Some(&me.node) || now.overdue.contains(&slot);
        if ours && !drains && !now.leaving.contains(&slot) {
            plan.claim.push(slot);
        }
    }
    for (&slot, owner) in &view.slots {
        let mine = owner.member.as_ref() == Some(me);
        if mine && owned.get(&slot) != Some(&owner.epoch) && !now.leaving.contains(&slot) {
            plan.adopt.push((slot, owner.epoch));
        }
    }
    let mine = |slot: &Slot| {
        view.slots
            .get(slot)
            .is_some_and(|owner| owner.member.as_ref() == Some(me))
    };
    plan.lost = owned.keys().filter(|slot| !mine(slot)).copied().collect();
    if now.leaving.is_empty() {
        plan.give = give(now, &takers, free.is_empty(), drains, settings);
    }
    plan
}

/// Slots to give away: all when this node drains, those of others when the cluster is quiet.
fn give(
    now: &Situation<'_>,
    takers: &[&NodeName],
    all_owned: bool,
    drains: bool,
    settings: &ClusterSettings,
) -> Vec<Slot> {
    let mine = now.owned.keys().copied();
    if drains {
        return mine.take(settings.drain_wave).collect();
    }
    let in_doubt = |left: Option<Duration>| left.is_some_and(|left| left < settings.ttl / 2);
    if !all_owned || now.view.nodes.values().any(|lease| in_doubt(lease.expires_in)) {
        return Vec::new();
    }
    let stable = |node: &NodeName| {
        now.view
            .nodes
            .get(node)
            .is_some_and(|lease| lease.age >= settings.stable_for)
    };
    mine.filter(|&slot| rendezvous(slot, takers).is_some_and(|taker| *taker != now.me.node && stable(taker)))
        .take(settings.moves_max)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{live, name};

    const EPOCH: Epoch = Epoch(40);

    fn member(node: &str, incarnation: i64) -> Member {
        Member {
            node: name(node),
            incarnation,
        }
    }

    struct Table {
        me: Member,
        view: ClusterView,
        owned: BTreeMap<Slot, Epoch>,
        leaving: BTreeSet<Slot>,
        overdue: BTreeSet<Slot>,
    }

    impl Table {
        /// Node `a` in its first life, with these others; nobody owns anything.
        fn new(others: &[&str]) -> Self {
            let mut view = ClusterView::default();
            for node in others.iter().chain(&["a"]) {
                view.nodes.insert(name(node), live(node, 1));
            }
            let me = member("a", 1);
            let (owned, leaving, overdue) = Default::default();
            Self {
                me,
                view,
                owned,
                leaving,
                overdue,
            }
        }

        fn owns(&mut self, node: &str, incarnation: i64, slots: impl IntoIterator<Item = Slot>) {
            let owner = SlotOwner {
                member: Some(member(node, incarnation)),
                epoch: EPOCH,
            };
            for slot in slots {
                self.view.slots.insert(slot, owner.clone());
                if node == "a" && incarnation == 1 {
                    self.owned.insert(slot, EPOCH);
                }
            }
        }

        fn change(&mut self, node: &str, change: impl FnOnce(&mut roost_domain::cluster::NodeLease)) {
            change(self.view.nodes.get_mut(&name(node)).unwrap());
        }

        fn of(&self, node: &str) -> Vec<Slot> {
            let nodes: Vec<&NodeName> = self.view.nodes.keys().collect();
            let of = |slot: &Slot| rendezvous(*slot, &nodes) == Some(&name(node));
            Slot::all().filter(of).collect()
        }

        fn plan(&self) -> Plan {
            let now = Situation {
                me: &self.me,
                view: &self.view,
                owned: &self.owned,
                leaving: &self.leaving,
                overdue: &self.overdue,
            };
            plan(&now, &ClusterSettings::default())
        }
    }

    #[test]
    fn a_node_alone_takes_every_slot() {
        let plan = Table::new(&[]).plan();
        assert_eq!(plan.claim, Slot::EVERY);
        assert_eq!(plan.give, []);
    }

    #[test]
    fn nodes_that_start_together_take_their_own_share() {
        let table = Table::new(&["b", "c"]);
        assert_eq!(table.plan().claim, table.of("a"));
    }

    #[test]
    fn slots_of_a_node_that_is_gone_are_shared_by_the_others() {
        let mut table = Table::new(&["b", "c"]);
        let (of_a, of_b, of_c) = (table.of("a"), table.of("b"), table.of("c"));
        table.owns("a", 1, of_a);
        table.owns("b", 1, of_b);
        table.owns("c", 1, of_c.clone());
        assert_eq!(table.plan(), Plan::default());
        table.change("c", |lease| lease.expires_in = None);
        let nodes = [&name("a"), &name("b")];
        let ours = |slot: &Slot| rendezvous(*slot, &nodes) == Some(&name("a"));
        let expected: Vec<Slot> = of_c.into_iter().filter(ours).collect();
        assert!(!expected.is_empty());
        assert_eq!(table.plan().claim, expected);
    }

    #[test]
    fn slots_of_an_earlier_life_are_free() {
        let mut table = Table::new(&[]);
        table.me.incarnation = 2;
        table.change("a", |lease| lease.incarnation = 2);
        table.owns("a", 1, Slot::all());
        table.owned.clear();
        assert_eq!(table.plan().claim, Slot::EVERY);
    }

    #[test]
    fn a_slot_that_nobody_takes_is_taken_by_anybody() {
        let mut table = Table::new(&["b"]);
        let slot = *table.of("b").first().unwrap();
        assert!(!table.plan().claim.contains(&slot));
        table.overdue.insert(slot);
        assert!(table.plan().claim.contains(&slot));
    }

    #[test]
    fn a_claim_whose_answer_was_lost_is_adopted() {
        let mut table = Table::new(&[]);
        table.owns("a", 1, Slot::all());
        let slot = Slot::EVERY[3];
        table.owned.remove(&slot);
        assert_eq!(table.plan().adopt, [(slot, EPOCH)]);
        table.leaving.insert(slot);
        assert_eq!(table.plan(), Plan::default(), "it is on its way out");
    }

    #[test]
    fn what_another_owns_is_lost() {
        let mut table = Table::new(&["b"]);
        let (of_a, of_b) = (table.of("a"), table.of("b"));
        table.owns("a", 1, of_a.clone());
        table.owns("b", 1, of_b);
        let slot = of_a[0];
        table.owns("b", 1, [slot]);
        assert_eq!(table.plan().lost, [slot]);
    }

    #[test]
    fn a_new_node_is_given_its_share_in_waves_once_it_is_stable() {
        let mut table = Table::new(&["b"]);
        table.owns("a", 1, Slot::all());
        table.change("b", |lease| lease.age = Duration::from_secs(9));
        assert_eq!(table.plan().give, [], "too young");
        table.change("b", |lease| lease.age = Duration::from_secs(10));
        let of_b = table.of("b");
        assert_eq!(table.plan().give, of_b[..20]);
        table.leaving.insert(of_b[0]);
        assert_eq!(table.plan().give, [], "one wave at a time");
    }

    #[test]
    fn nothing_is_evened_out_while_a_lease_is_in_doubt_or_a_slot_is_free() {
        let mut table = Table::new(&["b", "c"]);
        table.owns("a", 1, Slot::all());
        assert!(!table.plan().give.is_empty());
        table.change("c", |lease| lease.expires_in = Some(Duration::from_secs(7)));
        assert_eq!(table.plan().give, []);
        table.change("c", |lease| lease.expires_in = Some(Duration::from_secs(15)));
        table.view.slots.remove(&Slot::EVERY[0]);
        table.owned.remove(&Slot::EVERY[0]);
        assert_eq!(table.plan().give, []);
    }

    #[test]
    fn a_node_that_drains_gives_all_and_takes_nothing() {
        let mut table = Table::new(&["b"]);
        let of_a = table.of("a");
        table.owns("a", 1, of_a.clone());
        table.change("a", |lease| lease.draining = true);
        let plan = table.plan();
        assert!(plan.drains);
        assert_eq!(plan.claim, []);
        assert_eq!(plan.give, of_a[..64]);
    }

    #[test]
    fn a_node_that_drains_is_given_nothing() {
        let mut table = Table::new(&["b"]);
        table.change("b", |lease| lease.draining = true);
        table.owns("a", 1, Slot::all());
        assert_eq!(table.plan(), Plan::default());
    }

    #[test]
    fn nothing_is_decided_on_rows_of_another_life() {
        let mut table = Table::new(&[]);
        table.me.incarnation = 2;
        assert_eq!(table.plan(), Plan::default());
    }
}
