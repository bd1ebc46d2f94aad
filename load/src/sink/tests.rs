use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::http::{Call, Connection, Endpoint};

fn connection(hook: &Hook) -> (Connection, String) {
    let (addr, path) = hook.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let endpoint = Endpoint::new(addr.parse().unwrap(), None).unwrap();
    (Connection::new(endpoint), format!("/{path}"))
}

fn event(path: &str, index: u64, seq: i64) -> Call {
    let load = Mark::text(1, index, 0);
    Call::post(
        path,
        &serde_json::json!({"id": "evt_1", "seq": seq, "data": {"load": load}}),
    )
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[tokio::test]
async fn hooks_of_several_ports_count_what_they_take() {
    let sink = Sink::start(2).await.unwrap();
    let hooks = [sink.hook(0, Manner::Answer), sink.hook(1, Manner::Answer)];
    assert_ne!(hooks[0].url, hooks[1].url);
    for hook in &hooks {
        hook.ledger().begin(1);
        let (mut connection, path) = connection(hook);
        for index in 0..100 {
            let answer = connection
                .call(&event(&path, index, 1 + index.cast_signed()))
                .await;
            assert_eq!(answer.unwrap().status, 200);
        }
        let ledger = hook.ledger();
        assert_eq!((ledger.taken, ledger.repeated, ledger.disordered), (100, 0, 0));
        assert!(ledger.arrival(99).is_some());
    }
}

#[tokio::test]
async fn what_is_held_counts_when_it_is_released_and_not_when_it_is_given_up() {
    let sink = Sink::start(1).await.unwrap();
    let hook = sink.hook(0, Manner::Hold);
    hook.ledger().begin(1);
    let (mut patient, path) = connection(&hook);
    let (mut hasty, _) = connection(&hook);
    let first = event(&path, 0, 1);
    let waiting = tokio::spawn(async move { patient.call(&first).await });
    let second = event(&path, 1, 2);
    let given_up = tokio::spawn(async move { hasty.call(&second).await });
    until(|| hook.holding() == 2).await;
    given_up.abort();
    until(|| hook.holding() == 1).await;
    hook.set_manner(Manner::Answer);
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    let ledger = hook.ledger();
    assert_eq!((ledger.taken, ledger.arrival(1)), (1, None));
}

#[tokio::test]
async fn what_is_refused_is_not_taken() {
    let sink = Sink::start(1).await.unwrap();
    let hook = sink.hook(0, Manner::Fail(1_000));
    hook.ledger().begin(1);
    let (mut connection, path) = connection(&hook);
    let call = event(&path, 0, 1);
    assert_eq!(connection.call(&call).await.unwrap().status, 500);
    hook.set_manner(Manner::Fail(0));
    assert_eq!(connection.call(&call).await.unwrap().status, 200);
    let ledger = hook.ledger();
    assert_eq!((ledger.refused, ledger.taken), (1, 1));
}

#[tokio::test]
async fn a_wrong_signature_is_noticed() {
    let sink = Sink::start(1).await.unwrap();
    let hook = sink.hook(0, Manner::Answer);
    hook.ledger().begin(1);
    hook.key.set(b"a key of the hook".to_vec()).unwrap();
    let (mut connection, path) = connection(&hook);
    let mut call = event(&path, 0, 1);
    call.headers.push(("webhook-id", "evt_1".to_owned()));
    connection.call(&call).await.unwrap();
    let ledger = hook.ledger();
    assert_eq!((ledger.verified, ledger.unsigned), (1, 1));
}

#[tokio::test]
async fn requests_in_pieces_are_read_and_nonsense_is_refused() {
    let sink = Sink::start(1).await.unwrap();
    let hook: Arc<Hook> = sink.hook(0, Manner::Answer);
    hook.ledger().begin(1);
    let (addr, _) = hook.url["http://".len()..].split_once('/').unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let body = "{\"seq\":5,\"load\":\"1 0 0 \"}";
    let request = format!("POST /0 HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut answer = [0; 15];
    for piece in request.as_bytes().chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert_eq!(hook.ledger().taken, 1);

    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"no HTTP at all\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
}
