//! A small WhatsApp Web client: what a companion does on the wire, with a Signal endpoint of its own.

use std::collections::VecDeque;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use prost::Message as _;
use roost_sandbox::signal::padding::{pad, unpad};
use roost_sandbox::signal::proto::{AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac, Message};
use roost_sandbox::signal::syncd::Keyring;
use roost_sandbox::signal::{Address, CiphertextKind, KeyPair, Phone, SignedPrekey};
use roost_sandbox::wire::frame::{FrameReader, Input, client_header, write_frame};
use roost_sandbox::wire::jid::Jid;
use roost_sandbox::wire::node::{Limits, Node, decode, encode_to_vec};
use roost_sandbox::wire::noise::{Hello, Initiator, NoiseError, Transport};
use roost_sandbox::wire::proto::{ClientPayload, DevicePairingData, DeviceProps};
use serde_json::json;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub use crate::bundle::fetch;
use crate::bundle::key_node;
use crate::stage::{DEADLINE, Stage};

pub type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection after its handshake.
pub struct Wire {
    socket: WebSocket,
    reader: FrameReader,
    transport: Transport,
    /// Stanzas that were read while waiting for others.
    backlog: VecDeque<Node>,
    next_id: u32,
}

impl Wire {
    pub async fn open(stage: &Stage, key: &KeyPair, payload: &ClientPayload, hello: Hello) -> Self {
        let wire = Self::try_open(stage, key, payload, hello).await;
        wire.expect("the server greets")
    }

    /// `None` when the server is gone before the handshake is complete.
    pub async fn try_open(
        stage: &Stage,
        key: &KeyPair,
        payload: &ClientPayload,
        hello: Hello,
    ) -> Option<Self> {
        let (mut socket, _) = tokio_tungstenite::connect_async(stage.websocket_url())
            .await
            .ok()?;
        let header = client_header(3);
        let initiator = Initiator::new(&header, hello);
        let mut out = BytesMut::from(&header[..]);
        write_frame(&mut out, initiator.hello()).unwrap();
        socket.send(out.freeze().into()).await.ok()?;

        let mut reader = FrameReader::client(1 << 20);
        let answer = next_frame(&mut socket, &mut reader).await?;
        let greeted = initiator.read(&answer).unwrap();
        stage.check_server(&greeted.chain, &greeted.server_key);
        let (finish, transport) = greeted.finish(key, &payload.encode_to_vec()).unwrap();
        let mut out = BytesMut::new();
        write_frame(&mut out, &finish).unwrap();
        socket.send(out.freeze().into()).await.ok()?;
        Some(Self {
            socket,
            reader,
            transport,
            backlog: VecDeque::new(),
            next_id: 0,
        })
    }

    pub async fn send(&mut self, node: &Node) {
        let plain = encode_to_vec(node).unwrap();
        self.send_plain(&plain).await;
    }

    /// `None` when the server is gone.
    pub async fn try_send(&mut self, node: &Node) -> Option<()> {
        let plain = encode_to_vec(node).unwrap();
        let mut out = BytesMut::new();
        self.transport.sender.seal_frame(&plain, &mut out).unwrap();
        self.socket.send(out.freeze().into()).await.ok()
    }

    /// The next stanza, or `None` when the server is gone.
    pub async fn next(&mut self) -> Option<Node> {
        match self.backlog.pop_front() {
            Some(node) => Some(node),
            None => self.read().await,
        }
    }

    /// The next WebSocket message, whatever it is.
    pub async fn next_message(&mut self) -> Option<tungstenite::Message> {
        self.socket.next().await.and_then(Result::ok)
    }

    /// Sends the same encrypted frame twice.
    pub async fn send_replayed(&mut self, node: &Node) {
        let plain = encode_to_vec(node).unwrap();
        let mut out = BytesMut::new();
        self.transport.sender.seal_frame(&plain, &mut out).unwrap();
        let frame = out.freeze();
        self.send_raw(frame.clone().into()).await;
        self.send_raw(frame.into()).await;
    }

