//! What the parts of a node's link share: who the peers are, and how their calls are served.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use ractor::{ActorRef, RpcReplyPort};
use ractor_cluster::NodeServerMessage;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{PeerAddress, Service, WireError};
use roost_domain::time::Entropy;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::LinkConfig;
use crate::door::Openings;
use crate::greeting::{Channel, Hello, Me, Refusal};
use crate::peer::Peer;
use crate::tls::Tls;
use crate::wire::{self, CallHead, NotesHead, WireFault};

/// Longest time that a call may ask for.
const CALL_TIME_MAX: Duration = Duration::from_secs(600);

/// When a caller may try again that was turned away.
pub(crate) const RETRY_MS: u32 = 50;

pub(crate) struct Shared {
    pub config: LinkConfig,
    pub service: Arc<dyn Service>,
    pub entropy: Arc<dyn Entropy>,
    pub openings: Openings,
    /// Ends everything.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    incarnation: AtomicI64,
    labels: AtomicU64,
    tls: RwLock<Option<Tls>>,
    door: RwLock<Option<ActorRef<NodeServerMessage>>>,
    peers: RwLock<BTreeMap<NodeName, Arc<Peer>>>,
}

/// A call that is let in.
struct Admitted {
    head: CallHead,
    body: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl Shared {
    pub fn new(
        config: LinkConfig,
        tls: Option<Tls>,
        incarnation: i64,
        service: Arc<dyn Service>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            config,
            service,
            entropy,
            openings: Openings::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            incarnation: AtomicI64::new(incarnation),
            labels: AtomicU64::new(1),
            tls: RwLock::new(tls),
            door: RwLock::default(),
            peers: RwLock::default(),
        }
    }

    /// What this node brings to a greeting.
    pub fn me(&self, channel: Channel) -> Me<'_> {
        let mut nonce = [0; 32];
        self.entropy.fill(&mut nonce);
        Me {
            node: &self.config.node,
            incarnation: self.incarnation.load(Ordering::Acquire),
            release: &self.config.release,
            cookie: &self.config.cookie,
            channel,
            nonce,
        }
    }

    /// Whether a node that has said hello may be linked to.
    pub fn may_enter(&self, hello: &Hello) -> Result<(), Refusal> {
        let peer = self.peer(&hello.node).ok_or(Refusal::Unknown)?;
        // A link can be to a later life than the rows that were read last tell of.
        if hello.incarnation < peer.incarnation_min() {
            return Err(Refusal::Stale);
        }
        Ok(())
    }

    /// How connections are encrypted from now on; without certificates they are not.
    pub fn tls(&self) -> Option<Tls> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_tls(&self, tls: Tls) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }

    pub fn label(&self, peer: &NodeName) -> String {
        format!("{peer}#{}", self.labels.fetch_add(1, Ordering::Relaxed))
    }

    pub fn door(&self) -> Option<ActorRef<NodeServerMessage>> {
        self.door.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_door(&self, door: ActorRef<NodeServerMessage>) {
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = Some(door);
    }

    pub fn peer(&self, node: &NodeName) -> Option<Arc<Peer>> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .cloned()
    }

    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Makes these the peers: links to new ones are made, those to others are cut.
    pub fn set_peers(self: &Arc<Self>, addresses: Vec<PeerAddress>) {
        let wanted: BTreeMap<NodeName, PeerAddress> = addresses
            .into_iter()
            .filter(|address| address.node != self.config.node)
            .map(|address| (address.node.clone(), address))
            .collect();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|node, peer| {
            let stays = wanted.contains_key(node);
            if !stays {
                peer.leave();
            }
            stays
        });
        for (node, address) in wanted {
            if let Some(peer) = peers.get(&node) {
                peer.moved(address);
                continue;
            }
            // One link may wait while the one before it is cut.
            let (inbound, links) = mpsc::channel(1);
            let peer = Arc::new(Peer::new(
                address,
                &self.config.limits,
                inbound,
                self.stop.child_token(),
            ));
            peers.insert(node, Arc::clone(&peer));
            self.tasks.spawn(peer.run(Arc::clone(self), links));
        }
    }

    /// Cuts every link. They are made again.
    pub fn cut_links(&self) {
        for peer in self.peers() {
            peer.cut();
        }
    }

    /// Goes on as a later life: peers hear of it by new links.
    pub fn reborn(&self, incarnation: i64) {
        self.incarnation.store(incarnation, Ordering::Release);
        self.cut_links();
    }

    /// Carries out a call of another node, in a task.
    pub fn serve(self: &Arc<Self>, call: Vec<u8>, reply: RpcReplyPort<Vec<u8>>) {
        match self.admit(call) {
            Ok(call) => {
                let shared = Arc::clone(self);
                self.tasks.spawn(async move {
                    let result = shared.carry_out(call).await;
                    answer(reply, &result);
                });
            }
            Err(error) => answer(reply, &Err(error)),
        }
    }

    fn admit(&self, call: Vec<u8>) -> Result<Admitted, WireError> {
        let (head, body) = wire::open::<CallHead>(call).map_err(|fault| match fault {
            WireFault::Version(_) => WireError::UnknownKind,
            WireFault::Head(reason) => WireError::Bad(reason),
        })?;
        if body.len() > self.config.limits.body_bytes_max {
            return Err(WireError::Bad("the body is too large".to_owned()));
        }
        let peer = self
            .peer(&head.from)
            .ok_or_else(|| WireError::Bad(format!("{} is not in the cluster", head.from)))?;
        let permit = Arc::clone(&peer.serving)
            .try_acquire_owned()
            .map_err(|_| WireError::Overloaded { retry_ms: RETRY_MS })?;
        Ok(Admitted {
            head,
            body,
            _permit: permit,
        })
    }

    async fn carry_out(&self, call: Admitted) -> Result<Bytes, WireError> {
        let left = Duration::from_millis(call.head.left_ms).min(CALL_TIME_MAX);
        let deadline = Instant::now() + left;
        let head = &call.head;
        let serve = self.service.serve(&head.from, head.kind, call.body, deadline);
        let serve = AssertUnwindSafe(serve).catch_unwind();
        let body = match tokio::time::timeout_at(deadline.into(), serve).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => {
                tracing::error!(peer = %head.from, kind = head.kind.0, "a call of another node panicked");
                return Err(WireError::Failed("it panicked".to_owned()));
            }
            Err(_) => return Err(WireError::Deadline),
        };
        if body.len() > self.config.limits.body_bytes_max {
            return Err(WireError::TooLarge);
        }
        Ok(body)
    }

    /// Passes notes of another node on, in a task: the service may be slow, or panic.
    pub fn told(self: &Arc<Self>, notes: Vec<u8>, reply: RpcReplyPort<Vec<u8>>) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            match wire::open::<NotesHead>(notes) {
                Ok((head, _)) if shared.peer(&head.from).is_some() => {
                    let from = head.from.clone();
                    for note in head.into_notes() {
                        shared.service.told(&from, note);
                    }
                }
                Ok((head, _)) => {
                    tracing::debug!(peer = %head.from, "notes of a node that is not in the cluster");
                }
                Err(error) => tracing::debug!(%error, "notes that cannot be read"),
            }
            let _ = reply.send(Vec::new());
        });
    }
}

fn answer(reply: RpcReplyPort<Vec<u8>>, result: &Result<Bytes, WireError>) {
    match wire::answer(result) {
        // Nobody waits any more: the caller has given up, or the link is gone.
        Ok(frame) => drop(reply.send(frame)),
        Err(error) => tracing::error!(%error, "an answer could not be written"),
    }
}
