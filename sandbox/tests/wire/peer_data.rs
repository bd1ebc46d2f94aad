//! What a companion asks its own phone for.

use std::io::Read;

use flate2::read::ZlibDecoder;
use roost_sandbox::signal::proto::{
    HistorySync, HistorySyncOnDemand, HistorySyncType, Message, MessageKey, PeerDataOperation,
    PeerDataOperationRequest, PlaceholderMessageResend, ProtoMessage, ProtocolMessage, ProtocolType,
    WebMessageInfo,
};
use roost_sandbox::wire::node::Node;

use crate::client::{Companion, Wire};
use crate::stage::Stage;

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn ask(
    ada: &mut Companion,
    wire: &mut Wire,
    id: &str,
    request: PeerDataOperationRequest,
) -> ProtocolMessage {
    let request = Message::of_protocol(ProtocolMessage {
        r#type: Some(ProtocolType::PeerDataOperationRequestMessage.into()),
        peer_data_operation_request: Some(request),
        ..ProtocolMessage::default()
    });
    let message = ada
        .sealed(wire, ADA_JID, &[ADA_JID], id, &request)
        .await
        .attr("category", "peer");
    wire.send(&message).await;
    let answer = wire.expect(|node| node.is("category", "peer")).await;
    *ada.read(&answer).protocol_message.unwrap()
}

fn texts(infos: &[WebMessageInfo]) -> Vec<(String, bool)> {
    let text = |info: &WebMessageInfo| {
        let message = info.message.as_ref().unwrap();
        (message.text().unwrap().to_owned(), info.key.from_me.unwrap())
    };
    infos.iter().map(text).collect()
}

#[tokio::test]
async fn a_phone_hands_on_a_message_its_companion_could_not_read() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let known = stage.phone_sends(BOB, ADA, "can you read this?").await;
    stage.phone_has(ADA, 1).await;
    let key = |id: &str| PlaceholderMessageResend {
        message_key: Some(MessageKey {
            remote_jid: Some(BOB_JID.to_owned()),
            from_me: Some(false),
            id: Some(id.to_owned()),
            participant: None,
        }),
    };
    let request = PeerDataOperationRequest {
        operation: Some(PeerDataOperation::PlaceholderMessageResend.into()),
        placeholder_message_resend: vec![key(&known), key("NEVER")],
        ..PeerDataOperationRequest::default()
    };
    let answer = ask(&mut ada, &mut wire, "R1", request).await;
    let answer = answer.peer_data_operation_response.unwrap();
    assert_eq!(answer.stanza_id.as_deref(), Some("R1"));
    let infos: Vec<_> = answer
        .results
        .into_iter()
        .map(|result| {
            let resent = result.placeholder_message_resend.unwrap();
            WebMessageInfo::decode(resent.web_message_info_bytes.unwrap().as_slice()).unwrap()
        })
        .collect();
    assert_eq!(infos[0].key.remote_jid.as_deref(), Some(BOB_JID));
    assert_eq!(infos[0].push_name.as_deref(), Some("Test"));
    assert_eq!(texts(&infos[..1]), [("can you read this?".to_owned(), false)]);
    assert_eq!(
        (infos[1].key.id.as_deref(), infos[1].message.is_some()),
        (Some("NEVER"), false)
    );
}

#[tokio::test]
async fn a_phone_hands_on_older_history_also_after_a_kill() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    for text in ["one", "two"] {
        stage.phone_sends(BOB, ADA, text).await;
    }
    stage.phone_has(ADA, 2).await;
    let mine = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "three")
        .await;
    wire.send(&mine).await;
    stage.phone_has(ADA, 3).await;
    let last = stage.phone_sends(BOB, ADA, "four").await;
    stage.phone_has(ADA, 4).await;
    stage.kill();
    stage.restart();
    let mut wire = ada.connect(&stage).await;
    wire.expect(|node: &Node| node.find("offline").is_some()).await;
    let request = PeerDataOperationRequest {
        operation: Some(PeerDataOperation::HistorySyncOnDemand.into()),
        history_sync_on_demand: Some(HistorySyncOnDemand {
            chat_jid: Some(BOB_JID.to_owned()),
            oldest_msg_id: Some(last),
            oldest_msg_from_me: Some(false),
            on_demand_msg_count: Some(2),
            oldest_msg_timestamp_ms: None,
        }),
        ..PeerDataOperationRequest::default()
    };
    let answer = ask(&mut ada, &mut wire, "H1", request).await;
    let notification = answer.history_sync_notification.unwrap();
    assert_eq!(notification.sync_type, Some(HistorySyncType::OnDemand.into()));
    assert_eq!(notification.peer_data_request_session_id.as_deref(), Some("H1"));
    let deflated = notification.initial_hist_bootstrap_inline_payload.unwrap();
    let mut history = Vec::new();
    ZlibDecoder::new(deflated.as_slice())
        .read_to_end(&mut history)
        .unwrap();
    let history = HistorySync::decode(history.as_slice()).unwrap();
    let chat = &history.conversations[0];
    assert_eq!(chat.id, BOB_JID);
    let infos: Vec<_> = chat
        .messages
        .iter()
        .map(|message| message.message.clone().unwrap())
        .collect();
    assert_eq!(
        texts(&infos),
        [("three".to_owned(), true), ("two".to_owned(), false)],
        "the newest first"
    );
}
