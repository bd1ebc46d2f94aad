//! Calls to whoever owns a slot, on whichever node that is.
//!
//! ```text
//! handle ── Ask ──▶ owner() ── here ──▶ carry_out                    what the owner does
//!                      └── another node ── link ──▶ serve() ──▶ obey ──▶ carry_out
//! ```
//! Who asks need not know where the owner is. A call that meets nobody, because its slot is on its way from
//! one node to another or a link is down, is held for a moment and tried again: nothing was done until
//! then. What may have been done is repeated only where that does no harm; otherwise the caller is told
//! that it is not known. Nothing waits beyond the call's own deadline.
//!
//! A kind of actor that can be asked is a [`Desk`]; each question is an [`Ask`]. Both are next to the kind's
//! handle, in its `ask.rs`.
//!
//! What is asked, and what comes back, is written with names (MessagePack maps), so that both can grow. What
//! the called node cannot read it refuses, untouched: the two are of different releases.

mod fault;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roost_domain::Slot;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{Kind, PeerError, Peers, WireError};
use roost_domain::slot::Place;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use self::fault::Fault;
use super::ClusterPlacement;
use crate::CallError;
use crate::node::NodeContext;
use crate::registry::nowhere;

/// What the way there and back may take beyond what the call may take: so the owner's own answer comes
/// before its caller gives it up.
const WAY: Duration = Duration::from_millis(200);
/// How often a call that is held is tried again while nothing is heard.
const AGAIN: Duration = Duration::from_millis(50);
/// How often what another node has to know is told again.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// Changes that wait to be told to other nodes.
const NEWS_MAX: usize = 1_024;
/// How many times a call goes at once where a node sends it on to.
const HINTS_MAX: usize = 2;

/// A kind of actor whose owner other nodes can ask: who carries out here what is for one of them.
pub(crate) trait Desk: Clone + Send + Sync + 'static {
    /// What it is to the link.
    const KIND: Kind;
    /// What one of them is called.
    const WHAT: &'static str;
    /// Everything that is asked of one, as it is sent.
    type Wire: Serialize + DeserializeOwned + Send;

    /// The node that it is on.
    fn node(&self) -> &Arc<NodeContext>;

    /// Does what another node asks for: each question by [`answer`].
    fn obey(
        &self,
        asked: Self::Wire,
        given_up: std::time::Instant,
    ) -> impl Future<Output = Result<Bytes, WireError>> + Send;
}

/// What is asked of the owner of a slot.
pub(crate) trait Ask: Clone + Send + Sync {
    /// Who carries it out.
    type Desk: Desk<Wire: From<Self>>;
    /// What comes back.
    type Answer: Serialize + DeserializeOwned + Send;

    /// The slot whose owner it is for.
    fn slot(&self) -> Slot;

    /// Whether it does no harm to carry it out twice.
    fn repeats(&self) -> bool;

    /// How long it may take beyond its deadline.
    fn longer(&self, _desk: &Self::Desk) -> Duration {
        Duration::ZERO
    }

