//! Rows as nodes of a cluster tell each other of them: everything, also what clients are not shown.

use roost_domain::instance::{DesiredState, Instance, InstanceState, Pacing, Policy};
use roost_domain::message::{
    Chat, Content, Direction, FailureReason, Message, MessageStatus, Origin, Quoted, Sender,
};
use roost_domain::store::Outcome;
use roost_domain::{Address, Epoch, InstanceId, MessageId, PhoneNumber, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// An instance.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WireInstance(#[serde(with = "WholeInstance")] pub Instance);

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WireMessage(#[serde(with = "WholeMessage")] pub Message);

impl WireMessage {
    pub fn of(outcome: Outcome<Message>) -> Outcome<Self> {
        match outcome {
            Outcome::Done(message) => Outcome::Done(Self(message)),
            Outcome::Replayed(replay) => Outcome::Replayed(replay),
        }
    }

    pub fn bare(outcome: Outcome<Self>) -> Outcome<Message> {
        match outcome {
            Outcome::Done(message) => Outcome::Done(message.0),
            Outcome::Replayed(replay) => Outcome::Replayed(replay),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Instance")]
struct WholeInstance {
    id: InstanceId,
    tenant_id: TenantId,
    name: String,
    state: InstanceState,
    state_reason: Option<String>,
    desired_state: DesiredState,
    phone_number: Option<PhoneNumber>,
    lid: Option<Address>,
    push_name: Option<String>,
    proxy: Option<String>,
    pacing: Option<Pacing>,
    policy: Policy,
    created_at: Timestamp,
    updated_at: Timestamp,
    connected_at: Option<Timestamp>,
    epoch: Epoch,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Message")]
struct WholeMessage {
    id: MessageId,
    tenant_id: TenantId,
    instance_id: InstanceId,
    direction: Direction,
    origin: Option<Origin>,
    chat: Chat,
    sender: Option<Sender>,
    whatsapp_id: String,
    status: MessageStatus,
    failure: Option<FailureReason>,
    content: Content,
    reply_to: Option<Quoted>,
    created_at: Timestamp,
    sent_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    failed_at: Option<Timestamp>,
    edited_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}
