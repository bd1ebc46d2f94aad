//! What a new companion learns of the chats its phone had before.

use std::io::Read;

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::signal::media::retry::{self, Sealed};
use roost_sandbox::signal::media::{MediaKind, open};
use roost_sandbox::signal::proto::{
    HistorySync, HistorySyncNotification, HistorySyncType, MediaRetryNotification, ProtoMessage,
    ServerErrorReceipt, WebMessageInfo,
};
use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::client::{Companion, Wire};
use crate::media::{ADA, ADA_JID, BOB, BOB_JID, Host};
use crate::stage::Stage;

/// A new companion that is online, before it has read what the phone sends it.
async fn newcomer(stage: &Stage, number: &str) -> (Companion, Wire) {
    let mut companion = Companion::paired(stage, number).await;
    let mut wire = companion.connect(stage).await;
    companion.upload(&mut wire, 20).await;
    wire.query("set", "passive", Node::new("active")).await;
    (companion, wire)
}

/// The next announcement of history, and the id of its message.
async fn announced(companion: &mut Companion, wire: &mut Wire) -> (String, HistorySyncNotification) {
    loop {
        let node = wire
            .expect(|node| node.tag == "message" && node.is("category", "peer"))
            .await;
        let message = companion.read(&node);
        companion.receipt(wire, &node, Some("peer_msg")).await;
        let protocol = message.protocol_message.unwrap();
        if let Some(history) = protocol.history_sync_notification {
            return (node.get("id").unwrap().to_owned(), *history);
        }
    }
}

fn inflate(deflated: &[u8]) -> HistorySync {
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(deflated)
        .read_to_end(&mut bytes)
        .unwrap();
    HistorySync::decode(bytes.as_slice()).unwrap()
}

async fn fetched(host: &Host, history: &HistorySyncNotification) -> HistorySync {
    assert!(history.initial_hist_bootstrap_inline_payload.is_none());
    let answer = host.get(history.direct_path.as_ref().unwrap()).await;
    let blob = answer.error_for_status().unwrap().bytes().await.unwrap();
    let key = history.media_key.clone().unwrap().try_into().unwrap();
    let deflated = open(MediaKind::History, &key, &blob).unwrap();
    assert_eq!(history.file_length, Some(deflated.len() as u64));
    inflate(&deflated)
}

/// Two phones that have talked.
async fn talk(stage: &Stage) -> Vec<String> {
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ids = Vec::new();
    for at in 0..30 {
        let (from, to) = if at % 2 == 0 { (ADA, BOB) } else { (BOB, ADA) };
        ids.push(stage.phone_sends(from, to, &format!("line {at}")).await);
    }
    let media = json!({"to": ADA, "media": {"kind": "image", "size": 500, "caption": "look"}});
    let (_, sent) = stage.post(&format!("/accounts/{BOB}/messages"), media).await;
    ids.push(sent["whatsapp_id"].as_str().unwrap().to_owned());
    for change in [
        json!({"to": BOB, "edit_of": ids[28], "text": "edited"}),
        json!({"to": BOB, "revoke_of": ids[26]}),
        json!({"to": BOB, "react_to": ids[29], "emoji": "x"}),
    ] {
        let (status, body) = stage.post(&format!("/accounts/{ADA}/messages"), change).await;
        assert_eq!(status, 201, "{body}");
    }
    stage.phone_has(ADA, 16).await;
    ids
}

fn id_of(message: &WebMessageInfo) -> &str {
    message.key.id.as_deref().unwrap()
}

