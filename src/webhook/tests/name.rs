//! Names: what they resolve to decides at each connect.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::webhook::client::{CallFailure, TargetError, WebhookClient};
use tokio::io::AsyncWriteExt;

use super::endpoint::*;
use super::hostile::full_listener;
use crate::config;
use crate::webhook::{Lookup, LookupError, SystemLookup};

/// Only this one address of loopback is allowed, though all of them lead here.
fn one_address() -> config::WebhookClient {
    config::WebhookClient {
        allowed_networks: vec!["127.0.0.1/32".parse().unwrap()],
        ..settings()
    }
}

/// Takes calls on every address of this machine, one per connection.
async fn everywhere() -> Endpoint {
    Endpoint::at("0.0.0.0:0".parse().unwrap(), |mut stream, _| async move {
        read_request(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await
}

fn url_of(endpoint: &Endpoint) -> String {
    format!("http://hooks.example:{}/", endpoint.address.port())
}

#[tokio::test]
async fn a_name_that_is_bound_anew_after_the_check_is_refused_at_the_connect() {
    let endpoint = everywhere().await;
    let lookup = TableLookup::new(&[&["127.0.0.1"], &["127.0.0.1"], &["127.0.0.2"]]);
    let client = client_with(&one_address(), lookup.clone());
    client.check(&url_of(&endpoint)).await.unwrap();
    assert_eq!(post(&client, &url_of(&endpoint)).await.unwrap().status, 200);
    let failure = post(&client, &url_of(&endpoint)).await.unwrap_err();
    assert_eq!(
        failure,
        CallFailure::Forbidden("hooks.example has an address that is loopback".into())
    );
    assert_eq!(endpoint.accepted(), 1);
    assert_eq!(lookup.1.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_among_others_is_refused() {
    let endpoint = everywhere().await;
    for addresses in [
        ["127.0.0.1", "10.0.0.1"],
        ["10.0.0.1", "127.0.0.1"],
        ["127.0.0.1", "169.254.169.254"],
        ["127.0.0.1", "::ffff:127.0.0.2"],
        ["127.0.0.1", "fd00::1"],
    ] {
        let client = client_with(&one_address(), TableLookup::new(&[&addresses]));
        let failure = post(&client, &url_of(&endpoint)).await.unwrap_err();
        assert!(
            matches!(failure, CallFailure::Forbidden(_)),
            "{addresses:?}: {failure:?}"
        );
        let error = client.check(&url_of(&endpoint)).await.unwrap_err();
        assert!(matches!(error, TargetError::Forbidden(_)), "{error:?}");
    }
    assert_eq!(endpoint.accepted(), 0);
}

#[tokio::test]
async fn a_name_without_addresses_does_not_resolve() {
    for lookup in [TableLookup::new(&[]), TableLookup::new(&[&[]])] {
        let client = client_with(&settings(), lookup);
        let failure = post(&client, "http://hooks.example/").await.unwrap_err();
        assert!(matches!(failure, CallFailure::Dns(_)), "{failure:?}");
        let error = client.check("http://hooks.example/").await.unwrap_err();
        assert!(matches!(error, TargetError::Unresolvable(_)), "{error:?}");
    }
}

struct Hanging;

#[async_trait]
impl Lookup for Hanging {
    async fn lookup(&self, _: &str) -> Result<Vec<IpAddr>, LookupError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_resolver_that_hangs_is_within_the_deadline() {
    let client = client_with(&settings(), Arc::new(Hanging));
    let short = Duration::from_millis(100);
    let failure = post_within(&client, "http://hooks.example/", short)
        .await
        .unwrap_err();
    assert_eq!(failure, CallFailure::Timeout("no connection within 100ms".into()));

    let impatient = config::WebhookClient {
        connect_timeout: short,
        ..settings()
    };
    let client = client_with(&impatient, Arc::new(Hanging));
    let failure = post(&client, "http://hooks.example/").await.unwrap_err();
    assert!(matches!(failure, CallFailure::Timeout(_)), "{failure:?}");
    let error = client.check("http://hooks.example/").await.unwrap_err();
    assert!(matches!(error, TargetError::Unresolvable(_)), "{error:?}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails_or_is_silent() {
    let (full, _held) = full_listener();
    let good = Endpoint::at(
        SocketAddr::new("127.0.0.2".parse().unwrap(), full.port()),
        |mut stream, _| async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
        },
    )
    .await;
    // Nobody listens at 127.0.0.3; at 127.0.0.1 the queue is full.
    let client = client_with(
        &settings(),
        TableLookup::new(&[&["127.0.0.3", "127.0.0.1", "127.0.0.2"]]),
    );
    let url = url_of(&good);
    // As long as the queue is not full yet, a call gets a connection there and no answer.
    for _ in 0..50 {
        if let Ok(answer) = post_within(&client, &url, Duration::from_secs(2)).await {
            assert_eq!(answer.status, 200);
            return;
        }
    }
    panic!("the good address was never tried");
}

/// A resolver that takes as long as the test wants, and counts what it is asked.
fn slow(
    lookups_max: usize,
    ttl: Duration,
) -> (SystemLookup, std::sync::mpsc::SyncSender<()>, Arc<AtomicUsize>) {
    let (go, gate) = std::sync::mpsc::sync_channel(100);
    let (gate, asked) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let lookup = SystemLookup::with(lookups_max, ttl, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        gate.lock().unwrap().recv().unwrap();
        Ok(vec!["127.0.0.1".parse().unwrap()])
    });
    (lookup, go, asked)
}

#[tokio::test]
async fn calls_for_one_name_wait_for_one_lookup() {
    let (lookup, go, asked) = slow(4, Duration::ZERO);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let lookup = lookup.clone();
            tokio::spawn(async move { lookup.lookup("a.example").await })
        })
        .collect();
    eventually("it was asked", || asked.load(Ordering::SeqCst) == 1).await;
    // Lets every call join before the answer comes.
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    go.send(()).unwrap();
    lookup.lookup("a.example").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_is_used_again_for_a_while() {
    let (lookup, go, asked) = slow(4, Duration::from_secs(300));
    go.send(()).unwrap();
    for _ in 0..3 {
        lookup.lookup("a.example").await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn names_that_hang_leave_known_names_working() {
    let (lookup, go, asked) = slow(2, Duration::ZERO);
    go.send(()).unwrap();
    lookup.lookup("known.example").await.unwrap();
    let hanging: Vec<_> = (0..8)
        .map(|number| {
            let lookup = lookup.clone();
            tokio::spawn(async move { lookup.lookup(&format!("{number}.example")).await })
        })
        .collect();
    eventually("all places are taken", || asked.load(Ordering::SeqCst) == 3).await;
    lookup.lookup("known.example").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    for _ in &hanging {
        go.send(()).unwrap();
    }
    for call in hanging {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_system_resolves_names_also_many_at_once() {
    let endpoint = Endpoint::good().await;
    let client = Arc::new(client_with(
        &settings(),
        Arc::new(SystemLookup::new(1, Duration::ZERO)),
    ));
    let url = format!("http://localhost:{}/", endpoint.address.port());
    // Where the machine also has ::1 for localhost, nobody listens there and the next one is tried.
    let calls = (0..32).map(|_| {
        let (client, url) = (Arc::clone(&client), url.clone());
        tokio::spawn(async move { post(&client, &url).await.unwrap().status })
    });
    for status in futures::future::join_all(calls).await {
        assert_eq!(status.unwrap(), 200);
    }
    client.check(&url).await.unwrap();
    let error = client.check("http://nothing.invalid/").await.unwrap_err();
    assert!(matches!(error, TargetError::Unresolvable(_)), "{error:?}");
}
