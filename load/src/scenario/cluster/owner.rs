//! Who has what: instances by the nodes' own word, slots by the rows in PostgreSQL.

use std::collections::BTreeMap;

use crate::api::Actor;
use crate::error::{LoadError, Result};

/// There are so many slots.
pub const SLOTS: u32 = 1_024;
/// Slots of every node whose lease holds, and the highest epoch of any.
pub const SHARES: &str = "SELECT n.node, count(*), max(s.epoch) FROM slot AS s JOIN node_lease AS n \
    ON n.node = s.node AND n.incarnation = s.incarnation WHERE n.ended_at IS NULL GROUP BY n.node ORDER BY 1";

const PREFIX: &str = "instance/";

/// Which node runs each instance, from what one node after the other says it runs.
pub fn owners(said: impl IntoIterator<Item = (&'static str, Vec<Actor>)>) -> BTreeMap<String, &'static str> {
    let mut owners = BTreeMap::new();
    for (node, actors) in said {
        let instances = actors
            .into_iter()
            .filter_map(|actor| actor.path.strip_prefix(PREFIX).map(str::to_owned));
        owners.extend(instances.map(|instance| (instance, node)));
    }
    owners
}

/// Slots by node, from the answer to [`SHARES`].
pub fn shares(rows: &[Vec<String>]) -> Result<BTreeMap<String, u32>> {
    let share = |row: &Vec<String>| match &row[..] {
        [node, count, _] => count.parse().ok().map(|count| (node.clone(), count)),
        _ => None,
    };
    let shares: Option<_> = rows.iter().map(share).collect();
    shares.ok_or_else(|| LoadError::Postgres(format!("unexpected rows: {rows:?}")))
}

/// Whether these nodes have all slots among them, each about as many as the others: hashing deals them
/// out, so shares differ a little.
pub fn is_even(shares: &BTreeMap<String, u32>, nodes: &[&str]) -> bool {
    let fair = SLOTS / u32::try_from(nodes.len().max(1)).unwrap_or(SLOTS);
    let of = |node: &&str| shares.get(*node).copied().unwrap_or_default();
    let all: u32 = nodes.iter().map(of).sum();
    all == SLOTS && nodes.iter().all(|node| of(node) * 4 >= fair * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(path: &str) -> Actor {
        Actor {
            path: path.to_owned(),
        }
    }

    #[test]
    fn the_owner_of_an_instance_is_the_node_that_runs_its_session() {
        let found = owners([
            ("a", vec![actor("instance/ins_1"), actor("instances")]),
            ("b", vec![actor("instance/ins_2")]),
        ]);
        let expected = [("ins_1", "a"), ("ins_2", "b")].map(|(instance, node)| (instance.to_owned(), node));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn slots_are_even_when_the_running_nodes_have_all_of_them() {
        let rows = |counts: [u32; 3]| {
            let rows = ["a", "b", "c"].into_iter().zip(counts);
            rows.map(|(node, count)| vec![node.to_owned(), count.to_string(), "9".to_owned()])
                .collect::<Vec<_>>()
        };
        let even = |counts, nodes: &[&str]| is_even(&shares(&rows(counts)).unwrap(), nodes);
        assert!(even([340, 350, 334], &["a", "b", "c"]));
        assert!(!even([340, 350, 333], &["a", "b", "c"]));
        assert!(!even([512, 512, 0], &["a", "b", "c"]));
        assert!(!even([500, 500, 24], &["a", "b"]));
        assert!(even([512, 512, 0], &["a", "b"]));
    }

    #[test]
    fn rows_that_make_no_sense_are_an_error() {
        assert!(shares(&[vec!["a".to_owned()]]).is_err());
        let words = ["a", "many", "1"].map(str::to_owned).to_vec();
        assert!(shares(&[words]).is_err());
        assert!(shares(&[]).unwrap().is_empty());
    }
}