    /// Sends the bytes of a stanza, well-formed or not.
    pub async fn send_plain(&mut self, plain: &[u8]) {
        let mut out = BytesMut::new();
        self.transport.sender.seal_frame(plain, &mut out).unwrap();
        self.send_raw(out.freeze().into()).await;
    }

    pub async fn send_raw(&mut self, message: tungstenite::Message) {
        self.socket.send(message).await.unwrap();
    }

    async fn read(&mut self) -> Option<Node> {
        self.try_read().await.map(Result::unwrap)
    }

    /// The next stanza; an error when its frame does not decrypt.
    pub async fn try_read(&mut self) -> Option<Result<Node, NoiseError>> {
        let frame = next_frame(&mut self.socket, &mut self.reader).await?;
        let plain = self.transport.open(frame);
        Some(plain.map(|plain| decode(plain.freeze(), Limits::default()).unwrap()))
    }

    /// The next stanza that `matches`; the others are kept for later.
    pub async fn expect(&mut self, matches: impl Fn(&Node) -> bool) -> Node {
        if let Some(at) = self.backlog.iter().position(&matches) {
            return self.backlog.remove(at).unwrap();
        }
        let waiting = async {
            loop {
                let node = self.read().await.expect("the connection stays open");
                if matches(&node) {
                    return node;
                }
                self.backlog.push_back(node);
            }
        };
        tokio::time::timeout(DEADLINE, waiting)
            .await
            .expect("the stanza comes before the deadline")
    }

    /// Keeps what comes for later, until nothing has come for this long.
    pub async fn settle(&mut self, quiet: std::time::Duration) {
        while let Ok(Some(node)) = tokio::time::timeout(quiet, self.read()).await {
            self.backlog.push_back(node);
        }
    }

    pub async fn expect_tag(&mut self, tag: &str) -> Node {
        self.expect(|node| node.tag == tag).await
    }

    pub async fn expect_ack(&mut self, id: &str) -> Node {
        self.expect(|node| node.tag == "ack" && node.is("id", id)).await
    }

    /// Reads until the server closes, and returns what came before.
    pub async fn until_closed(&mut self) -> Vec<Node> {
        let mut nodes: Vec<_> = self.backlog.drain(..).collect();
        let waiting = async {
            while let Some(node) = self.read().await {
                nodes.push(node);
            }
        };
        tokio::time::timeout(DEADLINE, waiting)
            .await
            .expect("the server closes before the deadline");
        nodes
    }

    /// Asks and returns the answer.
    pub async fn query(&mut self, kind: &'static str, namespace: &'static str, child: Node) -> Node {
        self.query_all(kind, namespace, vec![child]).await
    }

    pub async fn query_all(
        &mut self,
        kind: &'static str,
        namespace: &'static str,
        children: Vec<Node>,
    ) -> Node {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        let query = Node::new("iq")
            .attr("id", id.clone())
            .attr("to", "s.whatsapp.net")
            .attr("type", kind)
            .attr("xmlns", namespace)
            .with_children(children);
        self.send(&query).await;
        self.expect(|node| node.tag == "iq" && node.is("id", &id)).await
    }
}

pub async fn websocket(stage: &Stage) -> WebSocket {
    tokio_tungstenite::connect_async(stage.websocket_url())
        .await
        .unwrap()
        .0
}

/// The next frame, or `None` when the server closes.
pub async fn next_frame(socket: &mut WebSocket, reader: &mut FrameReader) -> Option<BytesMut> {
    loop {
        match reader.next_input().unwrap() {
            Some(Input::Frame(frame)) => return Some(frame),
            Some(Input::Header(_)) => panic!("a server sends no header"),
            None => {}
        }
        match socket.next().await {
            Some(Ok(tungstenite::Message::Binary(bytes))) => reader.push(&bytes),
            Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

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
