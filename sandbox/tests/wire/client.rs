//! A companion: what a WhatsApp Web client does, with a Signal endpoint of its own.

use hmac::{Hmac, KeyInit, Mac};
use prost::Message as _;
use roost_sandbox::signal::padding::{pad, unpad};
use roost_sandbox::signal::proto::{AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac, Message};
use roost_sandbox::signal::syncd::Keyring;
use roost_sandbox::signal::{Address, CiphertextKind, KeyPair, Phone, SignedPrekey};
use roost_sandbox::wire::jid::Jid;
use roost_sandbox::wire::node::Node;
use roost_sandbox::wire::noise::Hello;
use roost_sandbox::wire::proto::{ClientPayload, DevicePairingData, DeviceProps};
use serde_json::json;
use sha2::Sha256;

pub use crate::bundle::fetch;
use crate::bundle::key_node;
pub use crate::connection::{WebSocket, Wire, websocket};
use crate::stage::Stage;

/// A companion: its keys, and who it is once it is paired.
pub struct Companion {
    pub noise: KeyPair,
    pub signal: Phone,
    signed_prekey: SignedPrekey,
    pub adv_secret: [u8; 32],
    pub jid: Jid,
    /// The app-state keys the phone shared.
    pub keyring: Keyring,
    pub proof: Vec<u8>,
}

impl Companion {
    pub fn new() -> Self {
        let mut signal = Phone::generate();
        Self {
            noise: KeyPair::generate(),
            signed_prekey: signal.fresh_bundle().signed_prekey,
            signal,
            adv_secret: rand::random(),
            jid: Jid::parse("0@s.whatsapp.net").unwrap(),
            keyring: Keyring::default(),
            proof: Vec::new(),
        }
    }

    /// A companion linked to the account of `number`.
    pub async fn paired(stage: &Stage, number: &str) -> Self {
        let mut companion = Self::new();
        let mut wire = companion.register(stage).await;
        let code = companion.qr(&companion.references(&mut wire).await[0]);
        let path = format!("/accounts/{number}/scan");
        let scan = stage.post(&path, json!({ "code": code }));
        let ((status, body), ()) = tokio::join!(scan, companion.confirm(&mut wire));
        assert_eq!((status, &body), (200, &json!({"device": companion.jid.device})));
        companion
    }

    pub async fn register(&self, stage: &Stage) -> Wire {
        let payload = ClientPayload {
            device_pairing_data: Some(self.pairing_data()),
            ..Default::default()
        };
        Wire::open(stage, &self.noise, &payload, Hello::Xx).await
    }

    pub fn pairing_data(&self) -> DevicePairingData {
        let signed = &self.signed_prekey;
        let props = DeviceProps {
            os: Some("Test OS".to_owned()),
            platform_type: Some(1),
        };
        DevicePairingData {
            e_regid: Some(self.signal.registration_id().to_be_bytes().to_vec()),
            e_keytype: Some(vec![5]),
            e_ident: Some(self.signal.identity().public().to_vec()),
            e_skey_id: Some(signed.id.to_be_bytes()[1..].to_vec()),
            e_skey_val: Some(signed.public.to_vec()),
            e_skey_sig: Some(signed.signature.to_vec()),
            device_props: Some(props.encode_to_vec()),
            ..Default::default()
        }
    }

    /// The references the server offers for scanning.
    pub async fn references(&self, wire: &mut Wire) -> Vec<String> {
        let query = wire.expect(|node| node.find("pair-device").is_some()).await;
        wire.send(
            &Node::new("iq")
                .attr("type", "result")
                .attr("id", query.get("id").unwrap().to_owned()),
        )
        .await;
        let shown = query.find("pair-device").unwrap();
        shown
            .children()
            .iter()
            .map(|node| String::from_utf8(node.data().unwrap().to_vec()).unwrap())
            .collect()
    }

    pub fn qr(&self, reference: &str) -> String {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let identity = self.signal.identity().public();
        format!(
            "{reference},{},{},{},9",
            encode(self.noise.public()),
            encode(identity),
            encode(&self.adv_secret)
        )
    }

