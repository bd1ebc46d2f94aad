//! Stanzas: what is read can be written, and reads back as the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roost_sandbox::wire::jid::Jid;
use roost_sandbox::wire::node::{Content, Limits, Node, decode, encode_to_vec};

const LIMITS: Limits = Limits {
    depth_max: 32,
    items_max: 1_024,
    inflated_bytes_max: 32 << 10,
};

/// Whether both say the same: text may be written as a token, as bytes or as an address.
fn same(a: &Node, b: &Node) -> bool {
    let content = match (&a.content, &b.content) {
        (Content::Nodes(a), Content::Nodes(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a.data().unwrap_or_default() == b.data().unwrap_or_default(),
    };
    a.tag == b.tag && a.attrs == b.attrs && content
}

fuzz_target!(|data: &[u8]| {
    let Ok(node) = decode(Bytes::copy_from_slice(data), LIMITS) else {
        return;
    };
    for (_, value) in &node.attrs {
        if let Some(jid) = Jid::parse(value) {
            assert_eq!(Jid::parse(&jid.to_string()).as_ref(), Some(&jid));
        }
    }
    let written = encode_to_vec(&node).expect("what was read can be written");
    let again = decode(written.freeze(), LIMITS).expect("what was written can be read");
    assert!(same(&node, &again), "{node:?} became {again:?}");
});
