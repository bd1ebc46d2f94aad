//! Files: uploaded and fetched over TLS, and uploaded again when they have expired.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roost_sandbox::server::SandboxConfig;
use serde_json::{Value, json};

use crate::baileys::{Baileys, address, named, text_of};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

/// A file of a size that is no multiple of anything.
fn file(seed: u8) -> Vec<u8> {
    (0..70_001_u32).map(|at| (at % 251) as u8 ^ seed).collect()
}

fn buffer(bytes: &[u8]) -> Value {
    json!({"type": "Buffer", "data": STANDARD.encode(bytes)})
}

/// What a client gets when it fetches the file of a message.
async fn fetched(baileys: &Baileys, id: &str, options: Value) -> Vec<u8> {
    let bytes = baileys.call("download", json!([named(id), options])).await;
    STANDARD.decode(bytes["data"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn what_baileys_uploads_can_be_fetched() {
    let ground = Ground::start().await;
    let carol = ground.linked("carol", CAROL).await;
    let alice = ground.linked("alice", ALICE).await;
    let thumbnail = buffer(&[0xff, 0xd8, 0xff, 0xd9]);
    let contents = [
        json!({"image": buffer(&file(1)), "caption": "a picture", "jpegThumbnail": thumbnail}),
        json!({"document": buffer(&file(2)), "mimetype": "application/pdf", "fileName": "a.pdf"}),
        json!({"audio": buffer(&file(3)), "mimetype": "audio/mpeg", "seconds": 3}),
        json!({"sticker": buffer(&file(4))}),
    ];
    for (seed, content) in (1..).zip(contents) {
        let expected = file(seed);
        // To a phone, which decrypts with our own code.
        let id = carol.send(BOB, content.clone()).await;
        ground
            .phone_record(BOB, &id, |record| record["whatsapp_id"] == id)
            .await;
        let path = format!("accounts/{BOB}/messages/{id}/media");
        assert!(ground.bytes(&path).await == expected, "file {seed} of a phone");
        // To another Baileys.
        let id = carol.send(ALICE, content).await;
        alice.message(&id, |message| message["key"]["id"] == id).await;
        assert!(
            fetched(&alice, &id, json!({})).await == expected,
            "file {seed} of Baileys"
        );
    }
    carol.quit().await;
    alice.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_fetches_what_a_phone_uploads() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    for (seed, kind) in (1..).zip(["image", "video", "audio", "voice", "document", "sticker"]) {
        let media = json!({"kind": kind, "data": STANDARD.encode(file(seed))});
        let body = json!({"to": CAROL, "media": media});
        let sent = ground.act(&format!("accounts/{BOB}/messages"), body).await;
        let id = sent["whatsapp_id"].as_str().unwrap();
        baileys.message(id, |message| message["key"]["id"] == id).await;
        assert!(
            fetched(&baileys, id, json!({})).await == file(seed),
            "a file of kind {kind}"
        );
        // From the host that Baileys asks when it is told none.
        let options = json!({"host": "mmg.whatsapp.net"});
        assert!(
            fetched(&baileys, id, options).await == file(seed),
            "a file of kind {kind}"
        );
    }
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn files_go_to_groups_too() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let group = json!({"creator": BOB, "subject": "Band", "participants": [CAROL], "addressing": "lid"});
    let group = ground.act("groups", group).await;
    let group = group["group_id"].as_str().unwrap();

    let content = json!({"document": buffer(&file(5)), "mimetype": "application/pdf", "fileName": "a.pdf"});
    let id = baileys.send(group, content).await;
    let record = ground
        .phone_record(BOB, &id, |record| record["whatsapp_id"] == id)
        .await;
    assert_eq!(record["chat"], group);
    let path = format!("accounts/{BOB}/messages/{id}/media");
    assert!(ground.bytes(&path).await == file(5));

    let media = json!({"kind": "image", "data": STANDARD.encode(file(6))});
    let body = json!({"to": group, "media": media});
    let sent = ground.act(&format!("accounts/{BOB}/messages"), body).await;
    let id = sent["whatsapp_id"].as_str().unwrap();
    let heard = baileys.message(id, |message| message["key"]["id"] == id).await;
    assert_eq!(heard["key"]["remoteJid"], group);
    assert!(fetched(&baileys, id, json!({})).await == file(6));
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn an_expired_file_is_uploaded_again() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let media = json!({"kind": "image", "data": STANDARD.encode(file(7))});
    let body = json!({"to": CAROL, "media": media});
    let sent = ground.act(&format!("accounts/{BOB}/messages"), body).await;
    let id = sent["whatsapp_id"].as_str().unwrap();
    baileys.message(id, |message| message["key"]["id"] == id).await;
    // It is the account's own phone that is asked.
    ground
        .phone_record(CAROL, id, |record| record["whatsapp_id"] == id)
        .await;
    ground.act("media/expire", json!({"whatsapp_id": id})).await;
    let refused = baileys.try_call("download", json!([named(id), {}])).await;
    assert!(refused.unwrap_err().contains("Failed to fetch stream"));
    baileys.call("updateMediaMessage", json!([named(id)])).await;
    assert!(fetched(&baileys, id, json!({})).await == file(7));
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_history_arrives_inline_and_as_a_file() {
    let mut ground = Ground::start().await;
    for history_inline_bytes_max in [64 << 10, 0] {
        let config = SandboxConfig {
            history_inline_bytes_max,
            ..SandboxConfig::default()
        };
        ground.move_to(config).await;
        let mut expected = Vec::new();
        for number in 0..15 {
            for (from, to) in [(BOB, CAROL), (CAROL, BOB)] {
                let text = format!("{from} says {number}");
                ground.world.phone_sends(from, to, &text).await;
                expected.push(text);
            }
        }
        ground
            .world
            .phone_has(CAROL, expected.iter().rev().nth(1).unwrap())
            .await;
        expected.sort();
        let name = format!("carol-{history_inline_bytes_max}");
        let baileys = ground.linked(&name, CAROL).await;
        baileys
            .until_events("the whole history", "messaging-history.set", |sets| {
                let messages = sets.iter().flat_map(|set| set["messages"].as_array().unwrap());
                let texts = messages.filter_map(text_of);
                let mut texts: Vec<String> = texts.map(str::to_owned).collect();
                texts.sort();
                texts.dedup();
                (texts == expected).then_some(())
            })
            .await;
        let stored = ground.look("media").await;
        let files = stored["data"].as_array().unwrap();
        assert_eq!(files.is_empty(), history_inline_bytes_max > 0, "{stored}");
        baileys.quit().await;
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn profile_pictures_are_seen_and_removed() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let picture = [&[0xff, 0xd8, 0xff, 0xe0][..], &file(9), &[0xff, 0xd9]].concat();
    for phone in [BOB, CAROL] {
        ground.put(&format!("accounts/{phone}/picture"), &picture).await;
        let url = baileys
            .call("profilePictureUrl", json!([address(phone), "image"]))
            .await;
        assert!(ground.media(url.as_str().unwrap()).await == picture);
    }
    baileys
        .call("removeProfilePicture", json!([address(CAROL)]))
        .await;
    let account = ground.look(&format!("accounts/{CAROL}")).await;
    assert!(account["picture_id"].is_null(), "{account}");
    let gone = baileys
        .try_call("profilePictureUrl", json!([address(CAROL), "image"]))
        .await;
    assert!(gone.unwrap_err().contains("item-not-found"));
    baileys.quit().await;
    ground.end().await;
}
