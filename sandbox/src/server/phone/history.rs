//! The history a phone hands to a new companion: chats with their latest messages first, then the
//! names of the others, then what is older.
//!
//! A small history travels inside the message that announces it, a large one is uploaded and fetched
//! by its address, as on the real service.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::record::{Direction, Kind};
use super::send::send_peer;
use super::{State, media};
use crate::server::account::Account;
use crate::server::service::Service;
use crate::server::sync::lock;
use crate::signal::proto::{
    Conversation, HistorySync, HistorySyncMsg, HistorySyncNotification, HistorySyncType, Message, MessageKey,
    PhoneNumberToLidMapping, ProtoMessage, ProtocolMessage, ProtocolType, Pushname, WebMessageInfo,
};
use crate::wire::jid::Domain;

/// Messages of each chat that come first.
const FIRST_PER_CHAT: usize = 20;
/// Messages in one part of what comes later.
const PART_MESSAGES: usize = 500;
/// A message that was delivered, and one that the other side's device has.
const SERVER_ACK: u32 = 2;

/// One message of a chat with another account.
struct Line {
    id: String,
    from_me: bool,
    message: Message,
    at_s: u64,
}

/// Lines by the phone number of the other side, oldest first.
type Chats = BTreeMap<String, Vec<Line>>;

/// Sends a new companion the history of its account.
pub(super) fn send(service: &Arc<Service>, account: &Arc<Account>, device: u16) {
    let chats = chats(&lock(&account.phone.state), service.config.history_messages_max);
    let peers: Vec<_> = chats.keys().filter_map(|pn| service.account_by_pn(pn)).collect();
    let mut first = empty(HistorySyncType::InitialBootstrap);
    first.pushnames.push(push_name(account));
    let (mut names, mut later) = (empty(HistorySyncType::PushName), Vec::new());
    for peer in &peers {
        let lines = chats.get(&*peer.pn).map_or(&[][..], Vec::as_slice);
        let (older, latest) = lines.split_at(lines.len().saturating_sub(FIRST_PER_CHAT));
        first.conversations.push(conversation(peer, latest));
        first.phone_number_to_lid_mappings.push(PhoneNumberToLidMapping {
            pn_jid: Some(peer.jid(0, Domain::Pn).to_string()),
            lid_jid: Some(peer.jid(0, Domain::Lid).to_string()),
        });
        names.pushnames.push(push_name(peer));
        for part in older.rchunks(PART_MESSAGES) {
            let mut recent = empty(HistorySyncType::Recent);
            recent.conversations.push(conversation(peer, part));
            later.push(recent);
        }
    }
    let mut parts = vec![first];
    if !peers.is_empty() {
        parts.push(names);
    }
    parts.extend(later);
    let count = parts.len();
    for (at, mut part) in parts.into_iter().enumerate() {
        let done = at + 1;
        part.chunk_order = u32::try_from(done).ok();
        part.progress = u32::try_from(done * 100 / count).ok();
        let announced = announce(service, account, &part);
        send_peer(service, account, device, announced);
    }
}

fn empty(kind: HistorySyncType) -> HistorySync {
    HistorySync {
        sync_type: kind.into(),
        ..HistorySync::default()
    }
}

fn push_name(account: &Account) -> Pushname {
    Pushname {
        id: Some(account.jid(0, Domain::Pn).to_string()),
        pushname: Some(account.name()),
    }
}

