//! What callers hold: instances of every tenant, wherever they live.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::api_key::{ApiKey, KeySecret};
use roost_domain::instance::{
    HistoryEntry, Instance, InstancePatch, NAME_CHARS_MAX, NewInstance, Pacing, PacingPatch, PairingMethod,
};
use roost_domain::message::{Direction, Message, MessageFilter, MessageStatus};
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{Idempotency, Outcome, Stamp, StoreError};
use roost_domain::{Address, InstanceId, MessageId, TenantId};
use tokio::time::{Instant, timeout};

use super::ask::{CodeAsk, OrderAsk, ReadAsk, RereadAsk, SendAsk};
use super::kind::InstanceKind;
use super::machine::{CodeKind, Order};
use super::message::{CreateInstance, SendRequest, ShownCode};
use super::wire::WireMessage;
use crate::CallError;
use crate::cluster::route::{self, Desk as _};
use crate::node::NodeContext;
use crate::registry::Children;

/// Longest proxy address, in bytes.
const PROXY_BYTES_MAX: usize = 2048;
/// Longest wait for a session to apply a change that is durable.
const APPLY_WAIT: Duration = Duration::from_secs(5);

/// The instances of every tenant. Cheap to clone.
///
/// Another tenant's id is [`CallError::NotFound`]. Each call has a deadline of its own from
/// [`crate::Settings`].
#[derive(Clone)]
pub struct Instances {
    pub(super) parts: Arc<InstancesParts>,
}

pub(crate) struct InstancesParts {
    pub node: Arc<NodeContext>,
    pub children: Arc<Children<InstanceKind>>,
}