#[tokio::test]
async fn a_new_companion_gets_chats_names_and_older_messages_inside_messages() {
    let stage = Stage::new().await;
    let ids = talk(&stage).await;
    let (mut ada, mut wire) = newcomer(&stage, ADA).await;
    let mut parts = Vec::new();
    for _ in 0..3 {
        let (_, history) = announced(&mut ada, &mut wire).await;
        let inline = history.initial_hist_bootstrap_inline_payload.as_ref().unwrap();
        let part = inflate(inline);
        assert_eq!(history.sync_type, Some(part.sync_type));
        parts.push(part);
    }
    let kinds: Vec<_> = parts.iter().map(HistorySync::sync_type).collect();
    assert_eq!(
        kinds,
        [
            HistorySyncType::InitialBootstrap,
            HistorySyncType::PushName,
            HistorySyncType::Recent
        ]
    );
    assert_eq!(parts[1].pushnames[0].id.as_deref(), Some(BOB_JID));
    let messages: Vec<_> = [&parts[0], &parts[2]]
        .iter()
        .flat_map(|part| &part.conversations)
        .inspect(|chat| assert_eq!(chat.id, BOB_JID))
        .flat_map(|chat| &chat.messages)
        .map(|message| message.message.clone().unwrap())
        .collect();
    assert_eq!(parts[0].conversations[0].messages.len(), 20);
    let mut listed: Vec<_> = messages.iter().map(|message| id_of(message).to_owned()).collect();
    let mut expected = ids.clone();
    expected.remove(26);
    assert_eq!(listed.len(), expected.len());
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected, "each message once, but for the revoked one");
    let find = |id: &str| messages.iter().find(|message| id_of(message) == id).unwrap();
    let text = |id: &str| find(id).message.as_ref().unwrap().text().map(str::to_owned);
    assert_eq!(text(&ids[28]).as_deref(), Some("edited"));
    assert_eq!(text(&ids[3]).as_deref(), Some("line 3"));
    assert_eq!(
        (find(&ids[2]).key.from_me, find(&ids[3]).key.from_me),
        (Some(true), Some(false))
    );
    let image = find(&ids[30])
        .message
        .as_ref()
        .unwrap()
        .image_message
        .as_ref()
        .unwrap();
    let host = Host::of(&stage, &mut wire).await;
    let blob = host
        .get(image.direct_path.as_ref().unwrap())
        .await
        .bytes()
        .await
        .unwrap();
    let key = image.media_key.clone().unwrap().try_into().unwrap();
    assert_eq!(open(MediaKind::Image, &key, &blob).unwrap().len(), 500);
}

#[tokio::test]
async fn a_history_can_be_uploaded_and_is_uploaded_again_when_its_address_has_expired() {
    let stage = Stage::with(SandboxConfig {
        history_inline_bytes_max: 0,
        ..SandboxConfig::default()
    })
    .await;
    let ids = talk(&stage).await;
    let (mut ada, mut wire) = newcomer(&stage, ADA).await;
    let host = Host::of(&stage, &mut wire).await;
    let (id, first) = announced(&mut ada, &mut wire).await;
    let part = fetched(&host, &first).await;
    assert_eq!(part.sync_type(), HistorySyncType::InitialBootstrap);
    let newest = part.conversations[0].messages[0].message.as_ref().unwrap();
    assert!(ids.contains(&id_of(newest).to_owned()));

    stage.post("/media/expire", json!({"all": true})).await;
    let path = first.direct_path.as_ref().unwrap();
    assert_eq!(host.get(path).await.status(), 410);
    let key = first.media_key.clone().unwrap().try_into().unwrap();
    let asked = ServerErrorReceipt {
        stanza_id: Some(id.clone()),
    };
    let sealed = retry::seal(&key, &id, &asked);
    let encrypt = Node::new("encrypt")
        .child(Node::new("enc_p").bytes(sealed.ciphertext))
        .child(Node::new("enc_iv").bytes(sealed.iv.to_vec()));
    let receipt = Node::new("receipt")
        .attr("type", "server-error")
        .attr("to", ADA_JID)
        .attr("id", id.clone())
        .attr("category", "peer")
        .child(encrypt);
    wire.send(&receipt).await;
    let answer = wire
        .expect(|node| node.tag == "notification" && node.is("type", "mediaretry"))
        .await;
    let sealed = answer.find("encrypt").unwrap();
    let sealed = Sealed {
        iv: sealed.find("enc_iv").unwrap().data_array().unwrap(),
        ciphertext: sealed.find("enc_p").unwrap().data().unwrap().to_vec(),
    };
    let answer: MediaRetryNotification = retry::open(&key, &id, &sealed).unwrap();
    let again = HistorySyncNotification {
        direct_path: answer.direct_path,
        ..first
    };
    assert_eq!(fetched(&host, &again).await, part);
}
