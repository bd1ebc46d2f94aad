//! Inbound facts: messages, edits, revocations, reactions, each recorded once.

use roost_domain::event::{Amendment, EventType, NewEvent};
use roost_domain::message::{
    Chat, Direction, Inbound, InboundBody, InboundKey, Message, MessageStatus, Origin, Quoted, Sender,
};
use roost_domain::store::StoreError;
use roost_domain::{Address, MessageId, Owner, PhoneNumber};

use crate::database::{Args, Reader, Statement, storable};
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Planned;

/// Records inbound facts.
pub(super) struct Record {
    owner: Owner,
    batch: Vec<Inbound>,
}

impl Record {
    /// Ids come from strangers: they are made storable first, so that what is looked up is what was
    /// stored.
    pub(super) fn new(owner: Owner, mut batch: Vec<Inbound>) -> Self {
        for inbound in &mut batch {
            inbound.whatsapp_id = storable(std::mem::take(&mut inbound.whatsapp_id));
            match &mut inbound.body {
                InboundBody::Message { reply_to, .. } => {
                    if let Some(quoted) = reply_to {
                        quoted.whatsapp_id = storable(std::mem::take(&mut quoted.whatsapp_id));
                    }
                }
                InboundBody::Edit { target, .. }
                | InboundBody::Revoke { target }
                | InboundBody::Reaction { target, .. } => *target = storable(std::mem::take(target)),
            }
        }
        Self { owner, batch }
    }
}

impl Planned for Record {
    type Output = ();

    fn weight(&self) -> usize {
        self.batch.len()
    }

    fn needs(&self, needs: &mut Needs) {
        needs.log(self.owner);
        for inbound in &self.batch {
            needs.inbound(self.owner.instance, &inbound.whatsapp_id);
            if let Some(target) = named(&inbound.body) {
                needs.message(self.owner.instance, target);
            }
        }
    }

    fn plan(&self, draft: &mut Draft) -> Result<(), StoreError> {
        draft.check(self.owner)?;
        for inbound in &self.batch {
            if first_seen(draft, self.owner, inbound) {
                record(draft, self.owner, inbound);
            }
        }
        Ok(())
    }
}

/// The WhatsApp id of the earlier message that a fact names: the one it answers or the one it amends.
fn named(body: &InboundBody) -> Option<&str> {
    match body {
        InboundBody::Message { reply_to, .. } => reply_to.as_ref().map(|quoted| quoted.whatsapp_id.as_str()),
        InboundBody::Edit { target, .. }
        | InboundBody::Revoke { target }
        | InboundBody::Reaction { target, .. } => Some(target),
    }
}

/// Whether there is one with this id of one of these chats and senders, or of these senders in any chat. Both
/// indexes begin with instance and id.
static KNOWN: Statement = Statement::new(
    "SELECT 1 FROM message AS m WHERE m.instance_id = $1 AND m.whatsapp_id = $2 AND m.tenant_id = $3 \
     AND m.sender IN ($4, $5, $6) AND ($7 <> 0 OR m.chat IN ($8, $9, $10)) \
     UNION ALL \
     SELECT 1 FROM amendment AS a WHERE a.instance_id = $1 AND a.whatsapp_id = $2 AND a.tenant_id = $3 \
     AND a.sender IN ($4, $5, $6) AND ($7 <> 0 OR a.chat IN ($8, $9, $10)) LIMIT 1",
);

/// Whether a fact was recorded, by the same rules as [`first_seen`].
pub(super) async fn is_known(reader: &Reader, owner: Owner, key: &InboundKey) -> Result<bool, StoreError> {
    let args = reader
        .args()
        .text(owner.instance)
        .text(&key.whatsapp_id)
        .text(owner.tenant);
    let args = three(args, &sender_names(key.from_me, &key.sender)).int(i64::from(key.from_me));
    let args = three(args, &chat_names(&key.chat));
    Ok(reader.fetch_one(&KNOWN, args).await?.is_some())
}

/// A party has three names at most; where there are fewer, the first stands for the others.
fn three(args: Args, names: &[String]) -> Args {
    let name = |index: usize| names.get(index).or(names.first()).cloned().unwrap_or_default();
    args.text(name(0)).text(name(1)).text(name(2))
}

/// Whether a fact is new, and notes that it is there from now on.
///
/// A party may be named by LID at first and by phone number later, when the mapping became known:
/// either name counts. What the account itself wrote is known by its WhatsApp id alone, because the
/// echo of a message sent through the API may name its chat otherwise.
fn first_seen(draft: &mut Draft, owner: Owner, inbound: &Inbound) -> bool {
    let id = &inbound.whatsapp_id;
    let chats = chat_names(&inbound.chat);
    let senders = sender_names(inbound.from_me, &inbound.sender);
    if draft.is_seen(owner.instance, id, &chats, &senders)
        || (inbound.from_me && draft.is_own(owner.instance, id))
    {
        return false;
    }
    draft.mark_seen(
        owner.instance,
        id,
        inbound.chat.id.to_string(),
        sender_key(inbound),
    );
    true
}

fn sender_key(inbound: &Inbound) -> String {
    if inbound.from_me {
        String::new()
    } else {
        inbound.sender.id.to_string()
    }
}

/// Every name of whoever wrote something, as it is stored.
fn sender_names(from_me: bool, sender: &Sender) -> Vec<String> {
    if from_me {
        vec![String::new()]
    } else {
        names(&sender.id, sender.phone_number.as_ref(), sender.lid.as_ref())
    }
}

