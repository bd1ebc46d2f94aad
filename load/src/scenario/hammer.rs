//! Calls as fast as answers come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::error::{LoadError, Result};
use crate::http::{CALL_TIMEOUT, Call, Connection, Endpoint};
use crate::latency::Latencies;
use crate::phase::within;

/// Calls that one server is to answer, in turns.
#[derive(Debug)]
pub struct Target {
    pub endpoint: Endpoint,
    pub calls: Arc<[Call]>,
}

/// Calls on so many connections, which the targets share, until the time is over; any other status than
/// the expected one is an error.
pub async fn hammer(
    name: &str,
    status: u16,
    targets: &[Target],
    connections: u16,
    duration: Duration,
) -> Result<(usize, Latencies)> {
    let next = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + duration;
    let mut workers = JoinSet::new();
    for target in targets.iter().cycle().take(connections.into()) {
        let mut connection = Connection::new(target.endpoint.clone());
        let (calls, next) = (Arc::clone(&target.calls), Arc::clone(&next));
        workers.spawn(async move {
            let mut latencies = Latencies::default();
            let mut count = 0;
            while Instant::now() < end {
                let turn = next.fetch_add(1, Ordering::Relaxed) % calls.len() as u64;
                // Smaller than a length.
                let call = &calls[turn as usize];
                let began = Instant::now();
                let answer = connection.call(call).await.map_err(|source| LoadError::Call {
                    call: call.path.clone(),
                    source,
                })?;
                if answer.status != status {
                    return Err(LoadError::Refused {
                        call: call.path.clone(),
                        status: answer.status,
                        body: String::from_utf8_lossy(&answer.body).into_owned(),
                    });
                }
                latencies.record(began.elapsed());
                count += 1;
            }
            Ok((count, latencies))
        });
    }
    let all = async {
        let (mut count, mut latencies) = (0, Latencies::default());
        while let Some(worker) = workers.join_next().await {
            let (some, theirs) = worker??;
            count += some;
            latencies.add(&theirs);
        }
        Ok((count, latencies))
    };
    within(name, duration + CALL_TIMEOUT, all).await
}
