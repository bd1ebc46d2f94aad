//! The rows that a group of units works on, in memory: read with one statement per kind, changed by
//! the units in their order, written with one statement per kind.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use roost_domain::audit::AuditEvent;
use roost_domain::event::{Event, NewEvent};
use roost_domain::instance::{HistoryEntry, Instance};
use roost_domain::message::{Direction, Message};
use roost_domain::store::{Idempotency, Replay, Stamp, StoreError};
use roost_domain::{Epoch, InstanceId, MessageId, Owner, TenantId, Timestamp};

use super::ids::Ids;
use crate::link_state::LinkDraft;
use crate::webhook::{HookDraft, HookNeeds};

/// Rows that units are going to read.
#[derive(Default)]
pub(crate) struct Needs {
    /// Instances whose epoch is checked.
    pub(super) owned: BTreeSet<InstanceId>,
    /// Instances whose row is shown or changed.
    pub(super) instances: BTreeSet<InstanceId>,
    /// Tenants whose log is written without an instance that is there.
    pub(super) tenants: BTreeSet<TenantId>,
    /// Whether an owner will write.
    pub(super) by_owner: bool,
    /// Whether events will be written for `owned`.
    pub(super) events: bool,
    pub(super) replies: BTreeSet<(TenantId, String)>,
    /// Messages by their WhatsApp id.
    pub(super) messages: BTreeSet<(InstanceId, String)>,
    /// WhatsApp ids of inbound facts that may be there already.
    pub(super) inbound: BTreeSet<(InstanceId, String)>,
    /// Chats that are written to, by each of their names.
    pub(super) chats: BTreeSet<(InstanceId, String)>,
    pub(crate) hooks: HookNeeds,
}

impl Needs {
    /// The instance's epoch.
    pub(crate) fn owner(&mut self, owner: Owner) {
        self.by_owner = true;
        self.owned.insert(owner.instance);
    }

    /// The instance's epoch and its place in its tenant's log.
    pub(crate) fn log(&mut self, owner: Owner) {
        self.events = true;
        self.owner(owner);
    }

    /// The instance's whole row.
    pub(crate) fn instance(&mut self, owner: Owner) {
        self.instances.insert(owner.instance);
        self.log(owner);
    }

    /// Whose an instance is.
    pub(crate) fn tenant_of(&mut self, instance: InstanceId) {
        self.owned.insert(instance);
    }

    /// A tenant's log.
    pub(crate) fn tenant(&mut self, tenant: TenantId) {
        self.tenants.insert(tenant);
    }

    /// The answer that was given before to a call.
    pub(crate) fn stamp(&mut self, tenant: TenantId, stamp: &Stamp) {
        if let Some(idempotency) = &stamp.idempotency {
            self.replies.insert((tenant, idempotency.key.clone()));
        }
    }

    pub(crate) fn message(&mut self, instance: InstanceId, whatsapp_id: &str) {
        self.messages.insert((instance, whatsapp_id.to_owned()));
    }

    pub(crate) fn chat(&mut self, instance: InstanceId, name: String) {
        self.chats.insert((instance, name));
    }

    pub(crate) fn inbound(&mut self, instance: InstanceId, whatsapp_id: &str) {
        self.inbound.insert((instance, whatsapp_id.to_owned()));
    }
}

/// What is known of an instance.
pub(super) struct InstanceSlot {
    pub(super) tenant: TenantId,
    pub(super) epoch: Epoch,
    /// Whether it may only answer.
    pub(super) reply_only: bool,
    /// The whole row, when it was needed.
    pub(super) row: Option<Instance>,
    pub(super) history_count: i64,
    pub(super) change: Change,
}

/// What has to be written of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Insert,
    Update,
}

pub(super) struct MessageSlot {
    pub(super) message: Message,
    pub(super) change: Change,
    /// Whether the content changed too.
    pub(super) body: bool,
}

pub(super) struct ReplySlot {
    pub(super) idempotency: Idempotency,
    pub(super) body: String,
    pub(super) fresh: bool,
}

