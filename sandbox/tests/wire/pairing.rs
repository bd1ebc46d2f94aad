//! Linking, logging in and leaving.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use roost_sandbox::signal::KeyPair;
use roost_sandbox::wire::node::Node;
use roost_sandbox::wire::noise::Hello;
use serde_json::json;
use sha2::Sha256;

use crate::client::{Companion, Wire};
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";

#[tokio::test]
async fn a_scanned_client_is_linked_and_logs_in() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut first = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    assert_eq!((first.jid.device, second.jid.device), (1, 2));
    let _wire = first.open(&stage).await;
    let _other = second.open(&stage).await;
    let (_, account) = stage.get(&format!("/accounts/{ADA}")).await;
    assert_eq!(account["devices"][0]["connected"], true);
    assert_eq!(account["devices"][1]["connected"], true);
}

#[tokio::test]
async fn a_code_that_nobody_shows_is_not_found() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let stranger = Companion::new();
    let (status, body) = stage
        .post(
            &format!("/accounts/{ADA}/scan"),
            json!({"code": stranger.qr("2@nobody")}),
        )
        .await;
    assert_eq!((status, body["code"].as_str()), (404, Some("unknown_code")));
    assert_eq!(body["errors"][0]["pointer"], "/code");
}

#[tokio::test]
async fn a_code_with_other_keys_than_its_connection_is_refused() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let shown = Companion::new();
    let mut wire = shown.register(&stage).await;
    let reference = shown.references(&mut wire).await.remove(0);
    let forged = Companion::new().qr(&reference);
    let (status, body) = stage
        .post(&format!("/accounts/{ADA}/scan"), json!({"code": forged}))
        .await;
    assert_eq!((status, body["code"].as_str()), (422, Some("key_mismatch")));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_scanned_is_not_linked() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    let code = companion.qr(&companion.references(&mut wire).await[0]);
    let path = format!("/accounts/{ADA}/scan");
    let leave = async {
        wire.expect(|node| node.find("pair-success").is_some()).await;
        drop(wire);
    };
    let ((status, body), ()) = tokio::join!(stage.post(&path, json!({ "code": code })), leave);
    assert_eq!((status, body["code"].as_str()), (409, Some("pairing_failed")));
    // Its number was given back: the next companion is the first one.
    assert_eq!(Companion::paired(&stage, ADA).await.jid.device, 2);
    assert_eq!(stage.stat("devices").await, 1);
}

#[tokio::test]
async fn a_wrong_signature_is_rejected() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    let code = companion.qr(&companion.references(&mut wire).await[0]);
    let path = format!("/accounts/{ADA}/scan");
    let answer = async {
        let query = wire.expect(|node| node.find("pair-success").is_some()).await;
        let id = query.get("id").unwrap().to_owned();
        let signed = Node::new("pair-device-sign").child(Node::new("device-identity").bytes(vec![1, 2, 3]));
        wire.send(
            &Node::new("iq")
                .attr("type", "result")
                .attr("id", id.clone())
                .child(signed),
        )
        .await;
        wire.expect(|node| node.is("type", "error") && node.is("id", &id))
            .await
    };
    let ((status, _), error) = tokio::join!(stage.post(&path, json!({ "code": code })), answer);
    assert_eq!(status, 409);
    assert!(error.find("error").unwrap().is("code", "401"));
}

/// The companion's half of linking by code.
struct CodeLink {
    code: &'static str,
    ephemeral: KeyPair,
}

impl CodeLink {
    fn wrap(&self, salt: [u8; 32], iv: [u8; 16], mut key: [u8; 32]) -> Vec<u8> {
        let stretched = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(self.code.as_bytes(), &salt, 131_072);
        ctr::Ctr128BE::<Aes256>::new(&stretched.into(), &iv.into()).apply_keystream(&mut key);
        [&salt[..], &iv, &key].concat()
    }

    async fn hello(&self, wire: &mut Wire, companion: &Companion, number: &str) -> Node {
        let wrapped = self.wrap([1; 32], [2; 16], *self.ephemeral.public());
        let request = Node::new("link_code_companion_reg")
            .attr("jid", format!("{number}@s.whatsapp.net"))
            .attr("stage", "companion_hello")
            .child(Node::new("link_code_pairing_wrapped_companion_ephemeral_pub").bytes(wrapped))
            .child(Node::new("companion_server_auth_key_pub").bytes(companion.noise.public().to_vec()));
        wire.query("set", "md", request).await
    }

    /// Answers the phone's hello with the key bundle. Returns the secret both sides now share.
    async fn finish(&self, wire: &mut Wire, companion: &Companion) -> [u8; 32] {
        let hello = wire
            .expect(|node| node.is("type", "link_code_companion_reg"))
            .await;
        let hello = hello.find("link_code_companion_reg").unwrap();
        let part = |tag: &str| hello.find(tag).unwrap().data().unwrap().to_vec();
        let wrapped = part("link_code_pairing_wrapped_primary_ephemeral_pub");
        let (salt, rest) = wrapped.split_first_chunk::<32>().unwrap();
        let (iv, key) = rest.split_first_chunk::<16>().unwrap();
        let unwrapped = self.wrap(*salt, *iv, key.try_into().unwrap());
        let primary: [u8; 32] = unwrapped[48..].try_into().unwrap();
        let primary_identity: [u8; 32] = part("primary_identity_pub").try_into().unwrap();

        let shared = self.ephemeral.agree(&primary);
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&[3; 32]), &shared)
            .expand(b"link_code_pairing_key_bundle_encryption_key", &mut key)
            .unwrap();
        let identity = companion.signal.identity();
        let plain = [&identity.public()[..], &primary_identity, &[5; 32]].concat();
        let sealed = Aes256Gcm::new(&key.into())
            .encrypt(&Nonce::from([4; 12]), plain.as_slice())
            .unwrap();
        let request = Node::new("link_code_companion_reg")
            .attr("stage", "companion_finish")
            .child(
                Node::new("link_code_pairing_wrapped_key_bundle")
                    .bytes([&[3; 32][..], &[4; 12], &sealed].concat()),
            )
            .child(Node::new("companion_identity_public").bytes(identity.public().to_vec()))
            .child(Node::new("link_code_pairing_ref").bytes(part("link_code_pairing_ref")));
        wire.query("set", "md", request).await;
        let mut secret = [0; 32];
        let input = [shared, identity.agree(&primary_identity), [5; 32]].concat();
        Hkdf::<Sha256>::new(None, &input)
            .expand(b"adv_secret", &mut secret)
            .unwrap();
        secret
    }
}

