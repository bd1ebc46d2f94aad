//! The nodes of the gateway and its slots, as operators see them.

use std::collections::BTreeMap;
use std::time::Duration;

use roost_domain::Epoch;
use roost_domain::cluster::{ClusterView, NodeLease, NodeName};
use roost_domain::peer::PeerView;
use roost_domain::slot::{Place, Placement, Slot};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::GateView;
use crate::cluster::{live_owner, rendezvous};

/// Whether a node answered when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It did.
    Ok,
    /// It did not within `cluster.operator_timeout`, or its lease has expired.
    Unreachable,
}

/// Whether a node answered, beside what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAnswer {
    /// Its name.
    pub node: String,
    /// Whether it answered.
    pub status: NodeStatus,
    /// Why it did not.
    pub error: Option<String>,
}

/// Until when a node may act for what it owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Whether it holds.
    pub state: LeaseState,
    /// For how long it does, in milliseconds, by the database's clock.
    pub expires_in_ms: Option<u64>,
}

/// Whether a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// It holds.
    Live,
    /// It does not: the node is gone or frozen, or PostgreSQL does not hear it.
    Expired,
}

/// How many slots a node has and should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotCount {
    /// It owns so many.
    pub owned: usize,
    /// It would own so many if none had to move any more.
    pub desired: usize,
}

/// How many actors of a kind a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Census {
    /// All together.
    pub count: usize,
    /// In each state.
    pub states: BTreeMap<String, usize>,
}

impl Census {
    pub(super) fn of(states: BTreeMap<&'static str, usize>) -> Self {
        Self {
            count: states.values().sum(),
            states: states
                .into_iter()
                .map(|(state, count)| (state.to_owned(), count))
                .collect(),
        }
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeLoad {
    /// Whether what is to run in its slots was started.
    pub ready: bool,
    /// How long its actors have been up.
    pub uptime_ms: u64,
    /// Its sessions, running or waiting to be started again.
    pub sessions: Census,
    /// Its webhooks' deliverers.
    pub webhooks: Census,
    /// Its buckets of rate limits.
    pub buckets: Census,
    /// Its actors that wait for an operator.
    pub need_operator: usize,
    /// Its start gate.
    pub gate: GateView,
}

/// The link from the node that answers to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Whether there is one that works.
    pub connected: bool,
    /// How long its last answers to a ping took, in microseconds.
    pub rtt_us: Option<u64>,
    /// Calls to it that wait for its answer.
    pub in_flight: usize,
    /// Its calls that are being carried out.
    pub serving: usize,
    /// Notes to it that were dropped since this node started.
    pub notes_dropped: u64,
    /// Links to it that were made since this node started.
    pub links: u64,
    /// Why there is no link, or why the last one ended.
    pub last_error: Option<String>,
}

impl From<PeerView> for LinkView {
    fn from(peer: PeerView) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            connected: peer.connected,
            rtt_us: peer.rtt.map(micros),
            in_flight: peer.in_flight,
            serving: peer.serving,
            notes_dropped: peer.notes_dropped,
            links: peer.links,
            last_error: peer.last_error,
        }
    }
}

/// One node as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name; `local` without a cluster.
    pub node: String,
    /// Whether it is the one that answers this call.
    pub here: bool,
    /// Whether it answered when it was asked how it does.
    pub status: NodeStatus,
    /// Why it did not.
    pub error: Option<String>,
    /// Number of its life: each registration raises it. Null without a cluster, as what follows up to
    /// `age_ms`.
    pub incarnation: Option<i64>,
    /// Where other nodes reach it.
    pub address: Option<String>,
    /// Where its HTTP API listens.
    pub http_address: Option<String>,
    /// Its lease.
    pub lease: Option<LeaseView>,
    /// How long ago this life of it registered, in milliseconds.
    pub age_ms: Option<u64>,
    /// Release that it runs.
    pub version: String,
    /// Whether it gives its slots away and takes none.
    pub draining: bool,
    /// Its slots.
    pub slots: SlotCount,
    /// How it does, in its own words.
    pub load: Option<NodeLoad>,
    /// The link to it; null for the node that answers.
    pub link: Option<LinkView>,
}

