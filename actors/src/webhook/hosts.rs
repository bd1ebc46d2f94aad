//! How many POSTs are in flight: to one server, over all tenants, and on this node.
//!
//! Turns are given in the order of asking. A webhook asks for no more turns than it may have POSTs at the
//! same time, so one whose endpoint hangs takes no more than these from the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Servers without a webhook that are remembered before they are forgotten.
const IDLE_MAX: usize = 256;

/// See the module.
pub(super) struct Hosts {
    hosts: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
    per_host: usize,
    node: Arc<Semaphore>,
    node_max: usize,
}

/// The way to one server.
#[derive(Debug, Clone)]
pub(super) struct HostGate {
    host: Arc<Semaphore>,
    node: Arc<Semaphore>,
}

/// The right to one POST, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _host: OwnedSemaphorePermit,
    _node: OwnedSemaphorePermit,
}

impl Hosts {
    pub fn new(per_host: usize, node_max: usize) -> Self {
        Self {
            hosts: Mutex::default(),
            per_host: per_host.max(1),
            node: Arc::new(Semaphore::new(node_max.max(1))),
            node_max: node_max.max(1),
        }
    }

    /// The gate of a server, the same for everybody who posts to it.
    pub fn gate(&self, host: &Arc<str>) -> HostGate {
        // Nothing that runs under the lock can panic half-way.
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.get(host).and_then(Weak::upgrade);
        let semaphore = known.unwrap_or_else(|| {
            if hosts.len() >= IDLE_MAX {
                hosts.retain(|_, host| host.strong_count() > 0);
            }
            let semaphore = Arc::new(Semaphore::new(self.per_host));
            hosts.insert(Arc::clone(host), Arc::downgrade(&semaphore));
            semaphore
        });
        HostGate {
            host: semaphore,
            node: Arc::clone(&self.node),
        }
    }

    /// POSTs in flight on this node.
    pub fn in_flight(&self) -> usize {
        self.node_max.saturating_sub(self.node.available_permits())
    }
}

impl HostGate {
    /// Waits for a turn. `None` when there will be none any more.
    pub async fn turn(&self) -> Option<Turn> {
        let host = Arc::clone(&self.host).acquire_owned().await.ok()?;
        let node = Arc::clone(&self.node).acquire_owned().await.ok()?;
        Some(Turn {
            _host: host,
            _node: node,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_server_has_its_limit_and_the_node_another() {
        let hosts = Hosts::new(2, 3);
        let (a, b): (Arc<str>, Arc<str>) = ("a:443".into(), "b:443".into());
        let (first, again, other) = (hosts.gate(&a), hosts.gate(&a), hosts.gate(&b));
        let held = (first.turn().await.unwrap(), again.turn().await.unwrap());
        assert_eq!(first.host.available_permits(), 0);
        let third = other.turn().await.unwrap();
        assert_eq!((hosts.in_flight(), other.host.available_permits()), (3, 1));
        let waiting = tokio::spawn(async move { other.turn().await.is_some() });
        drop(held);
        assert!(waiting.await.unwrap());
        drop(third);
        assert_eq!(hosts.in_flight(), 0);
    }

    #[test]
    fn servers_that_nobody_posts_to_are_forgotten() {
        let hosts = Hosts::new(1, 1);
        for number in 0..10 * IDLE_MAX {
            hosts.gate(&format!("host-{number}:443").into());
        }
        assert!(hosts.hosts.lock().unwrap().len() <= IDLE_MAX);
    }
}
