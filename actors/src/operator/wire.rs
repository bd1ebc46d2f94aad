//! What nodes ask of each other for operators: MessagePack with names, so that nodes of neighbouring
//! releases understand each other. What a node does not know it refuses.

use bytes::Bytes;
use roost_domain::peer::WireError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::nodes::NodeLoad;
use crate::index::{ActorFilter, ActorView};
use crate::registry::Operation;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum OperatorCall {
    /// A part of the actors of that node.
    Actors(Listing),
    /// One actor of that node.
    Actor { path: String },
    /// Do this to an actor of that node.
    Operate { path: String, operation: Operation },
    /// How that node does.
    Node,
}

/// What is answered, in the order of the calls.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum OperatorAnswer {
    Actors(Listed),
    Actor(Option<Box<ActorView>>),
    Operated(Result<(), Refusal>),
    Node(Box<NodeLoad>),
}

/// Which actors of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Listing {
    pub filter: ActorFilter,
    pub from: From,
    pub limit: usize,
}

/// Where the part of a listing begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum From {
    /// At the first path.
    Start,
    /// At this path.
    At(String),
    /// Behind this path.
    After(String),
    /// With those that most need somebody to look at them, instead of by path.
    Worst,
}

/// A part of the actors of one node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Listed {
    pub rows: Vec<ActorView>,
    /// There are more behind them.
    pub more: bool,
}

/// Why an order to an actor was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    NotFound,
    /// This cannot be done with it.
    Impossible(String),
    /// It can be tried again.
    Unavailable(String),
    /// It may have been carried out.
    Timeout,
}

/// Reads what another node has sent.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(body).map_err(|error| WireError::Bad(error.to_string()))
}

/// Writes what another node is to read.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, WireError> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|error| WireError::Failed(error.to_string()))?;
    Ok(bytes.into())
}

impl Listed {
    /// The same with as many rows as fit into an answer of so many bytes.
    pub fn fit(mut self, bytes_max: usize) -> Result<Bytes, WireError> {
        loop {
            let answer = OperatorAnswer::Actors(self);
            let bytes = encode(&answer)?;
            let OperatorAnswer::Actors(listed) = answer else {
                return Ok(bytes);
            };
            self = listed;
            if bytes.len() <= bytes_max || self.rows.len() <= 1 {
                return Ok(bytes);
            }
            self.rows.truncate(self.rows.len() / 2);
            self.more = true;
        }
    }
}
