//! Clients that connect and do not get on with it.

use std::time::Duration;

use bytes::BufMut;
use futures::StreamExt;
use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::websocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::pair::Pair;
use super::raw::{Ended, Raw, opening, request};
use crate::client::Companion;
use crate::stage::{DEADLINE, Stage, eventually};

/// Between two bytes of a client that is slow on purpose.
const DRIP: Duration = Duration::from_millis(10);

fn hasty() -> SandboxConfig {
    SandboxConfig {
        handshake_timeout: Duration::from_secs(2),
        ..SandboxConfig::default()
    }
}

/// Writes byte by byte, for ever, until the server is gone.
async fn drip(raw: Raw, bytes: &[u8]) -> Ended {
    let (mut read, mut write) = raw.stream.into_split();
    let mut bytes = bytes.iter().cycle();
    let dripping = async {
        loop {
            let byte = *bytes.next().unwrap();
            if write.write_u8(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(DRIP).await;
        }
    };
    let reading = async {
        let mut rest = Vec::new();
        let _ = read.read_to_end(&mut rest).await;
        if rest.is_empty() {
            Ended::Cut
        } else {
            Ended::Code(u16::from(rest[0]))
        }
    };
    tokio::select! {
        () = dripping => Ended::Cut,
        ended = reading => ended,
        () = tokio::time::sleep(DEADLINE) => panic!("the server closes before the deadline"),
    }
}

#[tokio::test]
async fn slow_requests_and_slow_handshakes_are_closed_and_others_go_on() {
    let stage = Stage::with(hasty()).await;
    let pair = Pair::start(&stage).await;
    let request = drip(Raw::connect(&stage).await, &request()[..40]);
    let mut message = websocket::begin(0);
    message.put_slice(&opening());
    let handshake = websocket::finish(message, Some([0; 4]));
    let first = handshake.len() - 8;
    let slow = async { drip(Raw::upgraded(&stage).await, &handshake[..first]).await };
    let silent = async { Raw::upgraded(&stage).await.ended().await };
    let (_, _, silent) = tokio::join!(request, slow, silent);
    assert_eq!(silent, Ended::Code(1002));
    assert_eq!(stage.stat("handshakes_failed").await, 2);
    pair.finish().await;
}

#[tokio::test]
async fn half_open_sockets_are_closed() {
    let stage = Stage::with(hasty()).await;
    // Nothing is ever written on it.
    let mut silent = Raw::connect(&stage).await;
    assert_eq!(silent.ended().await, Ended::Cut);
    // Its client has said that nothing more will come.
    let mut half = Raw::upgraded(&stage).await;
    half.stream.shutdown().await.unwrap();
    assert_eq!(half.ended().await, Ended::Code(1000));
    eventually(|| async { (stage.stat("links").await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_crowd_of_strangers_takes_only_the_places_of_strangers() {
    const PLACES: usize = 40;
    let stage = Stage::with(SandboxConfig {
        unauthenticated_links_max: PLACES,
        ..SandboxConfig::default()
    })
    .await;
    let pair = Pair::start(&stage).await;
    let crowd: Vec<_> = futures::stream::iter(0..300)
        .map(|_| Raw::upgrade(&stage))
        .buffer_unordered(30)
        .collect()
        .await;
    let taken = crowd.iter().filter(|(_, status)| *status == 101).count();
    assert!(crowd.iter().all(|(_, status)| [101, 503].contains(status)));
    assert_eq!(taken, PLACES);
    pair.finish().await;
    drop(crowd);
    eventually(|| async { (stage.stat("links").await == 0).then_some(()) }).await;
    Companion::new().register(&stage).await;
}

#[tokio::test]
async fn slow_clients_displace_each_other_and_nobody_else() {
    const SEATS: usize = 16;
    let stage = Stage::with(SandboxConfig {
        http_connections_max: SEATS,
        // Nobody goes because his time is over.
        handshake_timeout: Duration::from_secs(3_600),
        ..SandboxConfig::default()
    })
    .await;
    let pair = Pair::start(&stage).await;
    let mut slow = Vec::new();
    for turn in 0..3 * SEATS {
        let mut raw = Raw::connect(&stage).await;
        // Some say nothing, some half a head, some a head and half a body, some do not read.
        let said: &[u8] = match turn % 4 {
            0 => b"",
            1 => b"GET /sandbox/v1/stats HTTP/1.1\r\nHost: sand",
            2 => b"POST /sandbox/v1/accounts HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 50\r\n\r\n{",
            _ => b"GET /sandbox/v1/stats HTTP/1.1\r\nHost: sandbox\r\n\r\n",
        };
        raw.write(said).await;
        slow.push(raw);
        let (status, _) = stage.get("/accounts").await;
        assert_eq!(status, 200, "a client that gets on with it finds a seat");
    }
    Companion::new().register(&stage).await;
    assert!(stage.stat("connections_displaced").await >= 2 * SEATS as u64 - 2);
    // The first of them are gone, though their time was not over.
    assert_eq!(slow[0].ended().await, Ended::Cut);
    pair.finish().await;
}
