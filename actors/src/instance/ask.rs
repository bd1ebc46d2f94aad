//! What is asked of the owner of an instance, as nodes of a cluster send it to each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roost_domain::peer::{Kind, WireError};
use roost_domain::store::{Outcome, Stamp};
use roost_domain::{InstanceId, Slot, TenantId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::handle::Instances;
use super::kind::InstanceKind;
use super::machine::{CodeKind, Order};
use super::message::{SendRequest, ShownCode};
use super::wire::{WireInstance, WireMessage};
use crate::CallError;
use crate::cluster::route::{self, Ask, Desk};
use crate::node::NodeContext;
use crate::registry::Kind as _;

/// Everything that is asked of the owner of an instance. Names and forms are spoken between releases.
#[derive(Serialize, Deserialize)]
pub(crate) enum InstanceAsk {
    Order(OrderAsk),
    Code(CodeAsk),
    Send(Box<SendAsk>),
    MarkRead(Box<ReadAsk>),
    Reread(RereadAsk),
}

/// Let it run, stop it, log it out, remove it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OrderAsk {
    pub tenant: TenantId,
    pub instance: InstanceId,
    pub order: Order,
}

/// Show a code to pair a phone with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CodeAsk {
    pub tenant: TenantId,
    pub instance: InstanceId,
    pub kind: CodeKind,
}

/// Accept a message.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SendAsk {
    pub tenant: TenantId,
    pub instance: InstanceId,
    pub request: SendRequest,
    pub stamp: Stamp,
}

/// Tell the sender of a received message that it was read.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ReadAsk {
    pub tenant: TenantId,
    pub message: WireMessage,
}

/// The row was changed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RereadAsk {
    pub tenant: TenantId,
    pub instance: InstanceId,
}

macro_rules! asked {
    ($ask:ident => $variant:ident) => {
        impl From<$ask> for InstanceAsk {
            fn from(ask: $ask) -> Self {
                Self::$variant(ask.into())
            }
        }
    };
}

asked!(OrderAsk => Order);
asked!(CodeAsk => Code);
asked!(SendAsk => Send);
asked!(ReadAsk => MarkRead);
asked!(RereadAsk => Reread);

impl Desk for Instances {
    const KIND: Kind = Kind::INSTANCE;
    const WHAT: &'static str = InstanceKind::NAME;
    type Wire = InstanceAsk;

    fn node(&self) -> &Arc<NodeContext> {
        &self.parts.node
    }

    async fn obey(&self, asked: InstanceAsk, given_up: std::time::Instant) -> Result<Bytes, WireError> {
        match asked {
            InstanceAsk::Order(ask) => route::answer(self, ask, given_up).await,
            InstanceAsk::Code(ask) => route::answer(self, ask, given_up).await,
            InstanceAsk::Send(ask) => route::answer(self, *ask, given_up).await,
            InstanceAsk::MarkRead(ask) => route::answer(self, *ask, given_up).await,
            InstanceAsk::Reread(ask) => route::answer(self, ask, given_up).await,
        }
    }
}

impl Ask for OrderAsk {
    type Desk = Instances;
    type Answer = WireInstance;

    fn slot(&self) -> Slot {
        Slot::of(self.instance)
    }

    fn repeats(&self) -> bool {
        match self.order {
            Order::Connect(_) | Order::Disconnect => true,
            // Done a second time it is refused, and the caller would not learn that it was done.
            Order::Logout | Order::Delete => false,
        }
    }

    async fn carry_out(self, desk: &Instances, deadline: Instant) -> Result<WireInstance, CallError> {
        let done = desk.order_here(self.tenant, self.instance, self.order, deadline);
        done.await.map(WireInstance)
    }
}

impl Ask for CodeAsk {
    type Desk = Instances;
    type Answer = ShownCode;

    fn slot(&self) -> Slot {
        Slot::of(self.instance)
    }

    fn repeats(&self) -> bool {
        true
    }

    async fn carry_out(self, desk: &Instances, deadline: Instant) -> Result<ShownCode, CallError> {
        desk.code_here(self.tenant, self.instance, self.kind, deadline)
            .await
    }
}

impl Ask for SendAsk {
    type Desk = Instances;
    type Answer = Outcome<WireMessage>;

    fn slot(&self) -> Slot {
        Slot::of(self.instance)
    }

    /// With a key of its client the second one gets the answer of the first.
    fn repeats(&self) -> bool {
        self.stamp.idempotency.is_some()
    }

    fn longer(&self, desk: &Instances) -> Duration {
        let max = desk.node().settings.ack_wait_max;
        self.request.wait.map_or(Duration::ZERO, |wait| wait.min(max))
    }

    async fn carry_out(self, desk: &Instances, deadline: Instant) -> Result<Self::Answer, CallError> {
        let sent = desk.send_here(self.tenant, self.instance, self.request, self.stamp, deadline);
        sent.await.map(WireMessage::of)
    }
}

impl Ask for ReadAsk {
    type Desk = Instances;
    type Answer = WireMessage;

    fn slot(&self) -> Slot {
        Slot::of(self.message.0.instance_id)
    }

    fn repeats(&self) -> bool {
        true
    }

    async fn carry_out(self, desk: &Instances, deadline: Instant) -> Result<WireMessage, CallError> {
        let told = desk.read_here(self.tenant, self.message.0, deadline);
        told.await.map(WireMessage)
    }
}

impl Ask for RereadAsk {
    type Desk = Instances;
    type Answer = ();

    fn slot(&self) -> Slot {
        Slot::of(self.instance)
    }

    fn repeats(&self) -> bool {
        true
    }

    async fn carry_out(self, desk: &Instances, deadline: Instant) -> Result<(), CallError> {
        desk.reread_here(self.tenant, self.instance, deadline).await
    }
}
