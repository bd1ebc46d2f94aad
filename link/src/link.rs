//! A node's link, as the composition holds it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use ractor::{Actor, ActorRef};
use roost_domain::cluster::NodeName;
use roost_domain::peer::{
    Kind, Mesh, MeshError, MeshPort, Note, PeerAddress, PeerError, PeerView, Peers, Service,
};
use roost_domain::time::Entropy;
use tokio::net::TcpListener;

use crate::accept;
use crate::config::LinkConfig;
use crate::error::LinkError;
use crate::renew::Watch;
use crate::root::{Root, RootMessage};
use crate::shared::Shared;
use crate::tls::Tls;

/// Time for calls that are being served when the link stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A node's port, taken before the node registers: the proof that no earlier process of its name is
/// left on this host. Connections wait in the system's queue until [`Listening::start`].
pub struct Listening {
    config: LinkConfig,
    tls: Option<Tls>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Reads the certificates and takes the port.
    pub async fn bind(config: LinkConfig) -> Result<Self, LinkError> {
        config.check()?;
        let tls = match &config.tls {
            Some(files) => Some(Tls::load(files, &config.node)?),
            None => None,
        };
        let failed = |source| LinkError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            config,
            tls,
            listener,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a port of the domain, for a runtime.
    pub fn into_port(self, entropy: Arc<dyn Entropy>) -> Box<dyn MeshPort> {
        Box::new(Taken {
            listening: self,
            entropy,
        })
    }

    /// Starts to answer and to link, as the life that was registered.
    pub async fn start(
        self,
        incarnation: i64,
        service: Arc<dyn Service>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Link, LinkError> {
        let shared = Arc::new(Shared::new(self.config, self.tls, incarnation, service, entropy));
        let root = Root {
            shared: Arc::clone(&shared),
        };
        let (root, _) = Actor::spawn(None, root, ())
            .await
            .map_err(|error| LinkError::Start(error.to_string()))?;
        if let Some(watch) = Watch::new(&shared) {
            shared.tasks.spawn(watch.run());
        }
        shared
            .tasks
            .spawn(accept::run(Arc::clone(&shared), self.listener));
        Ok(Link {
            shared,
            root,
            address: self.address,
        })
    }
}

/// The way to the other nodes. Clones are the same link.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    root: ActorRef<RootMessage>,
    address: SocketAddr,
}

impl Link {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[async_trait]
impl Peers for Link {
    async fn call(
        &self,
        node: &NodeName,
        kind: Kind,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, PeerError> {
        let peer = self.shared.peer(node).ok_or(PeerError::Unknown)?;
        peer.call(&self.shared.config.node, kind, &body, deadline).await
    }

    fn notify(&self, note: Note) {
        for peer in self.shared.peers() {
            peer.notify(note.clone());
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        self.shared.peers().iter().map(|peer| peer.view()).collect()
    }
}

#[async_trait]
impl Mesh for Link {
    fn set_peers(&self, peers: Vec<PeerAddress>) {
        self.shared.set_peers(peers);
    }

    fn reborn(&self, incarnation: i64) {
        self.shared.reborn(incarnation);
    }

    async fn stop(&self) {
        self.shared.tasks.close();
        self.shared.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("calls of other nodes were still being served at the link's end");
        }
        // The root's children end with it.
        if let Err(error) = self.root.stop_and_wait(None, Some(STOP_TIMEOUT)).await {
            tracing::warn!(%error, "the link's actors did not end");
        }
    }
}

/// A port that waits for its node to register.
struct Taken {
    listening: Listening,
    entropy: Arc<dyn Entropy>,
}

#[async_trait]
impl MeshPort for Taken {
    async fn open(
        self: Box<Self>,
        incarnation: i64,
        service: Arc<dyn Service>,
    ) -> Result<Arc<dyn Mesh>, MeshError> {
        let opened = self.listening.start(incarnation, service, self.entropy).await;
        let link = opened.map_err(|error| MeshError(error.to_string()))?;
        Ok(Arc::new(link))
    }
}