/// Where a tenant's log stands.
pub(super) struct LogSlot {
    pub(super) last_seq: i64,
    pub(super) grown: bool,
    /// Whether the counter is there; without it nothing can be appended.
    pub(super) known: bool,
}

/// Identity of an inbound fact.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct InboundKey {
    pub(super) instance: InstanceId,
    pub(super) whatsapp_id: String,
    pub(super) chat: String,
    /// Empty for what the account itself wrote.
    pub(super) sender: String,
}

/// See the module.
pub(crate) struct Draft {
    pub(crate) now: Timestamp,
    pub(super) ids: Arc<Ids>,
    /// Whether the node's lease held when the transaction began.
    leased: bool,
    pub(super) logs: HashMap<TenantId, LogSlot>,
    pub(super) instances: HashMap<InstanceId, InstanceSlot>,
    pub(super) history: Vec<(TenantId, InstanceId, HistoryEntry)>,
    pub(super) replies: HashMap<(TenantId, String), ReplySlot>,
    pub(super) expired_replies: BTreeSet<(TenantId, String)>,
    /// In the order of their ids, which is also the order of writing.
    pub(super) messages: BTreeMap<MessageId, MessageSlot>,
    pub(super) by_whatsapp_id: HashMap<(InstanceId, String), Vec<MessageId>>,
    pub(super) seen: HashSet<InboundKey>,
    /// WhatsApp ids among them that the account itself wrote.
    pub(super) own: HashSet<(InstanceId, String)>,
    /// Chats in which somebody has written to an instance, as far as they were asked for.
    pub(super) known_chats: HashSet<(InstanceId, String)>,
    /// Chats in which somebody writes now, with their tenant.
    pub(super) heard_chats: BTreeMap<(InstanceId, String), TenantId>,
    pub(super) amendments: Vec<(TenantId, InboundKey, Timestamp)>,
    pub(super) events: Vec<Arc<Event>>,
    pub(super) audit: Vec<AuditEvent>,
    pub(crate) link: LinkDraft,
    pub(crate) hooks: HookDraft,
}

impl Draft {
    pub(super) fn empty(now: Timestamp, ids: Arc<Ids>, leased: bool) -> Self {
        Self {
            now,
            ids,
            leased,
            logs: HashMap::new(),
            instances: HashMap::new(),
            history: Vec::new(),
            replies: HashMap::new(),
            expired_replies: BTreeSet::new(),
            messages: BTreeMap::new(),
            by_whatsapp_id: HashMap::new(),
            seen: HashSet::new(),
            own: HashSet::new(),
            known_chats: HashSet::new(),
            heard_chats: BTreeMap::new(),
            amendments: Vec::new(),
            events: Vec::new(),
            audit: Vec::new(),
            link: LinkDraft::default(),
            hooks: HookDraft::default(),
        }
    }

    /// Whether the owner may write: the node's lease holds, the instance is its tenant's, and its epoch is
    /// not behind.
    pub(crate) fn check(&self, owner: Owner) -> Result<(), StoreError> {
        if !self.leased {
            return Err(StoreError::Fenced);
        }
        match self.instances.get(&owner.instance) {
            Some(slot) if slot.tenant == owner.tenant => {
                if owner.epoch < slot.epoch {
                    Err(StoreError::Fenced)
                } else {
                    Ok(())
                }
            }
            _ => Err(StoreError::NotFound),
        }
    }

    /// Whether the tenant is there.
    pub(crate) fn check_tenant(&self, tenant: TenantId) -> Result<(), StoreError> {
        if self.logs.get(&tenant).is_some_and(|log| log.known) {
            Ok(())
        } else {
            Err(StoreError::NotFound)
        }
    }

    /// Whether the instance is the tenant's.
    pub(crate) fn check_instance(&self, tenant: TenantId, instance: InstanceId) -> Result<(), StoreError> {
        match self.instances.get(&instance) {
            Some(slot) if slot.tenant == tenant => Ok(()),
            _ => Err(StoreError::NotFound),
        }
    }

