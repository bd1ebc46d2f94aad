//! Media in messages: phones that send, receive, and upload again.

use roost_sandbox::signal::media::retry::{self, Sealed};
use roost_sandbox::signal::media::{MediaKind, open, seal};
use roost_sandbox::signal::proto::{
    ImageMessage, MediaRetryNotification, MediaRetryResult, Message, ServerErrorReceipt,
};
use roost_sandbox::wire::node::Node;
use serde_json::json;

use super::{ADA, ADA_JID, BOB, BOB_JID, Host, noise, scene};
use crate::client::{Companion, Wire};
use crate::member::Member;
use crate::stage::Stage;

fn is_content(node: &Node) -> bool {
    node.tag == "message" && !node.is("category", "peer")
}

async fn bob_sends(stage: &Stage, media: serde_json::Value) -> String {
    let body = json!({"to": ADA, "media": media});
    let (status, sent) = stage.post(&format!("/accounts/{BOB}/messages"), body).await;
    assert_eq!(status, 201, "{sent}");
    sent["whatsapp_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_phone_sends_every_kind_and_a_companion_decrypts_it() {
    use base64::Engine as _;
    let stage = Stage::new().await;
    let (mut ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let plain = noise(3_000);
    let data = base64::engine::general_purpose::STANDARD.encode(&plain);
    for (kind, media_type, crypto) in [
        ("image", "image", MediaKind::Image),
        ("video", "video", MediaKind::Video),
        ("audio", "audio", MediaKind::Audio),
        ("voice", "ptt", MediaKind::Audio),
        ("document", "document", MediaKind::Document),
        ("sticker", "sticker", MediaKind::Image),
    ] {
        let media =
            json!({"kind": kind, "data": data, "mimetype": "x/y", "seconds": 7, "width": 40, "height": 30});
        let id = bob_sends(&stage, media).await;
        let node = wire.expect(|node| is_content(node) && node.is("id", &id)).await;
        assert_eq!(
            (node.get("type"), node.find("enc").unwrap().get("mediatype")),
            (Some("media"), Some(media_type))
        );
        let message = ada.read(&node);
        let (path, key) = fields(&message);
        let blob = host.get(&path).await.bytes().await.unwrap();
        assert_eq!(open(crypto, &key, &blob).unwrap(), plain, "{kind}");
        // The receiver's phone has it too.
        let shown = stage.phone_has(ADA, 1).await;
        let shown = shown.iter().find(|message| message["whatsapp_id"] == id);
        let shown = match shown {
            Some(shown) => shown.clone(),
            None => phone_knows(&stage, ADA, &id).await,
        };
        assert_eq!(
            (&shown["kind"], &shown["media"]["kind"]),
            (&json!("media"), &json!(kind))
        );
        assert_eq!(
            (&shown["media"]["bytes"], &shown["media"]["mimetype"]),
            (&json!(3_000), &json!("x/y"))
        );
        let (status, bytes) = stage
            .get_bytes(&format!("/accounts/{ADA}/messages/{id}/media"))
            .await;
        assert_eq!((status, bytes), (200, plain.clone()));
    }
}

/// What the phone shows of a message, once it has it.
async fn phone_knows(stage: &Stage, number: &str, id: &str) -> serde_json::Value {
    crate::stage::eventually(|| async {
        let (_, body) = stage.get(&format!("/accounts/{number}/messages")).await;
        let messages = body["data"].as_array().unwrap();
        messages
            .iter()
            .find(|message| message["whatsapp_id"] == id)
            .cloned()
    })
    .await
}

/// Where the file of a message is, and its key.
fn fields(message: &Message) -> (String, [u8; 32]) {
    macro_rules! of {
        ($($field:ident),*) => { $(if let Some(medium) = &message.$field {
            let key = medium.media_key.clone().unwrap().try_into().unwrap();
            return (medium.direct_path.clone().unwrap(), key);
        })* };
    }
    of!(
        image_message,
        video_message,
        audio_message,
        document_message,
        sticker_message
    );
    panic!("no medium in {message:?}");
}

#[tokio::test]
async fn a_thumbnail_comes_inline_and_by_its_own_direct_path() {
    let stage = Stage::new().await;
    let (mut ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    for (kind, crypto) in [
        ("image", MediaKind::ImageThumbnail),
        ("video", MediaKind::VideoThumbnail),
    ] {
        bob_sends(&stage, json!({"kind": kind, "size": 100, "caption": "look"})).await;
        let node = wire.expect(is_content).await;
        let message = ada.read(&node);
        assert_eq!(message.text(), Some("look"));
        let (_, key) = fields(&message);
        let (inline, path) = match (&message.image_message, &message.video_message) {
            (Some(image), _) => (&image.jpeg_thumbnail, &image.thumbnail_direct_path),
            (_, Some(video)) => (&video.jpeg_thumbnail, &video.thumbnail_direct_path),
            _ => panic!("{message:?}"),
        };
        let blob = host.get(path.as_ref().unwrap()).await.bytes().await.unwrap();
        let jpeg = open(crypto, &key, &blob).unwrap();
        assert!(jpeg.starts_with(&[0xFF, 0xD8]));
        assert_eq!(inline.as_ref(), Some(&jpeg));
    }
}

type Damage = fn(&mut ImageMessage);

/// An image as a companion sends it.
async fn image(host: &Host, plain: &[u8]) -> ImageMessage {
    let sealed = seal(MediaKind::Image, plain);
    ImageMessage {
        mimetype: Some("image/png".to_owned()),
        caption: Some("seen".to_owned()),
        file_sha256: Some(sealed.file_sha256.to_vec()),
        file_length: Some(sealed.file_bytes),
        media_key: Some(sealed.media_key.to_vec()),
        file_enc_sha256: Some(sealed.file_enc_sha256.to_vec()),
        direct_path: Some(host.uploaded("image", &sealed.blob).await),
        ..ImageMessage::default()
    }
}

async fn sends(ada: &mut Companion, wire: &mut Wire, id: &str, image: ImageMessage) {
    let message = Message {
        image_message: Some(Box::new(image)),
        ..Message::default()
    };
    let node = ada.sealed(wire, BOB_JID, &[BOB_JID, ADA_JID], id, &message).await;
    wire.send(&node).await;
    wire.expect_ack(id).await;
}

#[tokio::test]
async fn a_phone_fetches_and_decrypts_what_a_companion_sends() {
    let stage = Stage::new().await;
    let (mut ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let plain = noise(50_000);
    let image = image(&host, &plain).await;
    sends(&mut ada, &mut wire, "M1", image.clone()).await;
    let shown = phone_knows(&stage, BOB, "M1").await;
    assert_eq!(
        (&shown["text"], &shown["media"]["bytes"]),
        (&json!("seen"), &json!(50_000))
    );
    let path = |id: &str| format!("/accounts/{BOB}/messages/{id}/media");
    assert_eq!(stage.get_bytes(&path("M1")).await, (200, plain));

    // What does not fit together is told apart.
    let broken: [(&str, u16, &str, Damage); 5] = [
        ("M2", 422, "media_unusable", |image| {
            image.media_key = Some(vec![1; 32])
        }),
        ("M3", 422, "media_unusable", |image| {
            image.file_sha256 = Some(vec![1; 32])
        }),
        ("M4", 422, "media_unusable", |image| {
            image.file_enc_sha256 = Some(vec![1; 32])
        }),
        ("M5", 422, "media_unusable", |image| image.file_length = Some(1)),
        ("M6", 404, "media_not_found", |image| {
            image.direct_path = Some("/v/t/9_9_n.enc".to_owned())
        }),
    ];
    for (id, status, code, damage) in broken {
        let mut image = image.clone();
        damage(&mut image);
        sends(&mut ada, &mut wire, id, image).await;
        phone_knows(&stage, BOB, id).await;
        let (got, problem) = stage.get(&path(id)).await;
        assert_eq!(
            (got, problem["code"].as_str()),
            (status, Some(code)),
            "{id}: {problem}"
        );
    }
    assert_eq!(stage.get(&path("M9")).await.1["code"], "message_not_found");
}

async fn asks_again(wire: &mut Wire, id: &str, key: &[u8; 32], sealed_for: &str) -> Node {
    let asked = ServerErrorReceipt {
        stanza_id: Some(id.to_owned()),
    };
    let Sealed { iv, ciphertext } = retry::seal(key, sealed_for, &asked);
    let encrypt = Node::new("encrypt")
        .child(Node::new("enc_p").bytes(ciphertext))
        .child(Node::new("enc_iv").bytes(iv.to_vec()));
    let receipt = Node::new("receipt")
        .attr("type", "server-error")
        .attr("to", ADA_JID)
        .attr("id", id.to_owned())
        .child(encrypt)
        .child(Node::new("rmr").attr("jid", BOB_JID).attr("from_me", "false"));
    wire.send(&receipt).await;
    let answer = wire
        .expect(|node| node.tag == "notification" && node.is("type", "mediaretry"))
        .await;
    assert!(answer.is("id", id));
    let ack = Node::new("ack")
        .attr("class", "notification")
        .attr("id", id.to_owned())
        .attr("to", ADA_JID)
        .attr("type", "mediaretry");
    wire.send(&ack).await;
    assert_eq!(answer.find("rmr").unwrap().get("jid"), Some(BOB_JID));
    answer
}

#[tokio::test]
async fn an_expired_file_is_uploaded_again_on_request() {
    let stage = Stage::new().await;
    let (mut ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let id = bob_sends(&stage, json!({"kind": "document", "size": 4_000})).await;
    let node = wire.expect(is_content).await;
    let (path, key) = fields(&ada.read(&node));
    phone_knows(&stage, ADA, &id).await;
    let (status, body) = stage.post("/media/expire", json!({"whatsapp_id": id})).await;
    assert_eq!((status, &body["expired"]), (200, &json!(1)));
    assert_eq!(host.get(&path).await.status(), 410);

    let answer = asks_again(&mut wire, &id, &key, &id).await;
    let sealed = answer.find("encrypt").unwrap();
    let sealed = Sealed {
        iv: sealed.find("enc_iv").unwrap().data_array().unwrap(),
        ciphertext: sealed.find("enc_p").unwrap().data().unwrap().to_vec(),
    };
    let answer: MediaRetryNotification = retry::open(&key, &id, &sealed).unwrap();
    assert_eq!(
        (answer.stanza_id, answer.result),
        (Some(id.clone()), Some(MediaRetryResult::Success.into()))
    );
    let again = answer.direct_path.unwrap();
    assert_ne!(again, path);
    let blob = host.get(&again).await.bytes().await.unwrap();
    assert_eq!(open(MediaKind::Document, &key, &blob).unwrap().len(), 4_000);

    for (id, key, sealed_for, code) in [
        ("nothing", &key, "nothing", "2"),
        (id.as_str(), &[9; 32], id.as_str(), "3"),
        (id.as_str(), &key, "other", "3"),
    ] {
        let answer = asks_again(&mut wire, id, key, sealed_for).await;
        assert_eq!(answer.find("error").unwrap().get("code"), Some(code), "{id}");
    }
}

#[tokio::test]
async fn bad_media_of_a_phone_get_a_problem_with_a_pointer() {
    let stage = Stage::new().await;
    scene(&stage).await;
    for (media, pointer) in [
        (json!({"kind": "image"}), "/media"),
        (json!({"kind": "image", "size": 1, "data": ""}), "/media"),
        (json!({"kind": "image", "size": 0}), "/media/size"),
        (json!({"kind": "image", "size": 1_u64 << 40}), "/media/size"),
        (json!({"kind": "image", "data": ""}), "/media/data"),
        (json!({"kind": "image", "data": "%"}), "/media/data"),
        (
            json!({"kind": "image", "size": 1, "thumbnail": "%"}),
            "/media/thumbnail",
        ),
        (json!({"kind": "film", "size": 1}), "/media/kind"),
    ] {
        let body = json!({"to": ADA, "media": media});
        let (status, problem) = stage.post(&format!("/accounts/{BOB}/messages"), body).await;
        let got = (
            status,
            problem["code"].as_str(),
            problem["errors"][0]["pointer"].as_str(),
        );
        assert_eq!(
            got,
            (422, Some("invalid_field"), Some(pointer)),
            "{media}: {problem}"
        );
    }
    let both = json!({"to": ADA, "text": "a", "media": {"kind": "image", "size": 1}});
    let (status, _) = stage.post(&format!("/accounts/{BOB}/messages"), both).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_medium_in_a_group_is_decrypted_by_companions_and_phones() {
    let stage = Stage::new().await;
    for number in [ADA, BOB] {
        stage.account(number, false).await;
    }
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let body = json!({"to": group, "media": {"kind": "voice", "size": 2_000}});
    let (status, sent) = stage.post(&format!("/accounts/{BOB}/messages"), body).await;
    assert_eq!(status, 201, "{sent}");
    let id = sent["whatsapp_id"].as_str().unwrap();
    let node = ada.delivered().await;
    let shared = node.find_all("enc").find(|enc| enc.is("type", "skmsg")).unwrap();
    assert_eq!(shared.get("mediatype"), Some("ptt"));
    let (path, key) = fields(&ada.read(&node).unwrap());
    let host = Host::of(&stage, &mut ada.wire).await;
    let blob = host.get(&path).await.bytes().await.unwrap();
    assert_eq!(open(MediaKind::Audio, &key, &blob).unwrap().len(), 2_000);
    phone_knows(&stage, ADA, id).await;
    let (status, bytes) = stage
        .get_bytes(&format!("/accounts/{ADA}/messages/{id}/media"))
        .await;
    assert_eq!((status, bytes.len()), (200, 2_000));
}