    /// Answers pair-success, and reads on to the end of the connection.
    pub async fn confirm(&mut self, wire: &mut Wire) {
        let query = wire.expect(|node| node.find("pair-success").is_some()).await;
        let success = query.find("pair-success").unwrap();
        self.jid = Jid::parse(success.find("device").unwrap().get("jid").unwrap()).unwrap();
        let sealed = success.find("device-identity").unwrap().data().unwrap();
        let sealed = AdvSignedDeviceIdentityHmac::decode(sealed).unwrap();
        let details = sealed.details.unwrap();
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.adv_secret).unwrap();
        mac.update(&details);
        assert_eq!(
            mac.finalize().into_bytes().to_vec(),
            sealed.hmac.unwrap(),
            "the phone knows the secret"
        );

        let mut identity = AdvSignedDeviceIdentity::decode(details.as_slice()).unwrap();
        let own = self.signal.identity();
        let inner = identity.details.clone().unwrap();
        let signed = [
            &[6, 1][..],
            &inner,
            own.public(),
            identity.account_signature_key.as_ref().unwrap(),
        ]
        .concat();
        identity.device_signature = Some(own.sign(&signed).to_vec());
        self.proof = identity.encode_to_vec();
        let answer = Node::new("iq")
            .attr("type", "result")
            .attr("id", query.get("id").unwrap().to_owned())
            .child(
                Node::new("pair-device-sign").child(
                    Node::new("device-identity")
                        .attr("key-index", self.jid.device.to_string())
                        .bytes(self.proof.clone()),
                ),
            );
        wire.send(&answer).await;
        let last = wire.until_closed().await;
        assert!(
            last.iter()
                .any(|node| node.tag == "stream:error" && node.is("code", "515")),
            "{last:?}"
        );
    }

    pub fn login_payload(&self, passive: bool) -> ClientPayload {
        ClientPayload {
            username: self.jid.user.parse().ok(),
            device: Some(self.jid.device.into()),
            passive: Some(passive),
            ..Default::default()
        }
    }

    /// As [`Self::connect`], or `None` when the server is gone.
    pub async fn try_connect(&self, stage: &Stage) -> Option<Wire> {
        Wire::try_open(stage, &self.noise, &self.login_payload(false), Hello::Xx).await
    }

    /// Logs in without saying anything yet.
    pub async fn connect(&self, stage: &Stage) -> Wire {
        Wire::open(stage, &self.noise, &self.login_payload(false), Hello::RefusedIk).await
    }

    /// Logs in, uploads keys, and reads what the phone sends a new companion.
    pub async fn open(&mut self, stage: &Stage) -> Wire {
        let mut wire = self.connect(stage).await;
        let success = wire.expect_tag("success").await;
        assert!(success.get("lid").unwrap().ends_with("@lid"));
        wire.expect(|node| node.find("offline").is_some()).await;
        self.upload(&mut wire, 20).await;
        wire.query("set", "passive", Node::new("active")).await;
        for _ in 0..2 {
            let message = wire
                .expect(|node| node.tag == "message" && node.is("category", "peer"))
                .await;
            let content = self.read(&message);
            assert!(content.protocol_message.is_some());
            self.learn_keys(&content);
            self.receipt(&mut wire, &message, Some("peer_msg")).await;
        }
        wire
    }

    pub async fn upload(&mut self, wire: &mut Wire, count: usize) {
        let keys = (0..count).map(|_| self.signal.fresh_bundle().prekey.unwrap());
        let keys = keys
            .map(|key| key_node("key", key.id, &key.public, None))
            .collect();
        let signed = self.signed_prekey.clone();
        let children = vec![
            Node::new("registration").bytes(self.signal.registration_id().to_be_bytes().to_vec()),
            Node::new("type").bytes(vec![5]),
            Node::new("identity").bytes(self.signal.identity().public().to_vec()),
            Node::new("list").with_children(keys),
            key_node("skey", signed.id, &signed.public, Some(&signed.signature)),
        ];
        let answer = wire.query_all("set", "encrypt", children).await;
        assert!(answer.is("type", "result"), "{answer:?}");
    }

    /// Takes the app-state keys out of a message of the phone. Returns how many there were.
    pub fn learn_keys(&mut self, content: &Message) -> usize {
        let protocol = content.protocol_message.as_ref();
        let shared = protocol.and_then(|protocol| protocol.app_state_sync_key_share.as_ref());
        let keys = shared.map(|shared| shared.keys.as_slice()).unwrap_or_default();
        for key in keys {
            let id = key.key_id.as_ref().unwrap().key_id.as_deref().unwrap();
            let data = key.key_data.as_ref().unwrap().key_data.as_deref().unwrap();
            self.keyring.add(id, data.try_into().unwrap());
        }
        keys.len()
    }

    /// Decrypts a delivered message.
    pub fn read(&mut self, message: &Node) -> Message {
        self.try_read(message).unwrap()
    }

    pub fn try_read(&mut self, message: &Node) -> Option<Message> {
        let enc = message.find("enc").unwrap();
        let kind = CiphertextKind::from_name(enc.get("type").unwrap()).unwrap();
        let address = address(message.get("from").unwrap());
        let plain = self.signal.decrypt(&address, kind, enc.data().unwrap()).ok()?;
        Some(Message::decode(unpad(&plain).unwrap()).unwrap())
    }

    pub async fn receipt(&self, wire: &mut Wire, message: &Node, kind: Option<&'static str>) {
        let receipt = Node::new("receipt")
            .attr("id", message.get("id").unwrap().to_owned())
            .attr("to", message.get("from").unwrap().to_owned())
            .attr_opt("type", kind);
        wire.send(&receipt).await;
        wire.expect(|node| {
            node.tag == "ack" && node.is("class", "receipt") && node.get("id") == message.get("id")
        })
        .await;
    }

    /// Encrypts for one device, fetching its keys if there is no session with it.
    pub async fn seal(&mut self, wire: &mut Wire, device: &str, message: &Message) -> Node {
        let address = address(device);
        if !self.signal.has_session(&address) {
            let bundle = fetch(wire, device).await.expect("the device has keys");
            self.signal.start_session(&address, &bundle).unwrap();
        }
        let sealed = self
            .signal
            .encrypt(&address, &pad(message.encode_to_vec()))
            .unwrap();
        Node::new("enc")
            .attr("v", "2")
            .attr("type", sealed.kind.as_str())
            .bytes(sealed.bytes)
    }

    /// Encrypts a text for each device, fetching keys of those it has no session with.
    pub async fn message(
        &mut self,
        wire: &mut Wire,
        to: &str,
        devices: &[&str],
        id: &str,
        text: &str,
    ) -> Node {
        self.sealed(wire, to, devices, id, &Message::of_text(text)).await
    }

    /// As [`Self::message`], for any content.
    pub async fn sealed(
        &mut self,
        wire: &mut Wire,
        to: &str,
        devices: &[&str],
        id: &str,
        content: &Message,
    ) -> Node {
        let kind = if content.text().is_some() && content.image_message.is_none() {
            "text"
        } else {
            "media"
        };
        let mut copies = Vec::new();
        let mut needs_proof = false;
        for device in devices {
            let enc = self.seal(wire, device, content).await;
            needs_proof |= enc.is("type", "pkmsg");
            copies.push(Node::new("to").attr("jid", (*device).to_owned()).child(enc));
        }
        Node::new("message")
            .attr("to", to.to_owned())
            .attr("id", id.to_owned())
            .attr("type", kind)
            .child(Node::new("participants").with_children(copies))
            .child_opt(needs_proof.then(|| Node::new("device-identity").bytes(self.proof.clone())))
    }
}

/// Sessions are kept under the JID's user, whatever its server.
pub fn address(jid: &str) -> Address {
    let jid = Jid::parse(jid).unwrap();
    Address::new(jid.user, jid.device)
}