    /// The answer that was given before to this request.
    pub(crate) fn reply(&self, tenant: TenantId, stamp: &Stamp) -> Result<Option<Replay>, StoreError> {
        let Some(wanted) = &stamp.idempotency else {
            return Ok(None);
        };
        match self.replies.get(&(tenant, wanted.key.clone())) {
            None => Ok(None),
            Some(kept) if kept.idempotency.fingerprint != wanted.fingerprint => {
                Err(StoreError::IdempotencyKeyReused)
            }
            Some(kept) => Ok(Some(Replay {
                status: kept.idempotency.status,
                body: kept.body.clone(),
            })),
        }
    }

    /// Keeps the answer to a call that is carried out now, and the call's place in the audit log: there what
    /// it made is its target, unless it names another.
    pub(crate) fn keep(
        &mut self,
        tenant: TenantId,
        stamp: &Stamp,
        made: impl Display,
        body: impl FnOnce() -> String,
    ) {
        if let Some(audit) = &stamp.audit {
            let mut audit = audit.clone();
            audit.target.get_or_insert_with(|| made.to_string());
            self.audit.push(audit);
        }
        if let Some(idempotency) = &stamp.idempotency {
            let slot = ReplySlot {
                idempotency: idempotency.clone(),
                body: body(),
                fresh: true,
            };
            self.replies.insert((tenant, idempotency.key.clone()), slot);
        }
    }

    /// Appends an event to a tenant's log. Returns its `seq`.
    pub(crate) fn append(&mut self, tenant: TenantId, new: NewEvent) -> i64 {
        self.append_event(tenant, new).seq
    }

    /// Appends an event to a tenant's log. Returns it.
    pub(crate) fn append_event(&mut self, tenant: TenantId, new: NewEvent) -> Arc<Event> {
        let (id, timestamp) = self.ids.event(self.now);
        // The owner or tenant that was checked comes with the log; one that is gone is refused when it is
        // written.
        let log = self.logs.entry(tenant).or_insert(LogSlot {
            last_seq: 0,
            grown: false,
            known: false,
        });
        log.last_seq += 1;
        log.grown = true;
        let event = Arc::new(Event {
            id,
            kind: new.kind,
            seq: log.last_seq,
            timestamp,
            tenant_id: tenant,
            instance_id: new.instance_id,
            chat: new.chat,
            data: new.data,
        });
        self.events.push(Arc::clone(&event));
        event
    }

    pub(crate) fn last_seq(&self, tenant: TenantId) -> i64 {
        self.logs.get(&tenant).map_or(0, |log| log.last_seq)
    }

    pub(crate) fn insert_instance(&mut self, instance: &Instance) {
        let slot = InstanceSlot {
            tenant: instance.tenant_id,
            epoch: instance.epoch,
            reply_only: instance.policy.reply_only,
            row: Some(instance.clone()),
            history_count: 0,
            change: Change::Insert,
        };
        self.instances.insert(instance.id, slot);
    }

    /// The row of an instance whose owner was checked.
    pub(crate) fn instance_row(&self, id: InstanceId) -> Result<&Instance, StoreError> {
        self.instances
            .get(&id)
            .and_then(|slot| slot.row.as_ref())
            .ok_or(StoreError::NotFound)
    }

    /// Replaces the row of an instance.
    pub(crate) fn update_instance(&mut self, instance: Instance) {
        if let Some(slot) = self.instances.get_mut(&instance.id) {
            slot.epoch = instance.epoch;
            slot.row = Some(instance);
            if slot.change == Change::None {
                slot.change = Change::Update;
            }
        }
    }

    /// Adds a row to an instance's history.
    pub(crate) fn add_history(&mut self, instance: &Instance, at: Timestamp) {
        if let Some(slot) = self.instances.get_mut(&instance.id) {
            slot.history_count += 1;
            let entry = HistoryEntry {
                number: slot.history_count,
                state: instance.state,
                reason: instance.state_reason.clone(),
                at,
            };
            self.history.push((instance.tenant_id, instance.id, entry));
        }
    }

    pub(crate) fn new_message_id(&self) -> MessageId {
        self.ids.message(self.now)
    }

    pub(crate) fn insert_message(&mut self, message: Message) {
        self.put_message(message, Change::Insert);
    }