    /// Does it, as the owner.
    fn carry_out(
        self,
        desk: &Self::Desk,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// The ways of a node to others.
pub(crate) struct Routes {
    pub peers: Arc<dyn Peers>,
    placement: Arc<ClusterPlacement>,
    /// Has the steward look at the rows.
    hint: Arc<Notify>,
    /// How long a call is held that meets nobody.
    hold: Duration,
    news: Arc<Semaphore>,
}

/// What came of one try.
enum Tried<T> {
    Answered(Result<T, CallError>),
    /// Nothing was done: there was nobody, or the wrong one.
    Nobody(CallError, Option<NodeName>),
    /// It may have been done.
    Unknown,
}

/// Has the owner of a slot do something, by a deadline.
pub(crate) async fn owner<A: Ask>(desk: &A::Desk, ask: A, deadline: Instant) -> Result<A::Answer, CallError> {
    match desk.node().routes() {
        Some(routes) => routes.owner(desk, ask, deadline).await,
        None => ask.carry_out(desk, deadline).await,
    }
}

impl Routes {
    pub fn new(
        peers: Arc<dyn Peers>,
        placement: Arc<ClusterPlacement>,
        hint: Arc<Notify>,
        hold: Duration,
    ) -> Self {
        let news = Arc::new(Semaphore::new(NEWS_MAX));
        Self {
            peers,
            placement,
            hint,
            hold,
            news,
        }
    }

    async fn owner<A: Ask>(&self, desk: &A::Desk, ask: A, deadline: Instant) -> Result<A::Answer, CallError> {
        let mut changes = self.placement.changes();
        let (mut until, mut unknown, mut hints) = (None, false, 0);
        let mut sent_to = None;
        loop {
            changes.mark_unchanged();
            let tried = match sent_to.take() {
                Some(owner) => self.ask_peer(&owner, desk, &ask, deadline).await,
                None => self.ask_owner(desk, &ask, deadline).await,
            };
            let why = match tried {
                // This try did nothing; the one before may have.
                Tried::Answered(Err(error)) if unknown && passes(&error) => return Err(CallError::Timeout),
                Tried::Answered(answer) => return answer,
                Tried::Unknown if unknown || !ask.repeats() => return Err(CallError::Timeout),
                Tried::Unknown => {
                    unknown = true;
                    CallError::Timeout
                }
                Tried::Nobody(_, Some(owner))
                    if hints < HINTS_MAX && owner.as_str() != desk.node().placement.node() =>
                {
                    hints += 1;
                    sent_to = Some(owner);
                    continue;
                }
                Tried::Nobody(..) if unknown => CallError::Timeout,
                Tried::Nobody(why, _) => why,
            };
            let until = *until.get_or_insert_with(|| deadline.min(Instant::now() + self.hold));
            if Instant::now() >= until {
                return Err(why);
            }
            self.hint.notify_one();
            // Without news it is tried again all the same: a link may be there again.
            let _ = timeout_at(until.min(Instant::now() + AGAIN), changes.changed()).await;
        }
    }

    /// Whoever is the owner, as far as this node knows.
    async fn ask_owner<A: Ask>(&self, desk: &A::Desk, ask: &A, deadline: Instant) -> Tried<A::Answer> {
        match desk.node().placement.place(ask.slot()) {
            Place::Here(_) => here(desk, ask.clone(), deadline).await,
            Place::Node(owner) => self.ask_peer(&owner, desk, ask, deadline).await,
            Place::Nowhere { retry_after } => Tried::Nobody(nowhere(A::Desk::WHAT, retry_after), None),
        }
    }

    /// Nodes that own slots, and this one.
    pub fn nodes(&self) -> usize {
        self.placement.nodes()
    }

    async fn ask_peer<A: Ask>(
        &self,
        owner: &NodeName,
        desk: &A::Desk,
        ask: &A,
        deadline: Instant,
    ) -> Tried<A::Answer> {
        let body = match rmp_serde::to_vec_named(&<A::Desk as Desk>::Wire::from(ask.clone())) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                return Tried::Answered(Err(internal(format!("a call cannot be written: {error}"))));
            }
        };
        let given_up = (deadline + ask.longer(desk) + WAY).into_std();
        match self.peers.call(owner, A::Desk::KIND, body, given_up).await {
            Ok(answer) => match rmp_serde::from_slice::<Result<A::Answer, Fault>>(&answer) {
                Ok(answer) => Tried::Answered(answer.map_err(CallError::from)),
                Err(error) => {
                    tracing::warn!(peer = %owner, %error, "an answer of another node cannot be read");
                    Tried::Answered(Err(CallError::Timeout))
                }
            },
            Err(error) => unanswered(owner, A::Desk::WHAT, error),
        }
    }
}

/// The same without holding the call: whoever asks knows what to do when there is nobody. Not to be asked on
/// a node without a cluster.
pub(crate) async fn once<A: Ask>(
    routes: &Routes,
    desk: &A::Desk,
    ask: A,
    deadline: Instant,
) -> Result<A::Answer, CallError> {
    let mut sent_to = None;
    for _ in 0..=HINTS_MAX {
        let tried = match sent_to.take() {
            Some(owner) => routes.ask_peer(&owner, desk, &ask, deadline).await,
            None => routes.ask_owner(desk, &ask, deadline).await,
        };
        match tried {
            Tried::Answered(answer) => return answer,
            Tried::Unknown => return Err(CallError::Timeout),
            Tried::Nobody(why, hint) => {
                routes.hint.notify_one();
                sent_to = hint.filter(|owner| owner.as_str() != desk.node().placement.node());
                if sent_to.is_none() {
                    return Err(why);
                }
            }
        }
    }
    Err(nowhere(A::Desk::WHAT, crate::error::RETRY_AFTER))
}

/// Lets the owner of a slot know of something that is durable, until it does: a link may be down, and the
/// owner another one meanwhile. Goes on without the caller, who is told when it is done.
pub(crate) fn tell<A>(desk: &A::Desk, ask: A, each: Duration) -> oneshot::Receiver<()>
where
    A: Ask<Answer = ()> + 'static,
{
    let (done, told) = oneshot::channel();
    let (desk, node) = (desk.clone(), Arc::clone(desk.node()));
    let stopping = node.stopping.clone();
    let turn = node
        .routes()
        .map(|routes| Arc::clone(&routes.news).try_acquire_owned());
    if let Some(Err(_)) = turn {
        tracing::warn!(
            what = A::Desk::WHAT,
            "too much waits to be told to other nodes; a change holds when it starts anew"
        );
        return told;
    }
    let task = async move {
        let _turn = turn;
        while let Err(error) = owner(&desk, ask.clone(), Instant::now() + each).await {
            if !passes(&error) {
                return;
            }
            sleep(NEWS_EVERY).await;
        }
        // Whoever waited may have gone.
        let _ = done.send(());
    };
    node.tasks.spawn(async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = task => {}
        }
    });
    told
}

