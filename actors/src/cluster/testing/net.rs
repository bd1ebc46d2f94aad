//! Nodes of one process that call each other in memory, and can be cut off, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{
    Kind, Mesh, MeshError, MeshPort, Note, PeerAddress, PeerError, PeerView, Peers, Service,
};

/// The network between them.
#[derive(Clone, Default)]
pub struct TestNet {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    services: BTreeMap<NodeName, Arc<dyn Service>>,
    cut: BTreeSet<NodeName>,
    /// Nodes that are reached, and never answer.
    silent: BTreeSet<NodeName>,
    /// Answers of the next calls that are lost.
    lost: usize,
    calls: usize,
}

impl TestNet {
    /// The port of a node.
    pub fn port(&self, node: NodeName) -> Box<dyn MeshPort> {
        Box::new(TestPort {
            net: self.clone(),
            node,
        })
    }

    /// Cuts a node off from all others, or ends that.
    pub fn cut(&self, node: &NodeName, cut: bool) {
        let mut inner = self.inner();
        if cut {
            inner.cut.insert(node.clone());
        } else {
            inner.cut.remove(node);
        }
    }

    /// A node is reached and never answers, or answers again.
    pub fn silence(&self, node: &NodeName, silent: bool) {
        let mut inner = self.inner();
        if silent {
            inner.silent.insert(node.clone());
        } else {
            inner.silent.remove(node);
        }
    }

    /// The next calls are carried out, and their answers lost.
    pub fn lose_answers(&self, count: usize) {
        self.inner().lost = count;
    }

    /// Calls that arrived.
    pub fn calls(&self) -> usize {
        self.inner().calls
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, from: &NodeName, to: &NodeName) -> Option<Arc<dyn Service>> {
        let inner = self.inner();
        let cut = inner.cut.contains(from) || inner.cut.contains(to);
        inner.services.get(to).filter(|_| !cut).cloned()
    }
}

struct TestPort {
    net: TestNet,
    node: NodeName,
}

#[async_trait]
impl MeshPort for TestPort {
    async fn open(self: Box<Self>, _: i64, service: Arc<dyn Service>) -> Result<Arc<dyn Mesh>, MeshError> {
        let Self { net, node } = *self;
        net.inner().services.insert(node.clone(), service);
        let peers = Mutex::default();
        Ok(Arc::new(TestMesh { net, node, peers }))
    }
}

struct TestMesh {
    net: TestNet,
    node: NodeName,
    peers: Mutex<Vec<PeerAddress>>,
}

#[async_trait]
impl Peers for TestMesh {
    async fn call(
        &self,
        node: &NodeName,
        kind: Kind,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, PeerError> {
        let service = self.net.reach(&self.node, node).ok_or(PeerError::Down)?;
        self.net.inner().calls += 1;
        if self.net.inner().silent.contains(node) {
            tokio::time::sleep_until(deadline.into()).await;
            return Err(PeerError::Deadline);
        }
        let served = service.serve(&self.node, kind, body, deadline);
        let answer = tokio::time::timeout_at(deadline.into(), served).await;
        let mut inner = self.net.inner();
        if inner.lost > 0 {
            inner.lost -= 1;
            return Err(PeerError::Lost);
        }
        match answer {
            Ok(answer) => answer.map_err(PeerError::Refused),
            Err(_) => Err(PeerError::Deadline),
        }
    }

    fn notify(&self, note: Note) {
        let all: Vec<NodeName> = self.net.inner().services.keys().cloned().collect();
        for node in all.iter().filter(|node| **node != self.node) {
            if let Some(service) = self.net.reach(&self.node, node) {
                service.told(&self.node, note.clone());
            }
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let others = peers.iter().filter(|peer| peer.node != self.node);
        others
            .map(|peer| {
                let connected = self.net.reach(&self.node, &peer.node).is_some();
                PeerView {
                    node: peer.node.clone(),
                    connected,
                    incarnation: connected.then_some(peer.incarnation),
                    release: None,
                    rtt: None,
                    in_flight: 0,
                    serving: 0,
                    notes_dropped: 0,
                    links: 1,
                    last_error: None,
                }
            })
            .collect()
    }
}

#[async_trait]
impl Mesh for TestMesh {
    fn set_peers(&self, peers: Vec<PeerAddress>) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    fn reborn(&self, _: i64) {}

    async fn stop(&self) {
        self.net.inner().services.remove(&self.node);
    }
}
