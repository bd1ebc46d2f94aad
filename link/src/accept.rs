//! Accepting: strangers become peers here, within a deadline, or are gone.
//!
//! A stranger costs one socket and one task. There are at most so many; when there are more, the oldest
//! one goes of the network that has the most. So whoever opens many connections crowds out himself, and a
//! peer, who is done in milliseconds, gets in between.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::dial;
use crate::greeting::{self, Channel, GreetingError, Hello, Refusal};
use crate::peer::Greeted;
use crate::shared::Shared;
use crate::stream::Io;
use crate::{socket, tls};

/// Pause after the system has refused to accept, for example because no file handle is left.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Why a stranger stays one.
#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error("the socket cannot be set up: {0}")]
    Socket(std::io::Error),
    #[error("TLS failed: {0}")]
    Tls(std::io::Error),
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    #[error("it took too long")]
    Deadline,
}

/// Accepts until the link stops.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let strangers = Arc::new(Strangers::new(shared.config.limits.strangers_max));
    let stop = shared.stop.clone();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                strangers.admit(network(address.ip()), {
                    let shared = Arc::clone(&shared);
                    async move { meet(&shared, stream).await }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the cluster listener could not accept");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
    strangers.clear();
}

/// Finds out who a stranger is, and hands the connection to its peer.
async fn meet(shared: &Shared, stream: TcpStream) {
    let address = stream.peer_addr().ok();
    let limit = shared.config.limits.greeting_timeout;
    let greeted = tokio::time::timeout(limit, greet(shared, stream))
        .await
        .unwrap_or(Err(AcceptError::Deadline));
    match greeted {
        Ok(greeted) => {
            if let Some(peer) = shared.peer(&greeted.hello.node) {
                peer.dialled(greeted).await;
            }
        }
        // A node of the cluster whose rows have not been read here yet, or that is about to see its own.
        Err(AcceptError::Greeting(GreetingError::Refuse(
            refusal @ (Refusal::Unknown | Refusal::Stale | Refusal::NotMe),
        ))) => tracing::info!(address = ?address, reason = %refusal, "a node was not let in"),
        // Only who has a certificate of the cluster gets this far: an operator has to see it.
        Err(AcceptError::Greeting(GreetingError::Refuse(refusal))) => {
            tracing::warn!(address = ?address, reason = %refusal, "a node was refused");
        }
        Err(error) => tracing::debug!(address = ?address, %error, "a stranger was turned away"),
    }
}

async fn greet(shared: &Shared, stream: TcpStream) -> Result<Greeted, AcceptError> {
    socket::prepare(&stream).map_err(AcceptError::Socket)?;
    let Some(tls) = shared.tls() else {
        return answer(shared, Box::new(stream), [0; 32], |_| true).await;
    };
    let stream = tls.acceptor.accept(stream).await.map_err(AcceptError::Tls)?;
    let connection = stream.get_ref().1;
    let other = |error| AcceptError::Tls(std::io::Error::other(error));
    let channel = dial::channel(connection).map_err(other)?;
    // Without one the handshake would have failed.
    let certificate = connection
        .peer_certificates()
        .and_then(<[_]>::first)
        .cloned()
        .ok_or_else(|| AcceptError::Tls(std::io::ErrorKind::PermissionDenied.into()))?;
    answer(shared, Box::new(stream), channel, |node| {
        tls::names(&certificate, node).is_ok()
    })
    .await
}

async fn answer(
    shared: &Shared,
    mut io: Box<dyn Io>,
    channel: Channel,
    named: impl FnOnce(&roost_domain::cluster::NodeName) -> bool,
) -> Result<Greeted, AcceptError> {
    let me = shared.me(channel);
    let may = |hello: &Hello| {
        if hello.node >= shared.config.node {
            return Err(Refusal::Direction);
        }
        shared.may_enter(hello)
    };
    let hello = greeting::accept(&mut *io, &me, named, may).await?;
    Ok(Greeted {
        io,
        hello,
        is_server: true,
    })
}

/// The network that an address counts for: hosts have whole networks of IPv6 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// The sockets whose peer is not known yet.
struct Strangers {
    max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Oldest first.
    tasks: BTreeMap<u64, (IpAddr, AbortHandle)>,
}

impl Strangers {
    fn new(max: usize) -> Self {
        Self {
            max,
            waiting: Mutex::default(),
        }
    }

    /// Lets a stranger in, in place of another one if there are too many.
    fn admit(self: &Arc<Self>, network: IpAddr, meeting: impl Future<Output = ()> + Send + 'static) {
        // The lock is held until the task is listed, so that it cannot end before that.
        let mut waiting = self.lock();
        if waiting.tasks.len() >= self.max {
            waiting.evict();
        }
        let number = waiting.next;
        waiting.next += 1;
        let done = Done {
            strangers: Arc::clone(self),
            number,
        };
        let task = tokio::spawn(async move {
            let _done = done;
            meeting.await;
        });
        waiting.tasks.insert(number, (network, task.abort_handle()));
    }

    fn clear(&self) {
        for (_, task) in std::mem::take(&mut self.lock().tasks).into_values() {
            task.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Ends the oldest one of the network that has the most.
    fn evict(&mut self) {
        let mut counts = HashMap::new();
        for (network, _) in self.tasks.values() {
            *counts.entry(*network).or_insert(0_usize) += 1;
        }
        let Some((&largest, _)) = counts.iter().max_by_key(|(_, count)| **count) else {
            return;
        };
        let oldest = self
            .tasks
            .iter()
            .find_map(|(number, (network, _))| (*network == largest).then_some(*number));
        if let Some((_, task)) = oldest.and_then(|number| self.tasks.remove(&number)) {
            task.abort();
        }
    }
}

/// Takes a stranger off the list when its task ends, in whatever way.
struct Done {
    strangers: Arc<Strangers>,
    number: u64,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.strangers.lock().tasks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