/// What the phone remembers, as it is after edits and revocations.
fn chats(state: &State, messages_max: usize) -> Chats {
    let mut chats = Chats::new();
    let mut changes: HashMap<String, Option<String>> = HashMap::new();
    let mut lines = Vec::new();
    for noted in state.notebook.read(0, usize::MAX) {
        let message = match (noted.kind, &noted.target_id) {
            (Kind::Text, _) => Message::of_text(noted.text.unwrap_or_default()),
            (Kind::Media, _) => match state.media.get(&noted.whatsapp_id) {
                Some(medium) => medium.innermost().clone(),
                None => continue,
            },
            (Kind::Edit | Kind::Revoke, Some(target)) => {
                changes.insert(target.clone(), noted.text);
                continue;
            }
            _ => continue,
        };
        let line = Line {
            id: noted.whatsapp_id,
            from_me: noted.direction == Direction::Sent,
            message,
            at_s: noted.timestamp,
        };
        lines.push((noted.chat, line));
    }
    for (id, sent) in state.sent.iter() {
        let message = &sent.outgoing.message;
        if let Some(protocol) = &message.protocol_message {
            let target = protocol.key.as_ref().and_then(|key| key.id.clone());
            let text = protocol.edited_message.as_ref().and_then(|edited| edited.text());
            if let Some(target) = target {
                changes.insert(target, text.map(str::to_owned));
            }
        } else if message.reaction_message.is_none() {
            let line = Line {
                id: id.to_owned(),
                from_me: true,
                message: message.clone(),
                at_s: sent.at_s,
            };
            lines.push((sent.peer.to_string(), line));
        }
    }
    lines.sort_by_key(|(_, line)| line.at_s);
    let newest = lines.len().saturating_sub(messages_max);
    for (chat, mut line) in lines.into_iter().skip(newest) {
        match changes.remove(&line.id) {
            Some(Some(text)) => line.message = Message::of_text(text),
            Some(None) => continue,
            None => {}
        }
        chats.entry(chat).or_default().push(line);
    }
    chats
}

/// A chat with these messages, the newest first.
fn conversation(peer: &Account, lines: &[Line]) -> Conversation {
    let jid = peer.jid(0, Domain::Pn).to_string();
    let messages = lines.iter().enumerate().rev().map(|(order, line)| {
        let key = MessageKey {
            remote_jid: Some(jid.clone()),
            from_me: Some(line.from_me),
            id: Some(line.id.clone()),
            participant: None,
        };
        let message = WebMessageInfo {
            key,
            message: Some(Box::new(line.message.clone())),
            message_timestamp: Some(line.at_s),
            status: line.from_me.then_some(SERVER_ACK),
            push_name: (!line.from_me).then(|| peer.name()),
            ..WebMessageInfo::default()
        };
        HistorySyncMsg {
            message: Some(message),
            msg_order_id: Some(order as u64),
        }
    });
    let messages: Vec<_> = messages.collect();
    let last = lines.last().map(|line| line.at_s);
    Conversation {
        messages,
        last_msg_timestamp: last,
        conversation_timestamp: last,
        unread_count: Some(0),
        name: Some(peer.name()),
        pn_jid: Some(jid.clone()),
        lid_jid: Some(peer.jid(0, Domain::Lid).to_string()),
        id: jid,
        ..Conversation::default()
    }
}

fn announce(service: &Service, account: &Account, history: &HistorySync) -> Message {
    Message::of_protocol(ProtocolMessage {
        r#type: Some(ProtocolType::HistorySyncNotification.into()),
        history_sync_notification: Some(Box::new(notification(service, account, history))),
        ..ProtocolMessage::default()
    })
}

/// What carries a part of a history, or says where it is.
pub(super) fn notification(
    service: &Service,
    account: &Account,
    history: &HistorySync,
) -> HistorySyncNotification {
    let mut notification = HistorySyncNotification {
        sync_type: Some(history.sync_type),
        chunk_order: history.chunk_order,
        progress: history.progress,
        ..HistorySyncNotification::default()
    };
    let deflated = deflate(&history.encode_to_vec());
    let is_inline = deflated.len() <= service.config.history_inline_bytes_max;
    if is_inline || !media::upload_history(service, account, &deflated, &mut notification) {
        notification.initial_hist_bootstrap_inline_payload = Some(deflated);
    }
    notification
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut deflater = ZlibEncoder::new(Vec::new(), Compression::fast());
    let written = deflater.write_all(bytes);
    // Writing to a vector cannot fail.
    written.and_then(|()| deflater.finish()).unwrap_or_default()
}