/// Whether the same call may succeed later.
fn passes(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Overloaded { .. }
            | CallError::Unavailable { .. }
            | CallError::Moving { .. }
            | CallError::Moved
            | CallError::Timeout
    )
}

/// What no answer means.
fn unanswered<T>(owner: &NodeName, what: &str, error: PeerError) -> Tried<T> {
    let overloaded = |retry_ms: u32| {
        let retry_after = Duration::from_millis(retry_ms.into()).max(crate::error::RETRY_AFTER);
        Tried::Answered(Err(CallError::Overloaded { retry_after }))
    };
    match error {
        PeerError::Refused(WireError::NotOwner { hint }) => {
            Tried::Nobody(nowhere(what, crate::error::RETRY_AFTER), hint)
        }
        PeerError::Refused(WireError::Unowned | WireError::Fenced) => {
            Tried::Nobody(nowhere(what, crate::error::RETRY_AFTER), None)
        }
        PeerError::Unknown | PeerError::Down => {
            let detail = format!("this {what} lives on node {owner}, which cannot be reached");
            Tried::Nobody(CallError::unavailable(detail), None)
        }
        PeerError::Overloaded { retry_ms } | PeerError::Refused(WireError::Overloaded { retry_ms }) => {
            overloaded(retry_ms)
        }
        PeerError::Refused(error @ (WireError::UnknownKind | WireError::Bad(_))) => {
            tracing::warn!(peer = %owner, %error, "another node does not understand a call: it runs another release");
            let detail = format!("this {what} lives on node {owner}, which runs another release: {error}");
            Tried::Answered(Err(CallError::unavailable(detail)))
        }
        PeerError::TooLarge => Tried::Answered(Err(internal(
            "a call is larger than cluster.call_bytes_max".to_owned(),
        ))),
        PeerError::Refused(WireError::TooLarge) => Tried::Answered(Err(internal(
            "an answer is larger than cluster.call_bytes_max; the call was carried out".to_owned(),
        ))),
        PeerError::Lost
        | PeerError::Deadline
        | PeerError::Unreadable(_)
        | PeerError::Refused(WireError::Deadline | WireError::Failed(_)) => Tried::Unknown,
    }
}

fn internal(detail: String) -> CallError {
    CallError::Internal { detail }
}

/// Carries it out here. Whether this node still is the one to do so shows afterwards.
async fn here<A: Ask>(desk: &A::Desk, ask: A, deadline: Instant) -> Tried<A::Answer> {
    let (node, slot) = (desk.node(), ask.slot());
    let before = node.placement.place(slot);
    match ask.carry_out(desk, deadline).await {
        // Nothing was done, as both say.
        Err(why @ CallError::Moved) => Tried::Nobody(why, None),
        Err(why @ CallError::Moving { .. }) if node.placement.place(slot) != before => {
            Tried::Nobody(why, None)
        }
        answer => Tried::Answered(answer),
    }
}

/// Reads what another node asks for, and has it done.
pub(crate) async fn serve<D: Desk>(
    desk: &D,
    from: &NodeName,
    body: &[u8],
    given_up: std::time::Instant,
) -> Result<Bytes, WireError> {
    let asked = rmp_serde::from_slice(body).map_err(|error| {
        tracing::warn!(peer = %from, %error, "a call of another node is not understood: it runs another release");
        WireError::UnknownKind
    })?;
    desk.obey(asked, given_up).await
}

/// Carries out a question of another node.
pub(crate) async fn answer<A: Ask>(
    desk: &A::Desk,
    ask: A,
    given_up: std::time::Instant,
) -> Result<Bytes, WireError> {
    let (node, slot) = (desk.node(), ask.slot());
    not_here(node, slot)?;
    if !node.placement.holds_lease() {
        return Err(WireError::Fenced);
    }
    let extra = ask.longer(desk) + WAY;
    let given_up = Instant::from_std(given_up);
    let deadline = given_up.checked_sub(extra).unwrap_or(given_up);
    let answer = match here(desk, ask, deadline).await {
        Tried::Answered(answer) => answer,
        Tried::Nobody(..) | Tried::Unknown => {
            not_here(node, slot)?;
            return Err(WireError::Unowned);
        }
    };
    let answer = answer.map_err(Fault::from);
    let written = rmp_serde::to_vec_named(&answer).map(Bytes::from);
    written.map_err(|error| WireError::Failed(format!("the answer cannot be written: {error}")))
}

/// Refuses what is for a slot that is not here.
fn not_here(node: &NodeContext, slot: Slot) -> Result<(), WireError> {
    match node.placement.place(slot) {
        Place::Here(_) => Ok(()),
        Place::Node(owner) => Err(WireError::NotOwner { hint: Some(owner) }),
        Place::Nowhere { .. } => Err(WireError::Unowned),
    }
}
