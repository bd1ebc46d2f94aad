//! Stanzas that are malformed or far too large, from a client that is logged in.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use roost_sandbox::wire::node::{Node, encode_to_vec};

use super::pair::Pair;
use crate::client::{Companion, Wire};
use crate::stage::Stage;

const EVE: &str = "15550000003";

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(vec![2], Compression::best());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

/// `depth` nodes inside each other.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    for _ in 1..depth {
        bytes.extend([0xF8, 2, 4, 0xF8, 1]);
    }
    bytes.extend([0xF8, 1, 4]);
    bytes
}

async fn logged_in(stage: &Stage, eve: &Companion) -> Wire {
    let mut wire = eve.connect(stage).await;
    wire.expect_tag("success").await;
    wire
}

#[tokio::test]
async fn broken_stanzas_end_in_a_stream_error_and_others_go_on() {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    stage.account(EVE, false).await;
    let eve = Companion::paired(&stage, EVE).await;
    let many = vec![[0xF8, 1, 4]; 60_000].concat();
    let stanzas = [
        ("deep nesting", nested(100)),
        ("deep nesting, deflated", deflated(&nested(200_000)[1..])),
        ("a zip bomb", deflated(&vec![0; 64 << 20])),
        ("half a deflated stanza", vec![2, 0x78, 0xDA, 0x63]),
        (
            "more nodes than a stanza may have",
            [&[0, 0xF8, 3, 4, 5, 6, 0xF9, 0xEA, 0x60][..], &many, &many].concat(),
        ),
        ("an unknown token", vec![0, 0xF8, 1, 0xF0]),
        ("a token of no dictionary", vec![0, 0xF8, 2, 25, 0xF1]),
        (
            "a length past the end",
            vec![0, 0xF8, 2, 25, 0xFE, 0x7F, 0xFF, 0xFF, 0xFF],
        ),
        ("a list longer than the stanza", vec![0, 0xF9, 0xFF, 0xFF, 25]),
        (
            "an address inside an address",
            vec![0, 0xF8, 2, 25, 0xFA, 0xFA, 0xFA, 0xFA],
        ),
        ("nothing but the flags", vec![0]),
        ("two stanzas in one", vec![0, 0xF8, 1, 4, 0xF8, 1, 4]),
    ];
    for (what, plain) in stanzas {
        let mut wire = logged_in(&stage, &eve).await;
        wire.send_plain(&plain).await;
        let last = wire.until_closed().await;
        assert!(last.iter().any(|node| node.tag == "stream:error"), "{what}");
    }
    pair.finish().await;
}

#[tokio::test]
async fn a_replayed_frame_and_one_over_the_limit_are_closed_and_others_go_on() {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    stage.account(EVE, false).await;
    let eve = Companion::paired(&stage, EVE).await;
    let mut wire = logged_in(&stage, &eve).await;
    let ping = Node::new("iq")
        .attr("id", "once")
        .attr("type", "get")
        .attr("xmlns", "w:p");
    wire.send_replayed(&ping).await;
    let last = wire.until_closed().await;
    let answers = last.iter().filter(|node| node.is("id", "once")).count();
    assert_eq!(answers, 1, "{last:?}");
    let mut wire = logged_in(&stage, &eve).await;
    wire.send_raw(vec![0x7F, 0xFF, 0xFF, 0, 0, 0].into()).await;
    wire.until_closed().await;
    let mut wire = logged_in(&stage, &eve).await;
    wire.send_raw(vec![0, 0, 0].into()).await;
    wire.until_closed().await;
    pair.finish().await;
}

#[tokio::test]
async fn a_stanza_of_thirty_thousand_attributes_is_only_slow() {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    stage.account(EVE, false).await;
    let eve = Companion::paired(&stage, EVE).await;
    let mut wire = logged_in(&stage, &eve).await;
    let mut huge = Node::new("presence");
    for number in 0..30_000 {
        huge = huge.attr(format!("a{number}"), "b");
    }
    wire.send_plain(&encode_to_vec(&huge).unwrap()).await;
    let answer = wire.query("get", "w:p", Node::new("ping")).await;
    assert!(answer.is("type", "result"));
    pair.finish().await;
}
