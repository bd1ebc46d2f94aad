//! What companions ask their own phone for: a message they could not read, and older history of a
//! chat. The phone answers from what it has noted.

use std::sync::Arc;

use super::history;
use super::record::{Direction, Recorded};
use super::send::send_peer;
use crate::server::account::Account;
use crate::server::service::Service;
use crate::server::sync::lock;
use crate::signal::proto::{
    Conversation, HistorySync, HistorySyncMsg, HistorySyncNotification, HistorySyncOnDemand, HistorySyncType,
    Message, MessageKey, PeerDataOperation, PeerDataOperationRequest, PeerDataOperationResponse,
    PeerDataOperationResult, PlaceholderMessageResendResponse, ProtoMessage, ProtocolMessage, ProtocolType,
    WebMessageInfo,
};
use crate::wire::jid::{Domain, Jid};

/// Messages in one answer.
const MESSAGES_MAX: usize = 500;
/// A message of the own side that the other side's device has.
const DELIVERED: u32 = 3;

/// Answers the request that `device` sent under `id`.
pub(super) fn answer(
    service: &Arc<Service>,
    account: &Arc<Account>,
    device: u16,
    id: &str,
    request: &PeerDataOperationRequest,
) {
    let operation = request.operation.unwrap_or_default();
    let answer = match PeerDataOperation::try_from(operation) {
        Ok(PeerDataOperation::PlaceholderMessageResend) => resend(service, account, id, request),
        Ok(PeerDataOperation::HistorySyncOnDemand) => {
            let Some(asked) = &request.history_sync_on_demand else {
                return;
            };
            older(service, account, id, asked)
        }
        // Phones answer other requests, too; companions do without.
        _ => return,
    };
    send_peer(service, account, device, Message::of_protocol(answer));
}

/// Messages by their keys, each as the phone has it. One it does not have comes back without content.
fn resend(
    service: &Service,
    account: &Account,
    id: &str,
    request: &PeerDataOperationRequest,
) -> ProtocolMessage {
    let keys = request
        .placeholder_message_resend
        .iter()
        .take(MESSAGES_MAX)
        .filter_map(|asked| asked.message_key.clone());
    let results = keys.map(|key| {
        let noted = lock(&account.phone.state)
            .notebook
            .find(key.id.as_deref().unwrap_or_default());
        let info = match noted {
            Some(noted) => info(service, &noted),
            None => WebMessageInfo {
                key,
                ..WebMessageInfo::default()
            },
        };
        PeerDataOperationResult {
            placeholder_message_resend: Some(PlaceholderMessageResendResponse {
                web_message_info_bytes: Some(info.encode_to_vec()),
            }),
        }
    });
    ProtocolMessage {
        r#type: Some(ProtocolType::PeerDataOperationRequestResponseMessage.into()),
        peer_data_operation_response: Some(PeerDataOperationResponse {
            operation: Some(PeerDataOperation::PlaceholderMessageResend.into()),
            stanza_id: Some(id.to_owned()),
            results: results.collect(),
        }),
        ..ProtocolMessage::default()
    }
}

/// The messages of a chat before the oldest one the companion has, the newest first.
fn older(service: &Service, account: &Account, id: &str, asked: &HistorySyncOnDemand) -> ProtocolMessage {
    let jid = asked.chat_jid.clone().unwrap_or_default();
    let chat = Jid::parse(&jid).map(|jid| match service.account(&jid) {
        Some(peer) => peer.pn.to_string(),
        None => jid.to_string(),
    });
    let mut noted = lock(&account.phone.state).notebook.read(0, usize::MAX);
    noted.retain(|noted| Some(&noted.chat) == chat.as_ref() && !noted.raw.is_empty());
    let anchor = asked.oldest_msg_id.as_deref().unwrap_or_default();
    match noted.iter().position(|noted| noted.whatsapp_id == anchor) {
        Some(at) => noted.truncate(at),
        None => {
            let before_s = asked.oldest_msg_timestamp_ms.unwrap_or_default() / 1_000;
            let before_s = u64::try_from(before_s).unwrap_or_default();
            noted.retain(|noted| before_s == 0 || noted.timestamp < before_s);
        }
    }
    let count = usize::try_from(asked.on_demand_msg_count.unwrap_or_default()).unwrap_or_default();
    let count = count.clamp(1, MESSAGES_MAX);
    let messages = noted.iter().rev().take(count).map(|noted| HistorySyncMsg {
        message: Some(info(service, noted)),
        msg_order_id: Some(noted.number),
    });
    let history = HistorySync {
        sync_type: HistorySyncType::OnDemand.into(),
        chunk_order: Some(1),
        progress: Some(100),
        conversations: vec![Conversation {
            id: jid,
            messages: messages.collect(),
            ..Conversation::default()
        }],
        ..HistorySync::default()
    };
    let notification = HistorySyncNotification {
        peer_data_request_session_id: Some(id.to_owned()),
        ..history::notification(service, account, &history)
    };
    ProtocolMessage {
        r#type: Some(ProtocolType::HistorySyncNotification.into()),
        history_sync_notification: Some(Box::new(notification)),
        ..ProtocolMessage::default()
    }
}

/// A message as phones hand it on.
fn info(service: &Service, noted: &Recorded) -> WebMessageInfo {
    let from_me = noted.direction == Direction::Sent;
    let is_group = noted.chat.contains('@');
    let chat = if is_group {
        noted.chat.clone()
    } else {
        Jid::new(noted.chat.as_str(), 0, Domain::Pn).to_string()
    };
    let author = (!from_me).then(|| Jid::new(noted.from.as_str(), 0, Domain::Pn).to_string());
    let participant = author.filter(|_| is_group);
    let key = MessageKey {
        remote_jid: Some(chat),
        from_me: Some(from_me),
        id: Some(noted.whatsapp_id.clone()),
        participant: participant.clone(),
    };
    WebMessageInfo {
        key,
        message: Message::decode(noted.raw.as_slice()).ok().map(Box::new),
        message_timestamp: Some(noted.timestamp),
        status: from_me.then_some(DELIVERED),
        participant,
        push_name: service.account_by_pn(&noted.from).map(|account| account.name()),
    }
}