#[tokio::test]
async fn a_client_is_linked_by_code() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    let link = CodeLink {
        code: "ABCD1234",
        ephemeral: KeyPair::generate(),
    };
    let answer = link.hello(&mut wire, &companion, ADA).await;
    assert!(
        answer
            .find("link_code_companion_reg")
            .unwrap()
            .find("link_code_pairing_ref")
            .is_some()
    );
    let path = format!("/accounts/{ADA}/link-code");
    let follow = async {
        companion.adv_secret = link.finish(&mut wire, &companion).await;
        companion.confirm(&mut wire).await;
    };
    let ((status, body), ()) = tokio::join!(stage.post(&path, json!({"code": "abcd-1234"})), follow);
    assert_eq!((status, body), (200, json!({"device": 1})));
    companion.open(&stage).await;
}

#[tokio::test]
async fn a_wrong_link_code_is_noticed() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    let link = CodeLink {
        code: "ABCD1234",
        ephemeral: KeyPair::generate(),
    };
    link.hello(&mut wire, &companion, ADA).await;
    let path = format!("/accounts/{ADA}/link-code");
    let (answer, _) = tokio::join!(
        stage.post(&path, json!({"code": "WRNG1234"})),
        link.finish(&mut wire, &companion)
    );
    assert_eq!((answer.0, answer.1["code"].as_str()), (422, Some("wrong_code")));
}

#[tokio::test]
async fn a_link_code_without_a_request_is_a_conflict() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let (status, body) = stage
        .post(&format!("/accounts/{ADA}/link-code"), json!({"code": "ABCD1234"}))
        .await;
    assert_eq!((status, body["code"].as_str()), (409, Some("no_code_requested")));
    let companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    let link = CodeLink {
        code: "ABCD1234",
        ephemeral: KeyPair::generate(),
    };
    let answer = link.hello(&mut wire, &companion, "15559999999").await;
    assert!(
        answer.is("type", "error"),
        "a number without an account cannot be linked"
    );
}

#[tokio::test]
async fn an_unknown_device_or_key_is_refused_with_401() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let companion = Companion::paired(&stage, ADA).await;
    let mut payloads = vec![companion.login_payload(false); 3];
    payloads[0].device = Some(7);
    payloads[1].username = Some(15_559_999_999);
    let stranger = KeyPair::generate();
    for (payload, key) in payloads
        .iter()
        .zip([&companion.noise, &companion.noise, &stranger])
    {
        let mut wire = Wire::open(&stage, key, payload, Hello::Xx).await;
        let last = wire.until_closed().await;
        assert!(
            last.iter()
                .any(|node| node.tag == "failure" && node.is("reason", "401")),
            "{last:?}"
        );
    }
    assert_eq!(stage.stat("logins_refused").await, 3);
}

#[tokio::test]
async fn a_second_login_replaces_the_first() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut companion = Companion::paired(&stage, ADA).await;
    let mut first = companion.open(&stage).await;
    let mut second = companion.connect(&stage).await;
    let last = first.until_closed().await;
    let error = last.iter().find(|node| node.tag == "stream:error").unwrap();
    assert!(error.find("conflict").unwrap().is("type", "replaced"));
    second.query("get", "w:p", Node::new("ping")).await;
    assert_eq!(stage.stat("connected").await, 1);
}

#[tokio::test]
async fn a_client_that_logs_out_is_unlinked() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut companion = Companion::paired(&stage, ADA).await;
    let mut wire = companion.open(&stage).await;
    let leave = Node::new("remove-companion-device")
        .attr("jid", companion.jid.to_string())
        .attr("reason", "user_initiated");
    assert!(wire.query("set", "md", leave).await.is("type", "result"));
    let last = wire.until_closed().await;
    let error = last.iter().find(|node| node.tag == "stream:error").unwrap();
    assert!(error.is("code", "401") && error.find("conflict").unwrap().is("type", "device_removed"));
    let last = companion.connect(&stage).await.until_closed().await;
    assert!(last.iter().any(|node| node.tag == "failure"));
    assert_eq!(stage.stat("devices").await, 0);
}

#[tokio::test]
async fn dropped_companions_stay_linked() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut companion = Companion::paired(&stage, ADA).await;
    let mut wire = companion.open(&stage).await;
    let (status, body) = stage
        .post_text(&format!("/accounts/{ADA}/disconnect-devices"), String::new())
        .await;
    assert_eq!((status, body), (200, json!({"disconnected": 1})));
    wire.until_closed().await;
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;
    companion.connect(&stage).await.expect_tag("success").await;
}
