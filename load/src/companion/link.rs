//! How a companion is linked to an account, and what it does at its first login.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use roost_sandbox::signal::proto::{AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac};
use roost_sandbox::wire::jid::Jid;
use roost_sandbox::wire::node::Node;
use roost_sandbox::wire::proto::{ClientPayload, DevicePairingData};

use super::{Companion, Result, Wire, WireError};

/// One-time keys a fresh client uploads: what Baileys 7 and whatsapp-rust do.
const PREKEYS: u32 = 812;
/// The phone takes the first ones for the messages it greets a companion with; the rest are numbers
/// like any others to the server, and nobody fetches them.
const REAL_PREKEYS: u32 = 4;
/// Messages a phone greets a new companion with.
const GREETINGS: usize = 2;

impl Companion {
    /// Begins to register; returns the connection and the text of the QR code.
    pub async fn register(&self, addr: SocketAddr) -> Result<(Wire, String)> {
        let payload = ClientPayload {
            device_pairing_data: Some(self.pairing_data()),
            ..Default::default()
        };
        let mut wire = Wire::open(addr, &self.noise, &payload).await?;
        let query = expect(&mut wire, |node| node.find("pair-device").is_some()).await?;
        wire.queue(&result(&query))?;
        wire.flush().await?;
        let reference = query
            .find("pair-device")
            .and_then(|shown| shown.children().first()?.data());
        let reference = reference.ok_or_else(|| WireError::Unexpected(format!("{query:?}")))?;
        let code = [
            String::from_utf8_lossy(reference).into_owned(),
            STANDARD.encode(self.noise.public()),
            STANDARD.encode(self.signal.identity().public()),
            STANDARD.encode(self.adv_secret),
            "9".to_owned(),
        ];
        Ok((wire, code.join(",")))
    }

    fn pairing_data(&self) -> DevicePairingData {
        let signed = &self.signed_prekey;
        DevicePairingData {
            e_regid: Some(self.signal.registration_id().to_be_bytes().to_vec()),
            e_keytype: Some(vec![5]),
            e_ident: Some(self.signal.identity().public().to_vec()),
            e_skey_id: Some(signed.id.to_be_bytes()[1..].to_vec()),
            e_skey_val: Some(signed.public.to_vec()),
            e_skey_sig: Some(signed.signature.to_vec()),
            ..Default::default()
        }
    }

    /// Answers the phone that scanned, to the end of the connection.
    pub async fn confirm(&mut self, wire: &mut Wire) -> Result<()> {
        let query = expect(wire, |node| node.find("pair-success").is_some()).await?;
        let (jid, details) = read_success(&query)
            .ok_or_else(|| WireError::Unexpected(format!("a pair-success that is malformed: {query:?}")))?;
        self.jid = jid;
        let mut identity = details;
        let own = self.signal.identity();
        let signed = [
            &[6, 1][..],
            identity.details.as_deref().unwrap_or_default(),
            own.public(),
            identity.account_signature_key.as_deref().unwrap_or_default(),
        ];
        identity.device_signature = Some(own.sign(&signed.concat()).to_vec());
        let proof = Node::new("device-identity")
            .attr("key-index", self.jid.device.to_string())
            .bytes(identity.encode_to_vec());
        wire.queue(&result(&query).child(Node::new("pair-device-sign").child(proof)))?;
        wire.flush().await?;
        expect(wire, |node| node.tag == "stream:error" && node.is("code", "515")).await?;
        Ok(())
    }

    /// Logs in for the first time: uploads keys, and reads and settles the phone's greetings.
    pub async fn first_login(&mut self, addr: SocketAddr) -> Result<Wire> {
        let payload = ClientPayload {
            username: self.jid.user.parse().ok(),
            device: Some(self.jid.device.into()),
            passive: Some(false),
            ..Default::default()
        };
        let mut wire = Wire::open(addr, &self.noise, &payload).await?;
        expect(&mut wire, |node| node.tag == "success").await?;
        let (upload, id) = self.upload();
        wire.queue(&upload)?;
        wire.flush().await?;
        expect(&mut wire, |node| node.is("id", &id) && node.is("type", "result")).await?;
        let (active, _) = self.query("set", "passive", vec![Node::new("active")]);
        wire.queue(&active)?;
        wire.flush().await?;
        self.settle_greetings(&mut wire).await?;
        Ok(wire)
    }

    async fn settle_greetings(&mut self, wire: &mut Wire) -> Result<()> {
        let (mut read, mut settled) = (0, 0);
        while settled < GREETINGS {
            let node = expect(wire, |node| node.tag == "message" || is_settled(node)).await?;
            if is_settled(&node) {
                settled += 1;
                continue;
            }
            read += 1;
            if read > GREETINGS {
                return Err(WireError::Unexpected(format!("{node:?}")));
            }
            self.read(&node)?;
            wire.queue(&Self::receipt(&node, Some("peer_msg")))?;
            wire.flush().await?;
        }
        Ok(())
    }

    fn upload(&mut self) -> (Node, String) {
        let mut keys = Vec::with_capacity(PREKEYS as usize);
        let mut last = 0;
        for _ in 0..REAL_PREKEYS {
            if let Some(prekey) = self.signal.fresh_bundle().prekey {
                last = prekey.id;
                keys.push(key_node("key", prekey.id, prekey.public.to_vec()));
            }
        }
        let filler = last + 1..=last + PREKEYS - REAL_PREKEYS;
        keys.extend(filler.map(|id| key_node("key", id, rand::random::<[u8; 32]>().to_vec())));
        let signed = &self.signed_prekey;
        let signature = Node::new("signature").bytes(signed.signature.to_vec());
        let children = vec![
            Node::new("registration").bytes(self.signal.registration_id().to_be_bytes().to_vec()),
            Node::new("type").bytes(vec![5]),
            Node::new("identity").bytes(self.signal.identity().public().to_vec()),
            Node::new("list").with_children(keys),
            key_node("skey", signed.id, signed.public.to_vec()).child(signature),
        ];
        self.query("set", "encrypt", children)
    }
}

fn key_node(tag: &'static str, id: u32, public: Vec<u8>) -> Node {
    Node::new(tag)
        .child(Node::new("id").bytes(id.to_be_bytes()[1..].to_vec()))
        .child(Node::new("value").bytes(public))
}

fn result(query: &Node) -> Node {
    Node::new("iq").attr("type", "result").attrs_from(query, &["id"])
}

/// Whether the server has taken note of a receipt.
fn is_settled(node: &Node) -> bool {
    node.tag == "ack" && node.is("class", "receipt")
}

/// The next stanza that `matches`; others are of no interest while a companion is being set up.
async fn expect(wire: &mut Wire, matches: impl Fn(&Node) -> bool) -> Result<Node> {
    loop {
        let node = wire.next().await?;
        if matches(&node) {
            return Ok(node);
        }
        if matches!(node.tag.as_ref(), "failure" | "stream:error") {
            return Err(WireError::Unexpected(format!("{node:?}")));
        }
    }
}

/// Its address, and the identity it has to sign.
fn read_success(query: &Node) -> Option<(Jid, AdvSignedDeviceIdentity)> {
    let success = query.find("pair-success")?;
    let jid = Jid::parse(success.find("device")?.get("jid")?)?;
    let sealed = AdvSignedDeviceIdentityHmac::decode(success.find("device-identity")?.data()?).ok()?;
    let identity = AdvSignedDeviceIdentity::decode(sealed.details?.as_slice()).ok()?;
    Some((jid, identity))
}
