//! Limits and times of a node of a cluster. The configuration fills it.

use std::time::Duration;

/// Limits and times of a node of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct ClusterSettings {
    /// How long a lease lasts: after a crash, others take over when it has run out. Default 15 s.
    pub ttl: Duration,
    /// How long before the lease's end a node stops to act. Covers the drift of clocks. Default 500 ms.
    pub margin: Duration,
    /// How often the rows of nodes and slots are read without a hint. Default 500 ms.
    pub tick: Duration,
    /// Shortest time between two readings. Default 50 ms.
    pub pause: Duration,
    /// How long a node has to be live before others give it slots. Default 10 s.
    pub stable_for: Duration,
    /// After this time anybody takes a free slot, also if it is another's by its hash. Default 3 s.
    pub take_after: Duration,
    /// Slots given away at the same time to even out the cluster. Default 20.
    pub moves_max: usize,
    /// Slots given away at the same time by a node that drains. Default 64.
    pub drain_wave: usize,
    /// How long a call is held that meets nobody, because a slot moves or a link is down. Default 300 ms.
    pub hold: Duration,
    /// How long another node has to answer an operator's question. Default 1 s.
    pub operator_timeout: Duration,
    /// Largest answer to another node, in bytes. Default 1 MiB.
    pub answer_bytes_max: usize,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            ttl: millis(15_000),
            margin: millis(500),
            tick: millis(500),
            pause: millis(50),
            stable_for: millis(10_000),
            take_after: millis(3_000),
            moves_max: 20,
            drain_wave: 64,
            hold: millis(300),
            operator_timeout: millis(1_000),
            answer_bytes_max: 1 << 20,
        }
    }
}

impl ClusterSettings {
    /// How long one call to the database may take: a third of a lease leaves time for another attempt.
    pub fn call(&self) -> Duration {
        self.ttl / 3
    }
}