/// One slot as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// Its number.
    pub slot: Slot,
    /// The node that owns it, or did last.
    pub owner: Option<String>,
    /// The life of that node that took it.
    pub incarnation: Option<i64>,
    /// Whether the lease of that life holds. When it does not, the slot is nobody's.
    pub held: bool,
    /// Epoch of the last claim.
    pub epoch: Option<Epoch>,
    /// The node that should own it.
    pub desired_owner: Option<String>,
    /// Whether it has yet to come to that node.
    pub moving: bool,
}

/// Whom each slot belongs to, by the rows.
pub(super) fn desired(view: &ClusterView) -> BTreeMap<Slot, NodeName> {
    let takers: Vec<&NodeName> = view
        .nodes
        .iter()
        .filter(|(_, lease)| lease.is_live() && !lease.draining)
        .map(|(node, _)| node)
        .collect();
    let of = |slot| rendezvous(slot, &takers).map(|node| (slot, node.clone()));
    Slot::all().filter_map(of).collect()
}

/// Every slot, by the rows.
pub(super) fn slots(view: &ClusterView) -> Vec<SlotView> {
    let desired = desired(view);
    let of = |slot: Slot| {
        let row = view.slots.get(&slot);
        let member = row.and_then(|row| row.member.as_ref());
        let live = row.and_then(|row| live_owner(view, row));
        let desired = desired.get(&slot);
        SlotView {
            slot,
            owner: member.map(|member| member.node.to_string()),
            incarnation: member.map(|member| member.incarnation),
            held: live.is_some(),
            epoch: row.map(|row| row.epoch),
            desired_owner: desired.map(ToString::to_string),
            moving: live.map(|member| &member.node) != desired,
        }
    };
    Slot::all().map(of).collect()
}

/// Every slot of a node without a cluster.
pub(super) fn local_slots(placement: &dyn Placement) -> Vec<SlotView> {
    let of = |slot| {
        let epoch = match placement.place(slot) {
            Place::Here(epoch) => Some(epoch),
            Place::Node(_) | Place::Nowhere { .. } => None,
        };
        SlotView {
            slot,
            owner: Some(placement.node().to_owned()),
            incarnation: None,
            held: epoch.is_some(),
            epoch,
            desired_owner: Some(placement.node().to_owned()),
            moving: false,
        }
    };
    Slot::all().map(of).collect()
}

/// How many slots each node has and should have.
pub(super) fn counts(view: &ClusterView) -> BTreeMap<NodeName, SlotCount> {
    let mut counts: BTreeMap<NodeName, SlotCount> = BTreeMap::new();
    for owner in view.slots.values() {
        if let Some(member) = live_owner(view, owner) {
            counts.entry(member.node.clone()).or_default().owned += 1;
        }
    }
    for node in desired(view).into_values() {
        counts.entry(node).or_default().desired += 1;
    }
    counts
}

/// A node's row, before it is asked how it does.
pub(super) fn row(lease: &NodeLease, slots: SlotCount) -> NodeView {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let state = if lease.is_live() {
        LeaseState::Live
    } else {
        LeaseState::Expired
    };
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    NodeView {
        node: lease.card.node.to_string(),
        here: false,
        status: NodeStatus::Unreachable,
        error: (!lease.is_live()).then(|| "its lease has expired".to_owned()),
        incarnation: Some(lease.incarnation),
        address: optional(&lease.card.address),
        http_address: optional(&lease.card.http_address),
        lease: Some(LeaseView {
            state,
            expires_in_ms: lease.expires_in.map(millis),
        }),
        age_ms: Some(millis(lease.age)),
        version: lease.card.version.clone(),
        draining: lease.draining,
        slots,
        load: None,
        link: None,
    }
}

/// The only node of a gateway without a cluster.
pub(super) fn alone(node: &str, load: NodeLoad) -> NodeView {
    let all = usize::from(Slot::COUNT);
    NodeView {
        node: node.to_owned(),
        here: true,
        status: NodeStatus::Ok,
        error: None,
        incarnation: None,
        address: None,
        http_address: None,
        lease: None,
        age_ms: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: false,
        slots: SlotCount {
            owned: all,
            desired: all,
        },
        load: Some(load),
        link: None,
    }
}
