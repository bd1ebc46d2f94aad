use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn cookie(text: &str) -> Cookie {
    Cookie::new(format!("{text} of sixteen bytes")).unwrap()
}

fn me<'a>(node: &'a NodeName, cookie: &'a Cookie, channel: u8) -> Me<'a> {
    static NONCE: AtomicU8 = AtomicU8::new(0);
    Me {
        node,
        incarnation: 3,
        release: "1.0.0",
        cookie,
        channel: [channel; 32],
        nonce: [NONCE.fetch_add(1, Ordering::Relaxed); 32],
    }
}

type Outcome = Result<Hello, GreetingError>;

/// A greeting of `a`, who looks for `to`, with `b`.
async fn greet(
    to: &str,
    cookies: [&Cookie; 2],
    channels: [u8; 2],
    may: Result<(), Refusal>,
) -> (Outcome, Outcome) {
    let (mut left, mut right) = tokio::io::duplex(4_096);
    let (a, b, to) = (name("a"), name("b"), name(to));
    let (dialer, acceptor) = (me(&a, cookies[0], channels[0]), me(&b, cookies[1], channels[1]));
    tokio::join!(
        async {
            let outcome = dial(&mut left, &dialer, &to, |_| Ok(())).await;
            drop(left);
            outcome
        },
        async {
            let outcome = accept(&mut right, &acceptor, |_| true, |_| may).await;
            drop(right);
            outcome
        }
    )
}

#[tokio::test]
async fn two_nodes_with_one_cookie_and_one_channel_know_each_other() {
    let cookie = cookie("a cookie");
    let (a, b) = greet("b", [&cookie, &cookie], [7, 7], Ok(())).await;
    assert_eq!(a.unwrap().node, name("b"));
    let hello = b.unwrap();
    assert_eq!((hello.node, hello.incarnation), (name("a"), 3));
}

#[tokio::test]
async fn another_cookie_is_refused() {
    let (a, b) = greet("b", [&cookie("one"), &cookie("two")], [7, 7], Ok(())).await;
    assert!(matches!(a, Err(GreetingError::Refused(Refusal::Cookie))));
    assert!(matches!(b, Err(GreetingError::Refuse(Refusal::Cookie))));
}

#[tokio::test]
async fn a_proof_that_was_passed_on_from_another_channel_is_refused() {
    let cookie = cookie("a cookie");
    let (a, b) = greet("b", [&cookie, &cookie], [7, 8], Ok(())).await;
    assert!(matches!(a, Err(GreetingError::Refused(Refusal::Cookie))));
    assert!(matches!(b, Err(GreetingError::Refuse(Refusal::Cookie))));
}

#[tokio::test]
async fn a_dialer_leaves_when_somebody_else_answers() {
    let cookie = cookie("a cookie");
    let (a, b) = greet("c", [&cookie, &cookie], [7, 7], Ok(())).await;
    assert!(matches!(a, Err(GreetingError::Refuse(Refusal::NotMe))));
    assert!(matches!(b, Err(GreetingError::Io(_))));
}

#[tokio::test]
async fn a_refusal_is_told_to_who_has_proven_himself() {
    let (right, wrong) = (cookie("a cookie"), cookie("another"));
    let (a, _) = greet("b", [&right, &right], [7, 7], Err(Refusal::Stale)).await;
    assert!(matches!(a, Err(GreetingError::Refused(Refusal::Stale))));
    let (a, _) = greet("b", [&wrong, &right], [7, 7], Err(Refusal::Stale)).await;
    assert!(matches!(a, Err(GreetingError::Refused(Refusal::Cookie))));
}

/// Sends raw messages to an acceptor. Returns its outcome.
async fn raw(messages: &[Vec<u8>]) -> Outcome {
    let (mut left, mut right): (DuplexStream, DuplexStream) = tokio::io::duplex(65_536);
    for message in messages {
        left.write_all(message).await.unwrap();
    }
    left.shutdown().await.unwrap();
    let (b, cookie) = (name("b"), cookie("a cookie"));
    let acceptor = me(&b, &cookie, 7);
    accept(&mut right, &acceptor, |_| true, |_| Ok(())).await
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let mut message = (bytes.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(bytes);
    message
}

#[tokio::test]
async fn garbage_is_an_error() {
    assert!(matches!(raw(&[]).await, Err(GreetingError::Io(_))));
    assert!(matches!(raw(&[message(b"")]).await, Err(GreetingError::Garbage)));
    assert!(matches!(
        raw(&[message(&[0xff; 64])]).await,
        Err(GreetingError::Garbage)
    ));
    assert!(
        matches!(raw(&[vec![0xff; 4]]).await, Err(GreetingError::Garbage)),
        "too long"
    );
    assert!(matches!(
        raw(&[b"GET / HTTP/1.1\r\n".to_vec()]).await,
        Err(GreetingError::Garbage)
    ));
    assert!(matches!(raw(&[vec![0]]).await, Err(GreetingError::Io(_))));
}

#[tokio::test]
async fn a_node_of_a_later_protocol_is_told_so() {
    let a = name("a");
    let cookie = cookie("a cookie");
    let mut hello = me(&a, &cookie, 7).hello(Some(name("b")));
    hello.versions = (2, 9);
    let outcome = raw(&[message(&encode(&hello).unwrap())]).await;
    assert!(matches!(outcome, Err(GreetingError::Refuse(Refusal::Version))));
    hello.versions = (1, 9);
    let outcome = raw(&[message(&encode(&hello).unwrap()), message(&[0; 32])]).await;
    assert!(
        matches!(outcome, Err(GreetingError::Refuse(Refusal::Cookie))),
        "it got further"
    );
}

#[tokio::test]
async fn a_proof_is_not_good_for_the_other_role() {
    let (a, cookie) = (name("a"), cookie("a cookie"));
    let me = me(&a, &cookie, 7);
    let dialer = me.mac(b"dialer", [b"x", b"y"]).finalize().into_bytes();
    let acceptor = me.mac(b"acceptor", [b"x", b"y"]).finalize().into_bytes();
    assert_ne!(dialer, acceptor);
    assert_ne!(inner_cookie(&cookie).as_bytes(), cookie.bytes());
}