/// Every name of a chat, as it is stored.
pub(super) fn chat_names(chat: &Chat) -> Vec<String> {
    names(&chat.id, chat.phone_number.as_ref(), chat.lid.as_ref())
}

/// Every name of a party, as it is stored.
fn names(id: &Address, phone_number: Option<&PhoneNumber>, lid: Option<&Address>) -> Vec<String> {
    let mut names = vec![id.to_string()];
    let others = phone_number
        .cloned()
        .map(Address::Phone)
        .into_iter()
        .chain(lid.cloned());
    for name in others.map(|address| address.to_string()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn record(draft: &mut Draft, owner: Owner, inbound: &Inbound) {
    match &inbound.body {
        InboundBody::Message { .. } => record_message(draft, owner, inbound),
        InboundBody::Edit { target, content } => {
            let original = original(draft, owner, inbound, target, true);
            if let Some(id) = original {
                draft.change_message(id, true, |message| {
                    message.content = content.clone();
                    message.edited_at = Some(inbound.sent_at);
                });
            }
            let amendment = Amendment {
                content: Some(content),
                ..amendment(inbound, target, original)
            };
            record_amendment(draft, owner, inbound, EventType::MessageEdited, &amendment);
        }
        InboundBody::Revoke { target } => {
            let original = original(draft, owner, inbound, target, true);
            if let Some(id) = original {
                draft.change_message(id, false, |message| message.revoked_at = Some(inbound.sent_at));
            }
            let amendment = amendment(inbound, target, original);
            record_amendment(draft, owner, inbound, EventType::MessageRevoked, &amendment);
        }
        InboundBody::Reaction { target, emoji } => {
            let original = original(draft, owner, inbound, target, false);
            let amendment = Amendment {
                emoji: Some(emoji.as_deref()),
                ..amendment(inbound, target, original)
            };
            record_amendment(draft, owner, inbound, EventType::MessageReaction, &amendment);
        }
    }
}

fn record_message(draft: &mut Draft, owner: Owner, inbound: &Inbound) {
    let InboundBody::Message { content, reply_to } = &inbound.body else {
        return;
    };
    let own = inbound.from_me;
    let reply_to = reply_to.as_ref().map(|quoted| Quoted {
        message_id: original(draft, owner, inbound, &quoted.whatsapp_id, false),
        ..quoted.clone()
    });
    let message = Message {
        id: draft.new_message_id(),
        tenant_id: owner.tenant,
        instance_id: owner.instance,
        direction: if own {
            Direction::Outbound
        } else {
            Direction::Inbound
        },
        origin: own.then_some(Origin::Device),
        chat: inbound.chat.clone(),
        sender: (!own).then(|| inbound.sender.clone()),
        whatsapp_id: inbound.whatsapp_id.clone(),
        status: if own {
            MessageStatus::Sent
        } else {
            MessageStatus::Received
        },
        failure: None,
        content: content.clone(),
        reply_to,
        created_at: inbound.sent_at,
        sent_at: own.then_some(inbound.sent_at),
        delivered_at: None,
        read_at: None,
        failed_at: None,
        edited_at: None,
        revoked_at: None,
        expires_at: None,
    };
    let kind = if own {
        EventType::MessageSent
    } else {
        EventType::MessageReceived
    };
    if !own {
        draft.hear_in_chat(owner, chat_names(&inbound.chat));
    }
    draft.append(owner.tenant, NewEvent::message(kind, &message));
    draft.insert_message(message);
}

fn amendment<'a>(inbound: &'a Inbound, target: &'a str, original: Option<MessageId>) -> Amendment<'a> {
    Amendment {
        message_id: original,
        whatsapp_id: target,
        chat: &inbound.chat,
        sender: &inbound.sender,
        from_me: inbound.from_me,
        content: None,
        emoji: None,
        sent_at: inbound.sent_at,
    }
}

fn record_amendment(
    draft: &mut Draft,
    owner: Owner,
    inbound: &Inbound,
    kind: EventType,
    amendment: &Amendment<'_>,
) {
    draft.record_amendment(
        owner,
        &inbound.whatsapp_id,
        inbound.chat.id.to_string(),
        sender_key(inbound),
    );
    draft.append(owner.tenant, NewEvent::amendment(kind, owner.instance, amendment));
}

/// The message that a fact names: of the same chat and, where `by_author`, written by whoever amends
/// it. A stranger who names another's message changes nothing and is told apart by the missing id.
fn original(
    draft: &Draft,
    owner: Owner,
    inbound: &Inbound,
    target: &str,
    by_author: bool,
) -> Option<MessageId> {
    draft
        .messages_by_whatsapp_id(owner.instance, target)
        .into_iter()
        .find(|&id| {
            draft.message(id).is_some_and(|message| {
                same_chat(&message.chat, &inbound.chat) && (!by_author || is_author(message, inbound))
            })
        })
}

fn is_author(message: &Message, inbound: &Inbound) -> bool {
    match &message.sender {
        None => inbound.from_me,
        Some(sender) => !inbound.from_me && same_sender(sender, &inbound.sender),
    }
}

fn same_chat(a: &Chat, b: &Chat) -> bool {
    a.id == b.id
        || known_same(a.phone_number.as_ref(), b.phone_number.as_ref())
        || known_same(a.lid.as_ref(), b.lid.as_ref())
}

fn same_sender(a: &Sender, b: &Sender) -> bool {
    a.id == b.id
        || known_same(a.phone_number.as_ref(), b.phone_number.as_ref())
        || known_same(a.lid.as_ref(), b.lid.as_ref())
}

fn known_same<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.is_some() && a == b
}