    /// Takes a message that was read.
    pub(crate) fn loaded_message(&mut self, message: Message) {
        self.put_message(message, Change::None);
    }

    fn put_message(&mut self, message: Message, change: Change) {
        let key = (message.instance_id, message.whatsapp_id.clone());
        self.by_whatsapp_id.entry(key).or_default().push(message.id);
        self.messages.insert(
            message.id,
            MessageSlot {
                message,
                change,
                body: false,
            },
        );
    }

    pub(crate) fn has_message(&self, id: MessageId) -> bool {
        self.messages.contains_key(&id)
    }

    pub(crate) fn message_ids(&self) -> Vec<MessageId> {
        self.messages.keys().copied().collect()
    }

    pub(crate) fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(&id).map(|slot| &slot.message)
    }

    /// Messages of an instance with this id on WhatsApp.
    pub(crate) fn messages_by_whatsapp_id(&self, instance: InstanceId, whatsapp_id: &str) -> Vec<MessageId> {
        self.by_whatsapp_id
            .get(&(instance, whatsapp_id.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    /// Changes a message; `body` says whether its content changes.
    pub(crate) fn change_message(
        &mut self,
        id: MessageId,
        body: bool,
        change: impl FnOnce(&mut Message),
    ) -> Option<&Message> {
        let slot = self.messages.get_mut(&id)?;
        change(&mut slot.message);
        slot.body |= body;
        if slot.change == Change::None {
            slot.change = Change::Update;
        }
        Some(&slot.message)
    }

    /// Whether an inbound fact is there already under one of its names.
    pub(crate) fn is_seen(
        &self,
        instance: InstanceId,
        whatsapp_id: &str,
        chats: &[String],
        senders: &[String],
    ) -> bool {
        chats.iter().any(|chat| {
            senders.iter().any(|sender| {
                self.seen.contains(&InboundKey {
                    instance,
                    whatsapp_id: whatsapp_id.to_owned(),
                    chat: chat.clone(),
                    sender: sender.clone(),
                })
            })
        })
    }

    /// Whether the account itself wrote something with this WhatsApp id, in whatever chat.
    pub(crate) fn is_own(&self, instance: InstanceId, whatsapp_id: &str) -> bool {
        let stored = self.own.contains(&(instance, whatsapp_id.to_owned()));
        stored
            || self
                .messages_by_whatsapp_id(instance, whatsapp_id)
                .into_iter()
                .any(|id| {
                    self.message(id)
                        .is_some_and(|message| message.direction == Direction::Outbound)
                })
    }

    pub(crate) fn mark_seen(
        &mut self,
        instance: InstanceId,
        whatsapp_id: &str,
        chat: String,
        sender: String,
    ) {
        if sender.is_empty() {
            self.own.insert((instance, whatsapp_id.to_owned()));
        }
        self.seen.insert(InboundKey {
            instance,
            whatsapp_id: whatsapp_id.to_owned(),
            chat,
            sender,
        });
    }

    /// Whether an instance may only answer.
    pub(crate) fn is_reply_only(&self, instance: InstanceId) -> bool {
        self.instances.get(&instance).is_some_and(|slot| slot.reply_only)
    }

    /// Whether somebody has written to an instance in a chat, under one of these names.
    pub(crate) fn is_known_chat(&self, instance: InstanceId, names: Vec<String>) -> bool {
        names
            .into_iter()
            .any(|name| self.known_chats.contains(&(instance, name)))
    }

    /// Keeps that somebody has written to an instance in a chat with these names.
    pub(crate) fn hear_in_chat(&mut self, owner: Owner, names: Vec<String>) {
        for name in names {
            self.known_chats.insert((owner.instance, name.clone()));
            self.heard_chats.insert((owner.instance, name), owner.tenant);
        }
    }

    /// Keeps that an edit, a revocation or a reaction was recorded.
    pub(crate) fn record_amendment(&mut self, owner: Owner, whatsapp_id: &str, chat: String, sender: String) {
        let key = InboundKey {
            instance: owner.instance,
            whatsapp_id: whatsapp_id.to_owned(),
            chat,
            sender,
        };
        self.amendments.push((owner.tenant, key, self.now));
    }
}
