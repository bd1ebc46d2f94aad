//! The actors of every node: a page of them, one, and what is done to one.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use roost_domain::cluster::NodeName;
use roost_domain::peer::{PeerError, WireError};
use roost_domain::slot::Place;

use super::local::{is_bucket_of_each_node, slot_of};
use super::wire::{From as Begin, Listed, Listing, OperatorAnswer, OperatorCall, Refusal};
use super::{MIXED_UP, NodeAnswer, NodeStatus, Operator, OperatorError, failed};
use crate::CallError;
use crate::index::{ActorFilter, ActorView};
use crate::registry::Operation;

/// In which order actors are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// By path and then by node, after a place. An actor that moves to another node keeps its place.
    Path {
        /// The last of the page before.
        after: Option<ActorPlace>,
    },
    /// Those that most need somebody to look at them. There is one page.
    Worst,
}

/// The place of an actor in the list of all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActorPlace {
    /// Its path.
    pub path: String,
    /// Its node.
    pub node: String,
}

/// A text is no place of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a node and a path")]
pub struct ActorPlaceError;

impl fmt::Display for ActorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of nodes have no spaces.
        write!(f, "{} {}", self.node, self.path)
    }
}

impl FromStr for ActorPlace {
    type Err = ActorPlaceError;

    fn from_str(text: &str) -> Result<Self, ActorPlaceError> {
        let (node, path) = text.split_once(' ').ok_or(ActorPlaceError)?;
        Ok(Self {
            path: path.to_owned(),
            node: node.to_owned(),
        })
    }
}

impl ActorPlace {
    fn of(view: &ActorView) -> Self {
        Self {
            path: view.path.clone(),
            node: view.node.clone(),
        }
    }
}

/// A page of the actors of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorsPage {
    /// The actors.
    pub rows: Vec<ActorView>,
    /// The place after which the next page begins. There may be fewer rows than were asked for, and more
    /// behind them.
    pub next: Option<ActorPlace>,
    /// Which nodes were asked, and whether they answered.
    pub nodes: Vec<NodeAnswer>,
}

impl Operator {
    /// A page of the actors of every node, or of one.
    pub async fn actors(
        &self,
        filter: &ActorFilter,
        node: Option<&str>,
        order: &Order,
        limit: usize,
    ) -> Result<ActorsPage, OperatorError> {
        let others: Vec<NodeName> = self.others().into_iter().map(|peer| peer.node).collect();
        let wanted = |name: &str| node.is_none_or(|node| node == name);
        let known = self.me() == node.unwrap_or(self.me()) || others.iter().any(|name| wanted(name.as_str()));
        if !known {
            let node = node.unwrap_or_default().to_owned();
            return Err(OperatorError::NoSuchNode { node });
        }
        let asked = others.iter().filter(|name| wanted(name.as_str()));
        let asked = asked.map(|name| async move {
            let listing = listing(filter, order, name.as_str(), limit);
            (
                name.as_str(),
                self.listed(name, &OperatorCall::Actors(listing)).await,
            )
        });
        let mut answers = futures::future::join_all(asked).await;
        if wanted(self.me()) {
            let listing = listing(filter, order, self.me(), limit);
            answers.push((self.me(), Ok(self.local.list(&listing))));
        }
        answers.sort_by_key(|(name, _)| *name);
        let mut nodes = Vec::with_capacity(answers.len());
        let mut parts = Vec::with_capacity(answers.len());
        for (name, answer) in answers {
            let (status, error) = match answer {
                Ok(listed) => {
                    parts.push(listed);
                    (NodeStatus::Ok, None)
                }
                Err(error) => (NodeStatus::Unreachable, Some(error.to_string())),
            };
            let node = name.to_owned();
            nodes.push(NodeAnswer { node, status, error });
        }
        let (rows, next) = match order {
            Order::Path { .. } => by_path(parts, limit),
            Order::Worst => (worst(parts, limit), None),
        };
        Ok(ActorsPage { rows, next, nodes })
    }

    async fn listed(&self, node: &NodeName, call: &OperatorCall) -> Result<Listed, PeerError> {
        match self.ask(node, call, self.timeout()).await? {
            OperatorAnswer::Actors(listed) => Ok(listed),
            _ => Err(PeerError::Unreadable(MIXED_UP.to_owned())),
        }
    }

    /// One actor, wherever it lives; on a node, if one is named.
    pub async fn actor(&self, path: &str, node: Option<&str>) -> Result<ActorView, OperatorError> {
        let call = OperatorCall::Actor {
            path: path.to_owned(),
        };
        match self.seat(path, node)? {
            None => {
                let found = self.node().index.get(path);
                found.ok_or(OperatorError::NoSuchActor)
            }
            Some(at) => match self.follow(at, node.is_some(), &call).await? {
                OperatorAnswer::Actor(Some(view)) => Ok(*view),
                OperatorAnswer::Actor(None) => Err(OperatorError::NoSuchActor),
                _ => Err(mixed_up(path)),
            },
        }
    }

