//! What an account may take, in bytes.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::signal::proto::{ProtoMessage, SyncdPatch};
use serde_json::json;

use crate::appstate::sync;
use crate::client::Companion;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

#[tokio::test]
async fn app_state_of_an_account_has_a_limit_in_bytes() {
    let stage = Stage::with(SandboxConfig {
        app_state_bytes_max: 4_096,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let large = SyncdPatch {
        patch_mac: Some(vec![7; 3_000]),
        ..SyncdPatch::default()
    };
    let large = large.encode_to_vec();
    let answer = sync(&mut wire, "regular", 0, Some(large.clone())).await;
    assert_eq!(answer.get("version"), Some("1"), "{answer:?}");
    // All collections count together, and what is refused changes nothing.
    let answer = sync(&mut wire, "regular_high", 0, Some(large.clone())).await;
    let error = answer.find("error").unwrap();
    assert_eq!(
        (answer.get("type"), error.get("code"), error.get("text")),
        (Some("error"), Some("507"), Some("app-state-full"))
    );
    assert!(sync(&mut wire, "regular_high", 0, None).await.is("version", "0"));
    let mut chats = 0;
    let refused = loop {
        let body = json!({"action": "pin", "chat": format!("1555{chats:07}"), "pinned": true});
        let (status, body) = stage.post(&format!("/accounts/{ADA}/app-state"), body).await;
        if status != 204 {
            break (status, body["code"].as_str().unwrap().to_owned());
        }
        chats += 1;
        assert!(chats < 100);
    };
    assert_eq!(refused, (503, "collection_full".to_owned()));
    // Nobody else is concerned.
    let body = json!({"action": "pin", "chat": ADA, "pinned": true});
    assert_eq!(
        stage.post(&format!("/accounts/{BOB}/app-state"), body).await.0,
        204
    );
}

#[tokio::test]
async fn a_phone_forgets_the_oldest_texts_when_they_take_too_much() {
    let stage = Stage::with(SandboxConfig {
        phone_messages_bytes_max: 30_000,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let text = "x".repeat(5_000);
    let mut last = Vec::new();
    for number in 1..=10 {
        let id = format!("M{number}");
        let message = ada.message(&mut wire, BOB_JID, &[BOB_JID], &id, &text).await;
        wire.send(&message).await;
        wire.expect_ack(&id).await;
        last = eventually(|| async {
            let (_, body) = stage.get(&format!("/accounts/{BOB}/messages")).await;
            let messages = body["data"].as_array().unwrap().clone();
            let is_there = messages.last().is_some_and(|last| last["whatsapp_id"] == *id);
            is_there.then_some(messages)
        })
        .await;
    }
    let ids: Vec<_> = last.iter().map(|note| note["whatsapp_id"].clone()).collect();
    assert_eq!(ids, ["M9", "M10"], "the latest are remembered, in order");
    assert_eq!(stage.stat("messages_forgotten").await, 8);
    // One that alone takes more than there is room for is remembered until the next.
    let large = ada
        .message(&mut wire, BOB_JID, &[BOB_JID], "M11", &"y".repeat(40_000))
        .await;
    wire.send(&large).await;
    eventually(|| async {
        let (_, body) = stage.get(&format!("/accounts/{BOB}/messages")).await;
        let messages = body["data"].as_array().unwrap();
        (messages.len() == 1 && messages[0]["whatsapp_id"] == "M11").then_some(())
    })
    .await;
}
