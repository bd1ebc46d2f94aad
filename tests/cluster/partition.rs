//! Nodes cut off from each other, all of them with PostgreSQL.

use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::front::Outcome;
use crate::journal;
use crate::traffic::CLIENT_LIMIT;

/// Longer than any lease.
const CUT_FOR: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_cut_off_from_each_other_keep_what_they_own_and_every_call_is_answered() {
    let cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;
    traffic.tally();
    let before = journal::read(&cluster.ground).await.claims.len();
    for silence in [true, false] {
        for node in &cluster.nodes {
            if silence {
                node.to_it.mute();
            } else {
                node.to_it.cut();
            }
        }
        sleep(CUT_FOR).await;
        traffic.flows().await;
        let tally = traffic.tally();
        println!("cut off, with silence {silence}: calls: {tally:?}");
        // 504: the call had reached the other side of the cut, and may have been carried out there.
        let bad = |outcome: &&Outcome| match outcome {
            Outcome::Done => false,
            Outcome::Repeat(status, after) => !matches!(status, 503 | 504) || !after,
            Outcome::Broken | Outcome::Silent => true,
        };
        let bad: Vec<&Outcome> = tally.outcomes.keys().filter(bad).collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert!(tally.longest < CLIENT_LIMIT, "a call hung");
        let (mut held, mut ended) = (0, 0);
        for node in &cluster.nodes {
            let harm = node.to_it.harm();
            (held, ended) = (held + harm.0, ended + harm.1);
            node.to_it.mend();
        }
        assert!(if silence { held > 0 } else { ended > 0 }, "nothing was cut");
        traffic.flows().await;
    }
    let after = journal::read(&cluster.ground).await.claims.len();
    assert_eq!(after, before, "slots moved although every node was alive");
    cluster.verify(traffic).await;
}