impl Instances {
    pub(crate) fn new(parts: InstancesParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Adds an instance, not connected yet. A key that is made with it is bound to it.
    pub async fn create(
        &self,
        tenant: TenantId,
        create: CreateInstance,
        mut key: Option<(ApiKey, KeySecret)>,
        stamp: Stamp,
    ) -> Result<Outcome<Instance>, CallError> {
        check_name(&create.name)?;
        create.proxy.as_deref().map_or(Ok(()), check_proxy)?;
        check_pacing(create.pacing)?;
        let (node, now) = (self.node(), self.node().clock.now());
        let max = create.instances_max.map_or(u64::MAX, u64::from);
        let max = max.min(node.settings.instances_per_tenant_max);
        if node.store.instance_count(tenant).await? >= max {
            // Making the last one again is no new one.
            if let Some(Idempotency { key, fingerprint, .. }) = &stamp.idempotency
                && let Some(replay) = node.store.reply(tenant, key, fingerprint).await?
            {
                return Ok(Outcome::Replayed(replay));
            }
            return Err(CallError::LimitReached {
                detail: format!("the limit instances is reached: this tenant may have at most {max}"),
            });
        }
        let unix_ms = u64::try_from(now.unix_ms()).unwrap_or(0);
        let id = InstanceId::from_parts(unix_ms, node.entropy.bits());
        let new = NewInstance {
            id,
            name: create.name,
            proxy: create.proxy,
            pacing: create.pacing,
            policy: create.policy,
            created_at: now,
        };
        if let Some((key, _)) = &mut key {
            key.instances = vec![id];
        }
        let key = key.as_ref().map(|(key, secret)| (key, secret));
        Ok(node.store.create_instance(tenant, new, key, stamp).await?)
    }

    /// One instance.
    pub async fn get(&self, tenant: TenantId, id: InstanceId) -> Result<Instance, CallError> {
        Ok(self.node().store.instance(tenant, id).await?)
    }

    /// A tenant's instances by id; of these only, unless it is empty.
    pub async fn list(
        &self,
        tenant: TenantId,
        among: &[InstanceId],
        page: PageRequest<InstanceId>,
    ) -> Result<Page<Instance, InstanceId>, CallError> {
        Ok(self.node().store.instances(tenant, among, page).await?)
    }

    /// Changes what a tenant may change. A proxy is used from the next connection on; a pace and a policy
    /// hold when this returns.
    pub async fn patch(
        &self,
        tenant: TenantId,
        id: InstanceId,
        patch: InstancePatch,
    ) -> Result<Instance, CallError> {
        patch.name.as_deref().map_or(Ok(()), check_name)?;
        patch
            .proxy
            .as_ref()
            .and_then(Option::as_deref)
            .map_or(Ok(()), check_proxy)?;
        // Limits of one field do not depend on the others.
        let change = patch.pacing.flatten().map(|change| PacingPatch {
            messages_per_minute: change.messages_per_minute.or(Some(NonZeroU32::MIN)),
            ..change
        });
        check_pacing(change.and_then(|change| change.of(None)))?;
        let (node, paces) = (self.node(), patch.pacing.is_some());
        let row = node
            .store
            .patch_instance(tenant, id, patch, node.clock.now())
            .await
            .map_err(|error| match error {
                StoreError::Conflict(detail) => CallError::Invalid {
                    field: "pacing/messages_per_minute",
                    detail,
                },
                error => error.into(),
            })?;
        if paces {
            self.tell_of_change(tenant, id).await;
        }
        Ok(row)
    }

    /// Lets the session that runs now, if any, read its row again. One that starts or is started again
    /// reads it anyway.
    async fn tell_of_change(&self, tenant: TenantId, id: InstanceId) {
        let ask = RereadAsk { tenant, instance: id };
        let told = route::tell(self, ask, APPLY_WAIT);
        // What is durable is applied sooner or later, also without the caller.
        let _ = timeout(APPLY_WAIT, told).await;
    }

    /// Removes an instance: logs it out where it is connected, ends its session and fails what it has
    /// not sent.
    pub async fn delete(&self, tenant: TenantId, id: InstanceId) -> Result<(), CallError> {
        self.order(tenant, id, Order::Delete).await.map(drop)
    }

    /// A page of its states, newest first.
    pub async fn history(
        &self,
        tenant: TenantId,
        id: InstanceId,
        page: PageRequest<i64>,
    ) -> Result<Page<HistoryEntry, i64>, CallError> {
        Ok(self.node().store.history(tenant, id, page).await?)
    }

    /// Lets it run from now on. Pairs one that is not paired, by QR code unless told otherwise.
    pub async fn connect(
        &self,
        tenant: TenantId,
        id: InstanceId,
        method: Option<PairingMethod>,
    ) -> Result<Instance, CallError> {
        self.order(tenant, id, Order::Connect(method)).await
    }

    /// Stops it; it stays paired.
    pub async fn disconnect(&self, tenant: TenantId, id: InstanceId) -> Result<Instance, CallError> {
        self.order(tenant, id, Order::Disconnect).await
    }

    /// Ends its pairing and stops it. What it has not sent fails.
    pub async fn logout(&self, tenant: TenantId, id: InstanceId) -> Result<Instance, CallError> {
        self.order(tenant, id, Order::Logout).await
    }

    /// The QR code to scan now.
    pub async fn qr(&self, tenant: TenantId, id: InstanceId) -> Result<ShownCode, CallError> {
        self.code(tenant, id, CodeKind::Qr).await
    }

    /// The pairing code to enter now.
    pub async fn pairing_code(&self, tenant: TenantId, id: InstanceId) -> Result<ShownCode, CallError> {
        self.code(tenant, id, CodeKind::PairingCode).await
    }

    /// Accepts a message: it is durable, and has its id on WhatsApp, when this returns. With `wait` the
    /// message is given back as it is once WhatsApp's server has it or refused it, or at the time-out.
    pub async fn send(
        &self,
        tenant: TenantId,
        id: InstanceId,
        request: SendRequest,
        stamp: Stamp,
    ) -> Result<Outcome<Message>, CallError> {
        if matches!(request.to, Address::Group(_)) {
            let detail = "messages to groups are not supported yet".to_owned();
            return Err(CallError::UnsupportedRecipient { detail });
        }
        let deadline = Instant::now() + self.node().settings.send_timeout;
        let ask = SendAsk {
            tenant,
            instance: id,
            request,
            stamp,
        };
        route::owner(self, ask, deadline).await.map(WireMessage::bare)
    }

    /// Tells the sender of a received message that it was read.
    pub async fn mark_read(&self, tenant: TenantId, id: MessageId) -> Result<Message, CallError> {
        let message = self.message(tenant, id).await?;
        if message.direction != Direction::Inbound {
            let detail = "only received messages can be marked as read".to_owned();
            return Err(CallError::WrongMessage { detail });
        }
        if message.status == MessageStatus::Read {
            return Ok(message);
        }
        let deadline = Instant::now() + self.node().settings.send_timeout;
        let ask = ReadAsk {
            tenant,
            message: WireMessage(message),
        };
        route::owner(self, ask, deadline).await.map(|message| message.0)
    }

    /// One message.
    pub async fn message(&self, tenant: TenantId, id: MessageId) -> Result<Message, CallError> {
        Ok(self.node().store.message(tenant, id).await?)
    }

    /// A page of an instance's messages, newest first.
    pub async fn messages(
        &self,
        tenant: TenantId,
        id: InstanceId,
        filter: MessageFilter,
        page: PageRequest<MessageId>,
    ) -> Result<Page<Message, MessageId>, CallError> {
        Ok(self.node().store.messages(tenant, id, filter, page).await?)
    }

    async fn code(&self, tenant: TenantId, id: InstanceId, kind: CodeKind) -> Result<ShownCode, CallError> {
        let deadline = Instant::now() + self.node().settings.query_timeout;
        let ask = CodeAsk {
            tenant,
            instance: id,
            kind,
        };
        route::owner(self, ask, deadline).await
    }

    async fn order(&self, tenant: TenantId, id: InstanceId, order: Order) -> Result<Instance, CallError> {
        let deadline = Instant::now() + self.node().settings.control_timeout;
        let ask = OrderAsk {
            tenant,
            instance: id,
            order,
        };
        route::owner(self, ask, deadline).await.map(|instance| instance.0)
    }
}

fn check_name(name: &str) -> Result<(), CallError> {
    let chars = name.chars().count();
    let detail = if name.trim().is_empty() {
        "a name must not be empty".to_owned()
    } else if chars > NAME_CHARS_MAX {
        format!("a name has at most {NAME_CHARS_MAX} characters")
    } else if name.chars().any(char::is_control) {
        "a name must not contain control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(CallError::Invalid {
        field: "name",
        detail,
    })
}

fn check_pacing(pacing: Option<Pacing>) -> Result<(), CallError> {
    match pacing.and_then(|pacing| pacing.fault()) {
        None => Ok(()),
        Some((field, detail)) => Err(CallError::Invalid { field, detail }),
    }
}

/// Whether a link can go through it is the engine's to say; what it can never be is refused here.
fn check_proxy(proxy: &str) -> Result<(), CallError> {
    let detail = if proxy.len() > PROXY_BYTES_MAX {
        format!("a proxy address has at most {PROXY_BYTES_MAX} bytes")
    } else if !["socks5://", "http://"]
        .iter()
        .any(|scheme| proxy.starts_with(scheme))
    {
        "a proxy address begins with socks5:// or http://".to_owned()
    } else if proxy.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "a proxy address must not contain spaces or control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(CallError::Invalid {
        field: "proxy",
        detail,
    })
}
