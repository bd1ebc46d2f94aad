//! What nodes that are lent from one bucket grant together.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use roost_domain::TenantId;
use roost_domain::limit::{BucketKey, Quota, Taken};

use crate::bucket::branch::{Branch, Branches};
use crate::bucket::clock::Uptime;
use crate::bucket::machine::{Bucket, Terms, lent_max};

const LIFE: Duration = Duration::from_secs(1);
const LEASE_MAX: u32 = 256;
const TERMS: Terms = Terms {
    lease_max: LEASE_MAX,
    lease_life: LIFE,
};

fn quota(count: u32, per: Duration) -> Quota {
    let count = NonZeroU32::new(count).unwrap();
    Quota { count, per }
}

fn n(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn granted(taken: &Taken) -> bool {
    matches!(taken, Taken::Granted(_))
}

/// An owner and the nodes that ask it, with calls that take no time.
struct Cluster {
    uptime: Arc<Uptime>,
    owner: Bucket,
    nodes: Vec<Branches>,
    quota: Quota,
    asked: usize,
}

impl Cluster {
    fn new(nodes: usize, quota: Quota) -> Self {
        let uptime = Arc::new(Uptime::new());
        Self {
            nodes: (0..nodes).map(|_| Branches::new(Arc::clone(&uptime))).collect(),
            owner: Bucket::new(quota),
            uptime,
            quota,
            asked: 0,
        }
    }

    fn branch(&self, node: usize) -> Arc<Branch> {
        self.nodes[node].get_or_make(BucketKey::Calls(TenantId::from_parts(1, 1)))
    }

    fn take(&mut self, node: usize, count: NonZeroU32) -> Taken {
        let branch = self.branch(node);
        if let Some(taken) = branch.take(self.quota, count) {
            return taken;
        }
        self.asked += 1;
        let wish = branch.wish(count, LEASE_MAX);
        let now = self.uptime.nanos();
        if let Some(back) = NonZeroU32::new(wish.back) {
            self.owner.give_back(now, back);
        }
        let lent = wish.want.min(lent_max(self.quota, LEASE_MAX));
        let both = self
            .owner
            .serve(now, self.quota, count.saturating_add(lent), &TERMS);
        let (taken, lent) = match both {
            Taken::Refused { .. } => (self.owner.serve(now, self.quota, count, &TERMS), 0),
            granted @ Taken::Granted(_) => (granted, lent),
        };
        let (Taken::Granted(standing) | Taken::Refused { standing, .. }) = &taken;
        branch.answered(wish, standing, lent, LIFE);
        taken
    }
}

proptest! {
    #[test]
    fn nodes_together_grant_at_most_the_quota_and_what_they_were_lent(
        nodes in 1..5_usize,
        count in 1..2_000_u32,
        per_ms in 100..600_000_u64,
        calls in proptest::collection::vec((0..5_usize, 1..4_u32, 0..400_u64), 1..400),
    ) {
        let quota = quota(count, Duration::from_millis(per_ms));
        let mut cluster = Cluster::new(nodes, quota);
        let mut grants: Vec<(u64, u64)> = Vec::new();
        for (node, count, wait_ms) in calls {
            cluster.uptime.advance(Duration::from_millis(wait_ms));
            if granted(&cluster.take(node % nodes, n(count))) {
                grants.push((cluster.uptime.nanos(), u64::from(count)));
            }
        }
        let each = quota.per.as_nanos() as u64 / u64::from(count);
        let error = nodes as u64 * u64::from(lent_max(quota, LEASE_MAX));
        for first in 0..grants.len() {
            let mut sum = 0;
            for (at, count_now) in &grants[first..] {
                sum += count_now;
                let back = (at - grants[first].0) / each.max(1);
                prop_assert!(sum <= u64::from(count) + back + error + 1, "{sum} of {count} and {back}");
            }
        }
    }
}

#[test]
fn a_small_quota_is_counted_exactly_over_all_nodes() {
    let mut cluster = Cluster::new(3, quota(9, Duration::from_secs(300 * 24 * 3600)));
    let taken: Vec<bool> = (0..30)
        .map(|call| granted(&cluster.take(call % 3, n(1))))
        .collect();
    assert_eq!(taken.iter().filter(|granted| **granted).count(), 9);
    assert!(taken[..9].iter().all(|granted| *granted));
    assert!(
        cluster.asked <= 12,
        "who was refused refuses others: {}",
        cluster.asked
    );
}

#[test]
fn a_node_that_is_called_often_asks_seldom_and_one_that_is_called_seldom_takes_no_more_than_it_needs() {
    let hour = quota(36_000, Duration::from_secs(3600));
    let mut cluster = Cluster::new(2, hour);
    for _ in 0..10_000 {
        assert!(granted(&cluster.take(0, n(1))));
    }
    assert!(cluster.asked < 100, "{}", cluster.asked);

    let mut cluster = Cluster::new(2, quota(3_600, Duration::from_secs(3600)));
    for _ in 0..7_200 {
        cluster.uptime.advance(Duration::from_millis(1_100));
        assert!(granted(&cluster.take(1, n(1))), "nothing is lost to leases");
    }
}

#[test]
fn what_is_left_of_what_was_lent_comes_back() {
    let mut cluster = Cluster::new(1, quota(1_000, Duration::from_secs(300 * 24 * 3600)));
    for _ in 0..25 {
        cluster.take(0, n(1));
    }
    let branch = cluster.branch(0);
    assert_eq!(branch.left_over(), None, "it may still be used");
    cluster.uptime.advance(LIFE);
    let left = branch.left_over().unwrap();
    cluster.owner.give_back(cluster.uptime.nanos(), left);
    cluster.owner.end_lease(cluster.uptime.nanos());
    assert_eq!(cluster.owner.standing(cluster.uptime.nanos()).remaining, 975);
    assert_eq!(branch.left_over(), None);
}

#[test]
fn what_did_not_count_is_there_for_the_next_call() {
    let mut cluster = Cluster::new(1, quota(2, Duration::from_secs(300 * 24 * 3600)));
    assert!(granted(&cluster.take(0, n(1))));
    assert!(granted(&cluster.take(0, n(1))));
    assert!(!granted(&cluster.branch(0).look(cluster.quota, n(1)).unwrap()));
    cluster.branch(0).give_back(n(1));
    assert!(granted(&cluster.branch(0).look(cluster.quota, n(1)).unwrap()));
    assert!(granted(&cluster.take(0, n(1))));
    assert!(!granted(&cluster.take(0, n(1))));
}

#[test]
fn without_its_owner_a_bucket_grants_the_nodes_share_until_the_owner_answers() {
    let cluster = Cluster::new(1, quota(9, Duration::from_secs(300 * 24 * 3600)));
    let branch = cluster.branch(0);
    let (quota, mut taken) = (cluster.quota, 0);
    while granted(&branch.alone(quota, n(1), 3, true)) {
        taken += 1;
    }
    assert_eq!(taken, 3);
    assert!(!granted(&branch.take(quota, n(1)).unwrap()), "nobody is asked");
    assert!(!granted(&branch.look(quota, n(1)).unwrap()));
    cluster.uptime.advance(Duration::from_secs(1));
    assert_eq!(branch.take(quota, n(1)), None, "the owner is asked again");
}

#[test]
fn branches_that_nobody_uses_are_forgotten() {
    let mut cluster = Cluster::new(1, quota(10, Duration::from_secs(10)));
    cluster.take(0, n(1));
    let (after, nodes) = (Duration::from_secs(60), &cluster.nodes[0]);
    nodes.forget_idle(&nodes.keys(), after);
    assert_eq!(nodes.count(), 1);
    cluster.uptime.advance(after);
    nodes.forget_idle(&nodes.keys(), after);
    assert_eq!(nodes.count(), 0);
}
