//! Keys as clients write and read them.

use roost_sandbox::signal::keys::{typed, xeddsa_verify};
use roost_sandbox::signal::{Bundle, OneTimePrekey, SignedPrekey};
use roost_sandbox::wire::node::Node;

use crate::client::Wire;

/// A bundle as a client reads it.
pub async fn fetch(wire: &mut Wire, jid: &str) -> Option<Bundle> {
    let bundle = fetch_any(wire, jid).await?;
    let signed = &bundle.signed_prekey;
    assert!(xeddsa_verify(
        &bundle.identity,
        &typed(&signed.public),
        &signed.signature
    ));
    Some(bundle)
}

/// As [`fetch`], not minding what is in it.
pub async fn fetch_any(wire: &mut Wire, jid: &str) -> Option<Bundle> {
    let user = Node::new("user").attr("jid", jid.to_owned());
    let answer = wire.query("get", "encrypt", Node::new("key").child(user)).await;
    let user = answer.find("list").unwrap().find("user").unwrap();
    assert_eq!(
        user.get("jid"),
        Some(jid),
        "the answer names the user as the query did"
    );
    if user.find("error").is_some() {
        return None;
    }
    let skey = user.find("skey").unwrap();
    Some(Bundle {
        registration_id: u32::from_be_bytes(user.find("registration").unwrap().data_array().unwrap()),
        identity: user.find("identity").unwrap().data_array().unwrap(),
        signed_prekey: SignedPrekey {
            id: key_id(skey),
            public: skey.find("value").unwrap().data_array().unwrap(),
            signature: skey.find("signature").unwrap().data_array().unwrap(),
        },
        prekey: user.find("key").map(|key| OneTimePrekey {
            id: key_id(key),
            public: key.find("value").unwrap().data_array().unwrap(),
        }),
    })
}

fn key_id(node: &Node) -> u32 {
    let [a, b, c] = node.find("id").unwrap().data_array().unwrap();
    u32::from_be_bytes([0, a, b, c])
}

pub fn key_node(tag: &'static str, id: u32, public: &[u8; 32], signature: Option<&[u8; 64]>) -> Node {
    Node::new(tag)
        .child(Node::new("id").bytes(id.to_be_bytes()[1..].to_vec()))
        .child(Node::new("value").bytes(public.to_vec()))
        .child_opt(signature.map(|signature| Node::new("signature").bytes(signature.to_vec())))
}
