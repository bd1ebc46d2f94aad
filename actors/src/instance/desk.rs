//! What the owner of an instance does for a call: finds or starts the session, takes a permit, queues the
//! command and waits for the answer. Calls of other nodes come here as those of this one do.

use roost_domain::instance::{DesiredState, Instance};
use roost_domain::message::{Message, Quoted};
use roost_domain::slot::Slot;
use roost_domain::store::{Outcome, Stamp};
use roost_domain::{InstanceId, TenantId};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::handle::Instances;
use super::kind::{InstanceKind, SessionHandle};
use super::machine::{CodeKind, Order};
use super::message::{
    ChangedCall, CodeCall, OrderCall, ReadCall, ReplyTo, Ride, SendCall, SendRequest, SessionMessage,
    ShownCode,
};
use crate::CallError;
use crate::cluster::route::Desk as _;
use crate::line::restarting;
use crate::permit::{Class, Refused};
use crate::registry::{Kind, here};

/// Longest id on WhatsApp, in bytes.
const WHATSAPP_ID_BYTES_MAX: usize = 128;
/// How often a call looks for a successor of a session that ended under it.
const TRIES: usize = 3;

impl Instances {
    pub(super) async fn send_here(
        &self,
        tenant: TenantId,
        id: InstanceId,
        request: SendRequest,
        stamp: Stamp,
        deadline: Instant,
    ) -> Result<Outcome<Message>, CallError> {
        let session = self.running_session(tenant, id, deadline).await?;
        let permit = session.line.take(Class::Send)?;
        let reply_to = match request.reply_to {
            Some(reply_to) => Some(self.quoted(tenant, id, reply_to).await?),
            None => None,
        };
        let (settled, outcome) = match request.wait {
            Some(wait) => {
                let (settled, outcome) = oneshot::channel();
                (
                    Some(settled),
                    Some((outcome, wait.min(self.node().settings.ack_wait_max))),
                )
            }
            None => (None, None),
        };
        let (reply, answer) = oneshot::channel();
        let (to, content) = (request.to, request.content);
        let ride = Ride { permit, deadline };
        let call = SendCall {
            to,
            content,
            reply_to,
            stamp,
            settled,
            ride,
            reply,
        };
        session.line.tell(SessionMessage::Send(Box::new(call)))?;
        let accepted = session.line.answer(deadline, answer).await?;
        match (accepted, outcome) {
            (Outcome::Done(message), Some((outcome, wait))) => {
                let settled = timeout_at(Instant::now() + wait, outcome).await;
                match settled {
                    Ok(Ok(message)) => Ok(Outcome::Done(message)),
                    _ => Ok(Outcome::Done(
                        self.message(tenant, message.id).await.unwrap_or(message),
                    )),
                }
            }
            (accepted, _) => Ok(accepted),
        }
    }

    pub(super) async fn read_here(
        &self,
        tenant: TenantId,
        message: Message,
        deadline: Instant,
    ) -> Result<Message, CallError> {
        let session = match self.running_session(tenant, message.instance_id, deadline).await {
            Err(CallError::WrongState { .. }) => return Err(CallError::NotConnected),
            session => session?,
        };
        let permit = session.line.take(Class::Send)?;
        let (reply, answer) = oneshot::channel();
        let call = ReadCall {
            message,
            ride: Ride { permit, deadline },
            reply,
        };
        session.line.tell(SessionMessage::MarkRead(Box::new(call)))?;
        session.line.answer(deadline, answer).await
    }

    pub(super) async fn code_here(
        &self,
        tenant: TenantId,
        id: InstanceId,
        kind: CodeKind,
        deadline: Instant,
    ) -> Result<ShownCode, CallError> {
        let session = self.running_session(tenant, id, deadline).await?;
        let permit = session.line.take(Class::Query)?;
        let (reply, answer) = oneshot::channel();
        let call = CodeCall {
            kind,
            ride: Ride { permit, deadline },
            reply,
        };
        session.line.tell(SessionMessage::AwaitCode(call))?;
        match session.line.answer(deadline, answer).await {
            Err(CallError::Timeout) => Err(CallError::unavailable("WhatsApp has not given a code yet")),
            answer => answer,
        }
    }

