//! One-time keys and bundles: companions upload them, anyone fetches them.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::error::StanzaError;
use super::{iq_error, iq_result};
use crate::server::account::Account;
use crate::server::device::{Device, PREKEYS_LOW, PREKEYS_MAX};
use crate::server::queue::{Class, Entry};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::now_s;
use crate::signal::keys::{typed, xeddsa_verify};
use crate::signal::{Bundle, SignedPrekey};
use crate::wire::jid::Jid;
use crate::wire::node::Node;

/// Users of one bundle query.
const USERS_MAX: usize = 4_096;
const KEY_TYPE: &[u8] = &[5];

pub(super) fn answer(service: &Arc<Service>, session: &Session, id: &str, node: &Node) -> Node {
    let is_set = node.is("type", "set");
    if !is_set && node.find("count").is_some() {
        let count = Node::new("count").attr("value", session.device.prekey_count().to_string());
        return iq_result(id).child(count);
    }
    if !is_set && node.find("digest").is_some() {
        return iq_result(id).child(digest(&session.device));
    }
    if let Some(request) = node.find("key").filter(|_| !is_set) {
        return bundles(service, session, id, request);
    }
    let stored = match node.find("rotate") {
        Some(rotate) if is_set => rotate_signed_prekey(session, rotate),
        None if is_set => upload(session, node),
        _ => None,
    };
    if stored.is_some() {
        iq_result(id)
    } else {
        iq_error(id, StanzaError::NotAcceptable)
    }
}

fn upload(session: &Session, node: &Node) -> Option<()> {
    let registration_id = u32::from_be_bytes(node.find("registration")?.data_array()?);
    let identity: [u8; 32] = node.find("identity")?.data_array()?;
    if identity != session.device.identity || registration_id != session.device.registration_id {
        return None;
    }
    let list = node.find("list")?.children();
    if list.len() > PREKEYS_MAX {
        return None;
    }
    let keys = list
        .iter()
        .map(|key| Some((key_id(key.find("id")?)?, key.find("value")?.data_array()?)));
    let keys = keys.collect::<Option<Vec<_>>>()?;
    let signed = signed_prekey(session, node.find("skey")?)?;
    session.device.upload_prekeys(signed, keys);
    Some(())
}

fn rotate_signed_prekey(session: &Session, rotate: &Node) -> Option<()> {
    let signed = signed_prekey(session, rotate.find("skey")?)?;
    session.device.rotate_signed_prekey(signed);
    Some(())
}

fn signed_prekey(session: &Session, skey: &Node) -> Option<SignedPrekey> {
    let signed = SignedPrekey {
        id: key_id(skey.find("id")?)?,
        public: skey.find("value")?.data_array()?,
        signature: skey.find("signature")?.data_array()?,
    };
    xeddsa_verify(
        &session.device.identity,
        &typed(&signed.public),
        &signed.signature,
    )
    .then_some(signed)
}

fn key_id(node: &Node) -> Option<u32> {
    let [high, middle, low] = node.data_array()?;
    Some(u32::from_be_bytes([0, high, middle, low]))
}

/// What the service holds of a companion's keys, and a hash over it.
fn digest(device: &Device) -> Node {
    let signed = device.signed_prekey();
    let prekeys = device.prekeys();
    let mut hash = Sha1::new();
    hash.update(device.identity);
    hash.update(signed.public);
    hash.update(signed.signature);
    prekeys.iter().for_each(|(_, public)| hash.update(public));
    let ids = prekeys.iter().map(|(id, _)| id_node(*id)).collect();
    Node::new("digest")
        .child(Node::new("registration").bytes(device.registration_id.to_be_bytes().to_vec()))
        .child(Node::new("type").bytes(KEY_TYPE))
        .child(Node::new("identity").bytes(device.identity.to_vec()))
        .child(signed_node(&signed))
        .child(Node::new("list").with_children(ids))
        .child(Node::new("hash").bytes(hash.finalize().to_vec()))
}

fn bundles(service: &Arc<Service>, session: &Session, id: &str, request: &Node) -> Node {
    if request.children().len() > USERS_MAX {
        return iq_error(id, StanzaError::BadRequest);
    }
    let users = request.find_all("user").map(|user| {
        let jid = user.get("jid").unwrap_or_default();
        let answer = Node::new("user").attr("jid", jid.to_owned());
        match Jid::parse(jid).and_then(|jid| fetch(service, &jid)) {
            Some(mut fetched) => {
                service.faults.at_bundle(session.who(), &mut fetched.bundle);
                answer.with_children(fetched.into_nodes())
            }
            None => answer.child(StanzaError::NotFound.node()),
        }
    });
    iq_result(id).child(Node::new("list").with_children(users.collect()))
}

/// A bundle, and for companions the proof that their account vouches for them.
pub(in crate::server) struct Fetched {
    pub bundle: Bundle,
    proof: Option<bytes::Bytes>,
}

/// Takes a bundle of the device a JID names, in either addressing.
pub(in crate::server) fn fetch(service: &Service, jid: &Jid) -> Option<Fetched> {
    let account = service.account(jid)?;
    if jid.device == 0 {
        return Some(Fetched {
            bundle: account.phone.fresh_bundle(),
            proof: None,
        });
    }
    let device = account.device(jid.device)?;
    let (bundle, left) = device.take_bundle();
    if bundle.prekey.is_some() && (left == PREKEYS_LOW || left == 0) {
        ask_for_prekeys(service, &account, &device, left);
    }
    Some(Fetched {
        bundle,
        proof: Some(device.proof.clone()),
    })
}

fn ask_for_prekeys(service: &Service, account: &Account, device: &Device, left: usize) {
    let id = service.stanza_id();
    let node = Node::new("notification")
        .attr("from", "s.whatsapp.net")
        .attr("type", "encrypt")
        .attr("id", id.clone())
        .attr("t", now_s().to_string())
        .child(Node::new("count").attr("value", left.to_string()));
    device.offer(Entry {
        class: Class::Notification,
        id: id.into(),
        origin: account.origin(0),
        node,
    });
}

impl Fetched {
    fn into_nodes(self) -> Vec<Node> {
        let Bundle {
            registration_id,
            identity,
            signed_prekey,
            prekey,
        } = self.bundle;
        let mut nodes = vec![
            Node::new("registration").bytes(registration_id.to_be_bytes().to_vec()),
            Node::new("type").bytes(KEY_TYPE),
            Node::new("identity").bytes(identity.to_vec()),
        ];
        if let Some(prekey) = prekey {
            let value = Node::new("value").bytes(prekey.public.to_vec());
            nodes.push(Node::new("key").child(id_node(prekey.id)).child(value));
        }
        nodes.push(signed_node(&signed_prekey));
        nodes.extend(self.proof.map(|proof| Node::new("device-identity").bytes(proof)));
        nodes
    }
}

fn signed_node(signed: &SignedPrekey) -> Node {
    Node::new("skey")
        .child(id_node(signed.id))
        .child(Node::new("value").bytes(signed.public.to_vec()))
        .child(Node::new("signature").bytes(signed.signature.to_vec()))
}

fn id_node(id: u32) -> Node {
    Node::new("id").bytes(id.to_be_bytes()[1..].to_vec())
}