    /// Does something to an actor, wherever it lives; on a node, if one is named. It can be repeated
    /// without harm.
    pub async fn operate(
        &self,
        path: &str,
        node: Option<&str>,
        operation: Operation,
    ) -> Result<(), OperatorError> {
        let call = OperatorCall::Operate {
            path: path.to_owned(),
            operation,
        };
        match self.seat(path, node)? {
            None => match self.local.operate(path, operation).await {
                Err(CallError::NotFound) => Err(OperatorError::NoSuchActor),
                done => Ok(done?),
            },
            Some(at) => match self.follow(at, node.is_some(), &call).await? {
                OperatorAnswer::Operated(done) => done.map_err(refused),
                _ => Err(mixed_up(path)),
            },
        }
    }

    /// The node that is to be asked for an actor; none when it is this one.
    fn seat(&self, path: &str, node: Option<&str>) -> Result<Option<NodeName>, OperatorError> {
        if let Some(node) = node {
            if node == self.me() {
                return Ok(None);
            }
            let mut others = self.others().into_iter().map(|peer| peer.node);
            let found = others.find(|name| name.as_str() == node);
            let unknown = || OperatorError::NoSuchNode {
                node: node.to_owned(),
            };
            return found.map(Some).ok_or_else(unknown);
        }
        let placement = &self.node().placement;
        let here = self.node().index.get(path).is_some();
        match slot_of(path).map(|slot| placement.place(slot)) {
            // In the index while it comes and goes.
            Some(_) if here => Ok(None),
            Some(Place::Here(_)) => Ok(None),
            Some(Place::Node(node)) => Ok(Some(node)),
            Some(Place::Nowhere { .. }) => Err(OperatorError::Moving),
            None if self.cluster.is_some() && (here || is_bucket_of_each_node(path)) => {
                Err(OperatorError::WhichNode)
            }
            None => Ok(None),
        }
    }

    /// Asks a node, and once more whom it names as the owner.
    async fn follow(
        &self,
        mut node: NodeName,
        pinned: bool,
        call: &OperatorCall,
    ) -> Result<OperatorAnswer, OperatorError> {
        let wait = match call {
            OperatorCall::Operate { .. } => self.node().settings.control_timeout,
            _ => self.timeout(),
        };
        let mut asked = self.ask(&node, call, wait).await;
        if pinned {
            // It is not there, whoever has it.
            if let Err(PeerError::Refused(WireError::NotOwner { .. } | WireError::Unowned)) = asked {
                return Err(OperatorError::NoSuchActor);
            }
        } else if let Err(PeerError::Refused(WireError::NotOwner { hint: Some(hint) })) = &asked
            && hint.as_str() != self.me()
        {
            node = hint.clone();
            asked = self.ask(&node, call, wait).await;
        }
        asked.map_err(|error| failed(&node, &error))
    }
}

/// The part of a page that a node is asked for.
fn listing(filter: &ActorFilter, order: &Order, node: &str, limit: usize) -> Listing {
    let from = match order {
        Order::Worst => Begin::Worst,
        Order::Path { after: None } => Begin::Start,
        Order::Path { after: Some(place) } if node > place.node.as_str() => Begin::At(place.path.clone()),
        Order::Path { after: Some(place) } => Begin::After(place.path.clone()),
    };
    Listing {
        filter: filter.clone(),
        from,
        limit,
    }
}

/// Puts the nodes' parts together by path. Behind the end of a part that goes on, others may have what
/// comes first, so the page ends there at the latest.
fn by_path(parts: Vec<Listed>, limit: usize) -> (Vec<ActorView>, Option<ActorPlace>) {
    let ends = parts.iter().filter(|part| part.more);
    let horizon = ends.filter_map(|part| part.rows.last()).map(ActorPlace::of).min();
    let mut rows: Vec<ActorView> = parts.into_iter().flat_map(|part| part.rows).collect();
    rows.sort_by(|a, b| (&a.path, &a.node).cmp(&(&b.path, &b.node)));
    let mut more = false;
    if let Some(horizon) = horizon {
        rows.retain(|row| ActorPlace::of(row) <= horizon);
        more = true;
    }
    more |= rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(ActorPlace::of);
    (rows, next)
}

/// Puts the nodes' parts together, worst first.
fn worst(parts: Vec<Listed>, limit: usize) -> Vec<ActorView> {
    let mut rows: Vec<ActorView> = parts.into_iter().flat_map(|part| part.rows).collect();
    rows.sort_by(|a, b| {
        let key = |row: &ActorView| Reverse(row.urgency());
        (key(a), &a.path, &a.node).cmp(&(key(b), &b.path, &b.node))
    });
    rows.truncate(limit);
    rows
}

fn refused(refusal: Refusal) -> OperatorError {
    match refusal {
        Refusal::NotFound => OperatorError::NoSuchActor,
        Refusal::Impossible(detail) => CallError::WrongMessage { detail }.into(),
        Refusal::Unavailable(detail) => CallError::unavailable(detail).into(),
        Refusal::Timeout => CallError::Timeout.into(),
    }
}

fn mixed_up(path: &str) -> OperatorError {
    let detail = format!("{MIXED_UP}, for {path}");
    CallError::Internal { detail }.into()
}
