//! A call that goes well, and what is on the wire.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use roost_domain::cluster::Lease;
use roost_domain::webhook::client::{CallFailure, OutgoingCall, TargetError, WebhookClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;

use super::endpoint::*;

#[tokio::test]
async fn the_request_carries_what_the_caller_gave_and_what_every_call_has() {
    let seen = Arc::new(Mutex::new(String::new()));
    let endpoint = Endpoint::new({
        let seen = Arc::clone(&seen);
        move |mut stream, _| {
            let seen = Arc::clone(&seen);
            async move {
                *seen.lock().unwrap() = read_request(&mut stream).await.unwrap();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let client = client();
    let answer = post(&client, &format!("{}?a=b", endpoint.url())).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    assert_eq!(answer.retry_after, None);
    let seen = seen.lock().unwrap().clone();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    lines.sort_unstable();
    let host = format!("host: {}", endpoint.address);
    let agent = format!("user-agent: roost/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines,
        [
            "POST /hook?a=b HTTP/1.1",
            "accept: */*",
            "content-length: 14",
            "content-type: application/json",
            &host,
            &agent,
            "webhook-id: evt_1",
        ]
    );
    assert_eq!(body, "{\"id\":\"evt_1\"}");
}

#[tokio::test]
async fn a_header_of_the_caller_wins_but_framing_is_the_clients_own() {
    let endpoint = Endpoint::good().await;
    let client = client();
    let with = |name: &str, value: &str| OutgoingCall {
        headers: vec![(name.into(), value.into())],
        ..call(&endpoint.url())
    };
    client.post(with("content-type", "application/x")).await.unwrap();
    for (name, value) in [
        ("host", "evil.example"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("x-a", "1\r\nx-b: 2"),
        ("x a", "1"),
        ("", "1"),
    ] {
        let failure = client.post(with(name, value)).await.unwrap_err();
        assert!(
            matches!(failure, CallFailure::Forbidden(_)),
            "{name}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn calls_to_one_host_share_a_connection() {
    let endpoint = Endpoint::good().await;
    let client = client();
    for _ in 0..20 {
        assert_eq!(post(&client, &endpoint.url()).await.unwrap().status, 200);
    }
    assert_eq!(endpoint.accepted(), 1);
}

struct Switch(AtomicBool);

impl Lease for Switch {
    fn holds(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn without_the_lease_not_a_byte_is_sent_by_an_open_connection_or_a_new_one() {
    let (late, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let endpoint = Endpoint::new({
        let (late, ended) = (Arc::clone(&late), Arc::clone(&ended));
        move |mut stream, number| {
            let (late, ended) = (Arc::clone(&late), Arc::clone(&ended));
            async move {
                if number == 0 {
                    read_request(&mut stream).await.unwrap();
                    stream.write_all(OK).await.unwrap();
                }
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                late.lock().unwrap().extend(rest);
                ended.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let lease = Arc::new(Switch(AtomicBool::new(true)));
    let client = client_under(Arc::clone(&lease) as _);
    assert_eq!(post(&client, &endpoint.url()).await.unwrap().status, 200);
    lease.0.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(post(&client, &endpoint.url()).await.is_err());
    }
    drop(client);
    eventually("all connections end", || {
        endpoint.accepted() > 1 && ended.load(Ordering::SeqCst) == endpoint.accepted()
    })
    .await;
    let late = late.lock().unwrap();
    assert!(late.is_empty(), "{}", String::from_utf8_lossy(&late));
}

#[tokio::test]
async fn connections_beyond_the_pool_serve_a_single_call() {
    let (first, second) = (Endpoint::good().await, Endpoint::good().await);
    let mut settings = settings();
    settings.pool_max = 1;
    let client = client_with(&settings, system());
    for _ in 0..3 {
        post(&client, &first.url()).await.unwrap();
        post(&client, &second.url()).await.unwrap();
    }
    assert_eq!((first.accepted(), second.accepted()), (1, 3));
}

/// Answers once all calls of a round are there, and counts the connections that are open.
async fn rounds_of(calls: usize, open: &Arc<AtomicUsize>) -> Endpoint {
    let (open, barrier) = (Arc::clone(open), Arc::new(Barrier::new(calls)));
    Endpoint::new(move |mut stream, _| {
        let (open, barrier) = (Arc::clone(&open), Arc::clone(&barrier));
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            while read_request(&mut stream).await.is_some() {
                barrier.wait().await;
                stream.write_all(OK).await.unwrap();
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await
}

#[tokio::test]
async fn idle_connections_to_one_host_are_bounded() {
    let open = Arc::new(AtomicUsize::new(0));
    let endpoint = rounds_of(8, &open).await;
    let mut settings = settings();
    settings.idle_per_host_max = 2;
    let client = client_with(&settings, system());
    let url = endpoint.url();
    for answer in futures::future::join_all((0..8).map(|_| post(&client, &url))).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(endpoint.accepted(), 8);
    eventually("two are left", || open.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let open = Arc::new(AtomicUsize::new(0));
    let endpoint = rounds_of(1, &open).await;
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(200);
    let client = client_with(&settings, system());
    post(&client, &endpoint.url()).await.unwrap();
    eventually("none is left", || open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn an_idle_connection_that_the_endpoint_closes_costs_no_failure() {
    // Takes the second request of its first connection and closes without a word.
    let endpoint = Endpoint::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        read_request(&mut stream).await;
    })
    .await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(post(&client, &endpoint.url()).await.unwrap().status, 200);
    }
    assert_eq!(endpoint.accepted(), 3);
}

#[tokio::test]
async fn a_new_connection_that_closes_without_a_word_is_a_failure_at_once() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        read_request(&mut stream).await;
    })
    .await;
    let failure = post(&client(), &endpoint.url()).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Closed(_)), "{failure:?}");
    assert_eq!(endpoint.accepted(), 1);
}

#[tokio::test]
async fn every_status_is_an_answer_and_redirects_are_not_followed() {
    let elsewhere = Endpoint::good().await;
    for status in [201, 204, 301, 302, 307, 308, 400, 410, 429, 500, 503] {
        let answer = format!(
            "HTTP/1.1 {status} X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url()
        );
        let endpoint = Endpoint::saying(answer).await;
        assert_eq!(post(&client(), &endpoint.url()).await.unwrap().status, status);
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date() {
    let client = client();
    for (text, wait) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("4294967295", Some(4_294_967_295)),
        ("Mon, 23 Nov 2026 12:05:00 GMT", Some(300)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", Some(0)),
        ("99999999999999999999", None),
        ("-1", None),
        ("soon", None),
    ] {
        let answer = format!("HTTP/1.1 503 X\r\nretry-after: {text}\r\ncontent-length: 0\r\n\r\n");
        let endpoint = Endpoint::saying(answer).await;
        let answer = post(&client, &endpoint.url()).await.unwrap();
        assert_eq!(answer.retry_after, wait.map(Duration::from_secs), "{text}");
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        let request = read_request(&mut stream).await.unwrap();
        let length = request.split_once("\r\n\r\n").unwrap().1.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n{length}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let large = OutgoingCall {
        body: Bytes::from(vec![b'x'; 600_000]),
        ..call(&endpoint.url())
    };
    assert_eq!(&client().post(large).await.unwrap().body[..], b"600000");
}

#[tokio::test]
async fn the_host_is_the_same_for_all_spellings_of_an_endpoint() {
    let client = client();
    for url in ["https://Example.com/a", "https://example.com:443/b?c"] {
        assert_eq!(&*client.host(url).unwrap(), "example.com:443");
    }
    assert!(matches!(client.host("nonsense"), Err(TargetError::Invalid(_))));
    let failure = post(&client, "https://10.0.0.1/").await.unwrap_err();
    assert!(matches!(failure, CallFailure::Forbidden(_)), "{failure:?}");
}
