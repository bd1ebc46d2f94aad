//! What an endpoint can do wrong in HTTP/2 alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use hyper::{HeaderMap, Response};
use roost_domain::webhook::client::CallFailure;

use super::endpoint::*;
use super::secure::{Authority, names, nothing, url_of};

/// Handles each stream with a function that also gets its number over all connections.
async fn streams(
    authority: &Authority,
    handle: impl Fn(SendResponse<Bytes>, usize) + Clone + Send + Sync + 'static,
) -> Endpoint {
    let acceptor = authority.acceptor(&names(), &["h2"], nothing);
    let number = Arc::new(AtomicUsize::new(0));
    Endpoint::new(move |stream, _| {
        let (acceptor, handle, number) = (acceptor.clone(), handle.clone(), Arc::clone(&number));
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_request, respond))) = connection.accept().await {
                handle(respond, number.fetch_add(1, Ordering::SeqCst));
            }
        }
    })
    .await
}

fn ok(mut respond: SendResponse<Bytes>) {
    respond.send_response(Response::new(()), true).unwrap();
}

#[tokio::test]
async fn a_stream_that_was_refused_unseen_is_sent_once_more() {
    let authority = Authority::new();
    let endpoint = streams(&authority, |mut respond, number| {
        if number == 0 {
            respond.send_reset(Reason::REFUSED_STREAM);
        } else {
            ok(respond);
        }
    })
    .await;
    let client = authority.client(|_| {});
    assert_eq!(post(&client, &url_of(&endpoint)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_that_is_always_refused_is_closed_after_two_tries() {
    let authority = Authority::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let endpoint = streams(&authority, move |mut respond, _| {
        count.fetch_add(1, Ordering::SeqCst);
        respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let failure = post(&authority.client(|_| {}), &url_of(&endpoint))
        .await
        .unwrap_err();
    assert!(matches!(failure, CallFailure::Closed(_)), "{failure:?}");
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_stream_that_is_reset_is_closed_and_not_sent_again() {
    let authority = Authority::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let endpoint = streams(&authority, move |mut respond, _| {
        count.fetch_add(1, Ordering::SeqCst);
        respond.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let failure = post(&authority.client(|_| {}), &url_of(&endpoint))
        .await
        .unwrap_err();
    assert!(matches!(failure, CallFailure::Closed(_)), "{failure:?}");
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_protocol_failure() {
    let authority = Authority::new();
    let endpoint = streams(&authority, |mut respond, _| {
        let mut response = Response::new(());
        let mut headers = HeaderMap::new();
        for _ in 0..100 {
            headers.append("x-large", "y".repeat(1000).parse().unwrap());
        }
        *response.headers_mut() = headers;
        let _ = respond.send_response(response, true);
    })
    .await;
    let failure = post(&authority.client(|_| {}), &url_of(&endpoint))
        .await
        .unwrap_err();
    assert!(matches!(failure, CallFailure::Protocol(_)), "{failure:?}");
}

#[tokio::test]
async fn a_reset_after_the_head_takes_nothing_back() {
    let authority = Authority::new();
    let endpoint = streams(&authority, |mut respond, _| {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        // Sent after the head: a reset at once would take the head with it.
        tokio::spawn(async move {
            body.send_data(Bytes::from_static(b"begin"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            body.send_reset(Reason::INTERNAL_ERROR);
        });
    })
    .await;
    let answer = post(&authority.client(|_| {}), &url_of(&endpoint)).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"begin"[..]));
}

#[tokio::test]
async fn frames_that_are_none_are_a_protocol_failure() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&names(), &["h2"], nothing);
    let endpoint = Endpoint::new(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            // Until the client gives up.
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        }
    })
    .await;
    let failure = post(&authority.client(|_| {}), &url_of(&endpoint))
        .await
        .unwrap_err();
    assert!(
        matches!(failure, CallFailure::Protocol(_) | CallFailure::Closed(_)),
        "{failure:?}"
    );
}
