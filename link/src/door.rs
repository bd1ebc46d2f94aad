//! The door: stands in for `ractor_cluster`'s `NodeServer` and starts a `NodeSession` per link.
//!
//! Own because `NodeServer` opens a listener that cannot be turned off, and because it lets the name
//! that a peer gives itself decide which session lives. Here every stream comes with the name that was
//! proven in the greeting, and a session under another name is stopped before it is let in. There is one
//! link per peer at a time, so nothing is ever elected. See ADR 0012.
//!
//! When a session ends, or the door itself, the link's `closed` is cancelled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::node::{NodeConnectionMode, SessionCheckReply};
use ractor_cluster::{ClusterBidiStream, NetworkStream, NodeServerMessage, NodeSession, NodeSessionMessage};
use roost_domain::cluster::NodeName;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Numbers of sessions: `ractor_cluster` tells remote actors apart by them, in the whole process.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// A link that the door is to open.
pub(crate) struct Opening {
    /// Who is at the other end, as proven.
    pub peer: NodeName,
    /// Told when both sides have said which actors they have.
    pub ready: oneshot::Sender<Ready>,
    /// Cancelled when the link has ended.
    pub closed: DropGuard,
}

/// A link through which actors can be reached.
pub(crate) struct Ready {
    /// Number by which its remote actors are told apart from those of other links.
    pub session: u64,
}

/// Links on their way to the door, by the label of their streams.
#[derive(Clone, Default)]
pub(crate) struct Openings(Arc<Mutex<HashMap<String, Opening>>>);

impl Openings {
    /// Puts a link down, until the door takes it. Dropping what is returned takes it away again.
    pub fn put(&self, label: String, opening: Opening) -> Placed {
        self.lock().insert(label.clone(), opening);
        Placed {
            openings: self.clone(),
            label,
        }
    }

    fn take(&self, label: &str) -> Option<Opening> {
        self.lock().remove(label)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Opening>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link that was put down.
pub(crate) struct Placed {
    openings: Openings,
    label: String,
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.openings.take(&self.label);
    }
}

/// The actor.
pub(crate) struct Door {
    pub node: NodeName,
    pub cookie: String,
    pub frame_bytes_max: u64,
    pub openings: Openings,
}

pub(crate) struct DoorState {
    sessions: HashMap<ActorId, Session>,
}

struct Session {
    actor: ActorRef<NodeSessionMessage>,
    number: u64,
    peer: NodeName,
    /// The connection's own number, once the peer has said its right name.
    named: Option<u64>,
    ready: Option<oneshot::Sender<Ready>>,
    _closed: DropGuard,
}

impl Door {
    async fn open(
        &self,
        myself: &ActorRef<NodeServerMessage>,
        stream: Box<dyn ClusterBidiStream>,
        is_server: bool,
        state: &mut DoorState,
    ) {
        let label = stream.peer_label().unwrap_or_default();
        // Gone when whoever wanted it has given up.
        let Some(opening) = self.openings.take(&label) else {
            return;
        };
        let (reader, writer) = stream.split();
        let stream = NetworkStream::External {
            peer_label: Some(label),
            local_label: None,
            reader,
            writer,
        };
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let session = NodeSession::new(
            number,
            is_server,
            self.cookie.clone(),
            myself.clone(),
            filled(self.node.to_string(), |name, text| {
                name.connection_string.clone_from(&text);
                name.name = text;
            }),
            NodeConnectionMode::Isolated,
        )
        .with_max_inbound_frame_size(self.frame_bytes_max);
        match Actor::spawn_linked(None, session, stream, myself.get_cell()).await {
            Ok((actor, _)) => {
                let session = Session {
                    actor: actor.clone(),
                    number,
                    peer: opening.peer,
                    named: None,
                    ready: Some(opening.ready),
                    _closed: opening.closed,
                };
                state.sessions.insert(actor.get_id(), session);
            }
            Err(error) => {
                tracing::warn!(peer = %opening.peer, %error, "a link's session could not be started");
            }
        }
    }
}

impl DoorState {
    /// A peer says its name in `ractor_cluster`'s handshake. It has to be the one that it has proven.
    fn named(&mut self, actor: ActorId, name: &str, connection: u64) {
        let Some(session) = self.sessions.get_mut(&actor) else {
            return;
        };
        if name == session.peer.as_str() {
            session.named = Some(connection);
        } else {
            tracing::warn!(peer = %session.peer, "a node goes by another name than it has proven");
            session.named = None;
            session.actor.stop(Some("wrong name".to_owned()));
        }
    }

    fn check(&self, name: &str, connection: u64) -> SessionCheckReply {
        let known = self
            .sessions
            .values()
            .any(|session| session.peer.as_str() == name && session.named == Some(connection));
        if known {
            SessionCheckReply::NoOtherConnection
        } else {
            SessionCheckReply::OtherConnectionContinues
        }
    }

    fn ready(&mut self, actor: ActorId) {
        if let Some(session) = self.sessions.get_mut(&actor)
            && session.named.is_some()
            && let Some(ready) = session.ready.take()
        {
            // Nobody waits any more: the link is cut already.
            let _ = ready.send(Ready {
                session: session.number,
            });
        }
    }
}

/// Fills a value whose type has no public name: `ractor_cluster` keeps its name message to itself.
fn filled<T: Default>(text: String, fill: fn(&mut T, String)) -> T {
    let mut value = T::default();
    fill(&mut value, text);
    value
}

impl Actor for Door {
    type Msg = NodeServerMessage;
    type State = DoorState;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<NodeServerMessage>,
        (): (),
    ) -> Result<DoorState, ActorProcessingErr> {
        Ok(DoorState {
            sessions: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<NodeServerMessage>,
        message: NodeServerMessage,
        state: &mut DoorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            NodeServerMessage::ConnectionOpenedExternal { stream, is_server } => {
                self.open(&myself, stream, is_server, state).await;
            }
            NodeServerMessage::UpdateSession { actor_id, name } => {
                state.named(actor_id, &name.name, name.connection_id);
            }
            NodeServerMessage::CheckSession { peer_name, reply } => {
                let _ = reply.send(state.check(&peer_name.name, peer_name.connection_id));
            }
            NodeServerMessage::ConnectionReady(actor) => state.ready(actor),
            // Asked on behalf of peers that look for further nodes: ours know them from the database.
            NodeServerMessage::GetSessions(reply) => {
                let _ = reply.send(HashMap::new());
            }
            NodeServerMessage::ConnectionOpened { .. }
            | NodeServerMessage::ConnectionAuthenticated(_)
            | NodeServerMessage::SubscribeToEvents { .. }
            | NodeServerMessage::UnsubscribeToEvents(_)
            | NodeServerMessage::PortChanged { .. } => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NodeServerMessage>,
        event: SupervisionEvent,
        state: &mut DoorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, ..) => {
                state.sessions.remove(&actor.get_id());
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                if let Some(session) = state.sessions.remove(&actor.get_id()) {
                    tracing::error!(peer = %session.peer, %error, "a link's session failed");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A token that is cancelled when its guard is dropped, and the guard.
pub(crate) fn closing() -> (CancellationToken, DropGuard) {
    let token = CancellationToken::new();
    (token.clone(), token.drop_guard())
}