    pub(super) async fn order_here(
        &self,
        tenant: TenantId,
        id: InstanceId,
        order: Order,
        deadline: Instant,
    ) -> Result<Instance, CallError> {
        for _ in 0..TRIES {
            let session = self.session(tenant, id, deadline).await?;
            let permit = match session.line.permits.take(Class::Control) {
                Ok(permit) => permit,
                Err(Refused::Exhausted) => return Err(CallError::overloaded()),
                Err(Refused::Fenced) => return Err(CallError::Moved),
                Err(Refused::Retired) => {
                    self.wait_for_end(id, deadline).await?;
                    continue;
                }
            };
            let (reply, answer) = oneshot::channel();
            let call = OrderCall {
                order: order.clone(),
                ride: Ride { permit, deadline },
                reply,
            };
            session.line.tell(SessionMessage::Order(call))?;
            return session.line.answer(deadline, answer).await;
        }
        Err(restarting(InstanceKind::NAME))
    }

    /// Lets the session that runs now, if any, read its row again.
    pub(super) async fn reread_here(
        &self,
        tenant: TenantId,
        id: InstanceId,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let Some(session) = self.live(tenant, id)? else {
            return Ok(());
        };
        let (applied, heard) = oneshot::channel();
        let changed = SessionMessage::Changed(ChangedCall { applied });
        if session.line.tell(changed).is_ok() {
            // What is durable is applied sooner or later, also without the caller.
            let _ = timeout_at(deadline, heard).await;
        }
        Ok(())
    }

    /// The session of an instance, started if it does not run.
    async fn session(
        &self,
        tenant: TenantId,
        id: InstanceId,
        deadline: Instant,
    ) -> Result<SessionHandle, CallError> {
        if let Some(session) = self.live(tenant, id)? {
            return Ok(session);
        }
        // Only a row of this tenant is ever given an actor.
        self.node().store.instance(tenant, id).await?;
        self.parts.children.ensure(id, tenant, deadline).await
    }

    /// The session of an instance that is to run; one that is stopped is left in peace.
    async fn running_session(
        &self,
        tenant: TenantId,
        id: InstanceId,
        deadline: Instant,
    ) -> Result<SessionHandle, CallError> {
        if let Some(session) = self.live(tenant, id)? {
            return Ok(session);
        }
        let row = self.node().store.instance(tenant, id).await?;
        if row.desired_state == DesiredState::Stopped {
            let detail = "the instance is stopped; connect it first".to_owned();
            return Err(CallError::WrongState {
                state: row.state,
                detail,
            });
        }
        self.parts.children.ensure(id, tenant, deadline).await
    }

    /// The session that runs here now, without asking anybody.
    fn live(&self, tenant: TenantId, id: InstanceId) -> Result<Option<SessionHandle>, CallError> {
        here(&*self.node().placement, Slot::of(id), InstanceKind::NAME)?;
        match self.parts.children.handle(id) {
            Some(session) if session.tenant != tenant => Err(CallError::NotFound),
            session => Ok(session.filter(|session| !session.line.permits.is_retired())),
        }
    }

    /// Waits until a session that takes no more calls has ended.
    async fn wait_for_end(&self, id: InstanceId, deadline: Instant) -> Result<(), CallError> {
        let ended_or_new = self
            .parts
            .children
            .turned_over(id, |session| !session.line.permits.is_retired());
        timeout_at(deadline, ended_or_new)
            .await
            .map_err(|_| restarting(InstanceKind::NAME))
    }

    async fn quoted(
        &self,
        tenant: TenantId,
        instance: InstanceId,
        reply_to: ReplyTo,
    ) -> Result<Quoted, CallError> {
        let unknown = || CallError::Invalid {
            field: "reply_to",
            detail: "the instance has no such message".to_owned(),
        };
        let store = &self.node().store;
        let message = match reply_to {
            ReplyTo::Message(id) => match self.message(tenant, id).await {
                Ok(message) if message.instance_id == instance => message,
                Ok(_) | Err(CallError::NotFound) => return Err(unknown()),
                Err(error) => return Err(error),
            },
            ReplyTo::WhatsappId(id) if id.is_empty() || id.len() > WHATSAPP_ID_BYTES_MAX => {
                return Err(unknown());
            }
            ReplyTo::WhatsappId(id) => store
                .message_by_whatsapp_id(tenant, instance, &id)
                .await?
                .ok_or_else(unknown)?,
        };
        let text = match message.content {
            roost_domain::message::Content::Text { text } => Some(text.body),
            roost_domain::message::Content::Unsupported { .. } => None,
        };
        Ok(Quoted {
            message_id: Some(message.id),
            whatsapp_id: message.whatsapp_id,
            sender: message.sender.map(|sender| sender.id),
            text,
        })
    }
}
