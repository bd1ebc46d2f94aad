//! A light companion: what a WhatsApp Web client does on the wire, without an application.
//!
//! It pairs, logs in, uploads keys and settles what it is sent like a real one. It has Signal
//! sessions with phones, because phones decrypt what they get; for other companions it sends bytes
//! as long as a ciphertext, because the server never looks inside.

mod link;
mod wire;

use bytes::Bytes;
use prost::Message as _;
use roost_sandbox::signal::padding::{pad, unpad};
use roost_sandbox::signal::proto::Message;
use roost_sandbox::signal::{Address, CiphertextKind, KeyPair, Phone, SignedPrekey};
use roost_sandbox::wire::jid::{Domain, Jid};
use roost_sandbox::wire::node::Node;

pub use wire::{Wire, WireError};

type Result<T, E = WireError> = std::result::Result<T, E>;

/// The companion of one account, linked and logged in.
pub struct Companion {
    noise: KeyPair,
    signal: Phone,
    signed_prekey: SignedPrekey,
    adv_secret: [u8; 32],
    /// Its own address.
    pub jid: Jid,
    next_query: u32,
}

impl Companion {
    /// New keys; it is not linked yet.
    pub fn generate() -> Self {
        let mut signal = Phone::generate();
        Self {
            noise: KeyPair::generate(),
            signed_prekey: signal.fresh_bundle().signed_prekey,
            signal,
            adv_secret: rand::random(),
            jid: Jid::new("", 0, Domain::Pn),
            next_query: 0,
        }
    }

    /// Decrypts a message from a phone, which makes the session with it one that was answered.
    pub fn read(&mut self, message: &Node) -> Result<()> {
        let unexpected = |what: &str| WireError::Unexpected(format!("{what}: {message:?}"));
        let from = message.get("from").and_then(Jid::parse);
        let enc = message.find("enc");
        let kind = enc.and_then(|enc| CiphertextKind::from_name(enc.get("type")?));
        let ((Some(from), Some(kind)), Some(bytes)) = ((from, kind), enc.and_then(Node::data)) else {
            return Err(unexpected("a message without content"));
        };
        let plain = self
            .signal
            .decrypt(&Address::new(from.user, from.device), kind, bytes);
        let plain = plain.map_err(|error| unexpected(&error.to_string()))?;
        unpad(&plain).map_err(|error| unexpected(&error.to_string()))?;
        Ok(())
    }

    /// A text to an account with a phone and one companion, with a copy for the own phone.
    pub fn text(&mut self, id: String, peer: &Jid, text: &str) -> Result<Node> {
        let to = peer.user_jid();
        let message = Message::of_text(text);
        let own = message.clone().device_sent(to.to_string());
        let for_peer = self.seal(&to, &message)?;
        let for_own = self.seal(&self.jid.user_jid(), &own)?;
        let opaque = Bytes::from(vec![0x33; for_peer.data().map_or(0, <[u8]>::len)]);
        let opaque = Node::new("enc").attr("v", "2").attr("type", "msg").bytes(opaque);
        let copy = |jid: &Jid, enc: Node| Node::new("to").attr("jid", jid.to_string()).child(enc);
        let copies = vec![
            copy(&to, for_peer),
            copy(peer, opaque),
            copy(&self.jid.user_jid(), for_own),
        ];
        Ok(Node::new("message")
            .attr("to", to.to_string())
            .attr("id", id)
            .attr("type", "text")
            .child(Node::new("participants").with_children(copies)))
    }

    fn seal(&mut self, phone: &Jid, message: &Message) -> Result<Node> {
        let address = Address::new(phone.user.clone(), phone.device);
        let sealed = self.signal.encrypt(&address, &pad(message.encode_to_vec()));
        let sealed = sealed.map_err(|error| WireError::Unexpected(format!("{phone}: {error}")))?;
        Ok(Node::new("enc")
            .attr("v", "2")
            .attr("type", sealed.kind.as_str())
            .bytes(sealed.bytes))
    }

    /// The receipt that settles a message.
    pub fn receipt(message: &Node, kind: Option<&'static str>) -> Node {
        Node::new("receipt")
            .attrs_from(message, &["id"])
            .attr("to", message.get("from").unwrap_or_default().to_owned())
            .attr_opt("type", kind)
    }

    /// The acknowledgement that settles a receipt or a notification.
    pub fn acknowledgement(node: &Node) -> Node {
        Node::new("ack")
            .attr("class", node.tag.clone())
            .attrs_from(node, &["id", "type"])
            .attr("to", node.get("from").unwrap_or_default().to_owned())
    }

    /// A query that only keeps the connection alive.
    pub fn ping(&mut self) -> Node {
        self.query("get", "w:p", vec![Node::new("ping")]).0
    }

    fn query(&mut self, kind: &'static str, namespace: &'static str, children: Vec<Node>) -> (Node, String) {
        self.next_query += 1;
        let id = format!("q{}", self.next_query);
        let query = Node::new("iq")
            .attr("id", id.clone())
            .attr("to", "s.whatsapp.net")
            .attr("type", kind)
            .attr("xmlns", namespace)
            .with_children(children);
        (query, id)
    }
}
