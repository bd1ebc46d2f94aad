//! Endpoints that do what they should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roost_domain::webhook::client::CallFailure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use super::endpoint::*;

/// For calls that are meant to run into their deadline.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn an_endpoint_that_hangs_times_out_and_its_neighbours_do_not_notice() {
    let hanging = Endpoint::new(|stream, _| async move {
        forever().await;
        drop(stream);
    })
    .await;
    let good = Endpoint::good().await;
    let client = Arc::new(client());
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let (client, url) = (Arc::clone(&client), hanging.url());
            tokio::spawn(async move { post_within(&client, &url, Duration::from_secs(2)).await })
        })
        .collect();
    eventually("all calls hang", || hanging.accepted() == 64).await;
    for _ in 0..20 {
        assert_eq!(post(&client, &good.url()).await.unwrap().status, 200);
    }
    for call in calls {
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure, CallFailure::Timeout("no answer within 2s".into()));
    }
}

#[tokio::test]
async fn a_head_that_drips_times_out_and_its_connection_is_closed() {
    let closed = Arc::new(AtomicU64::new(0));
    let endpoint = Endpoint::new({
        let closed = Arc::clone(&closed);
        move |mut stream, _| {
            let closed = Arc::clone(&closed);
            async move {
                read_request(&mut stream).await;
                for byte in b"HTTP/1.1 200 OK\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
                    if stream.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                closed.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let failure = post_within(&client(), &endpoint.url(), SHORT).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Timeout(_)), "{failure:?}");
    eventually("the connection is closed", || closed.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_body_that_drips_takes_nothing_back() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 201 Created\r\ncontent-length: 1000\r\n\r\nbegin";
        stream.write_all(head).await.unwrap();
        while stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let answer = post_within(&client(), &endpoint.url(), Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(answer.status, 201);
    assert!(answer.body.starts_with(b"begin"), "{:?}", answer.body);
}

#[tokio::test]
async fn a_body_that_ends_too_early_takes_nothing_back() {
    for rest in [
        "content-length: 1000\r\n\r\nshort",
        "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\nnonsense\r\n",
    ] {
        let endpoint = Endpoint::saying(format!("HTTP/1.1 200 OK\r\n{rest}")).await;
        let answer = post(&client(), &endpoint.url()).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"short"[..]), "{rest}");
    }
}

#[tokio::test]
async fn of_an_endless_body_little_is_read_and_the_connection_is_dropped() {
    for chunked in [false, true] {
        let sent = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicU64::new(0));
        let endpoint = Endpoint::new({
            let (sent, ended) = (Arc::clone(&sent), Arc::clone(&ended));
            move |stream, _| pour(stream, chunked, Arc::clone(&sent), Arc::clone(&ended))
        })
        .await;
        let client = client();
        let answer = post(&client, &endpoint.url()).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 4096));
        eventually("the connection is dropped", || ended.load(Ordering::SeqCst) == 1).await;
        // What was read, and what was on the way in the buffers of the kernel.
        let sent = sent.load(Ordering::SeqCst);
        assert!(sent < 8 << 20, "{sent} bytes were taken");
    }
}

async fn pour(mut stream: TcpStream, chunked: bool, sent: Arc<AtomicU64>, ended: Arc<AtomicU64>) {
    const GIGABYTE: u64 = 1 << 30;
    read_request(&mut stream).await;
    let framing = if chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {GIGABYTE}")
    };
    let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let data = [b'z'; 4096];
    while sent.load(Ordering::SeqCst) < GIGABYTE {
        if chunked && stream.write_all(b"1000\r\n").await.is_err() {
            break;
        }
        if stream.write_all(&data).await.is_err() {
            break;
        }
        if chunked && stream.write_all(b"\r\n").await.is_err() {
            break;
        }
        sent.fetch_add(data.len() as u64, Ordering::SeqCst);
    }
    ended.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test]
async fn a_compressed_body_stays_compressed() {
    let bomb = [0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x4b];
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    answer.extend_from_slice(&bomb);
    let endpoint = Endpoint::saying(answer).await;
    assert_eq!(&post(&client(), &endpoint.url()).await.unwrap().body[..], &bomb);
}

#[tokio::test]
async fn a_connection_that_ends_in_the_head_is_closed() {
    for part in [
        "",
        "H",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
    ] {
        let endpoint = Endpoint::saying(part).await;
        let failure = post(&client(), &endpoint.url()).await.unwrap_err();
        assert!(matches!(failure, CallFailure::Closed(_)), "{part:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_closed() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        // Unread bytes and no linger: the kernel sends a reset.
        let _ = stream.read_u8().await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let failure = post(&client(), &endpoint.url()).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Closed(_)), "{failure:?}");
}

#[tokio::test]
async fn a_reset_after_the_head_takes_nothing_back() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await
            .unwrap();
        // A reset lets the client's kernel discard what it has not handed over: let it read first.
        let _ = stream.read(&mut [0]).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let answer = post_within(&client(), &endpoint.url(), Duration::from_secs(2)).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(500));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let line = format!("HTTP/1.1 200 {}\r\n\r\n", "y".repeat(200_000));
    for answer in [
        "SSH-2.0-OpenSSH_9.7\r\n\r\n",
        "220 mail.example ESMTP\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        &many,
        &long,
        &line,
    ] {
        let endpoint = Endpoint::saying(answer).await;
        let failure = post(&client(), &endpoint.url()).await.unwrap_err();
        let start = &answer[..answer.len().min(60)];
        assert!(
            matches!(failure, CallFailure::Protocol(_)),
            "{start:?}: {failure:?}"
        );
        assert!(failure.to_string().chars().count() <= 301);
    }
}

#[tokio::test]
async fn a_greeting_before_the_request_is_a_protocol_failure_or_a_close() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        read_request(&mut stream).await;
    })
    .await;
    let failure = post(&client(), &endpoint.url()).await.unwrap_err();
    assert!(
        matches!(failure, CallFailure::Protocol(_) | CallFailure::Closed(_)),
        "{failure:?}"
    );
}

#[tokio::test]
async fn interim_answers_are_skipped_but_not_without_end() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let answer = format!(
        "{}HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
        interim.repeat(20)
    );
    let endpoint = Endpoint::saying(answer).await;
    assert_eq!(post(&client(), &endpoint.url()).await.unwrap().status, 202);

    let endless = Endpoint::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        while stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let failure = post(&client(), &endless.url()).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Protocol(_)), "{failure:?}");
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_is_an_answer() {
    let endpoint = Endpoint::new(|mut stream, _| async move {
        stream.peek(&mut [0]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        forever().await;
    })
    .await;
    assert_eq!(post(&client(), &endpoint.url()).await.unwrap().status, 413);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_connect_failure() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let failure = post(&client(), &url).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Connect(_)), "{failure:?}");
}

/// A listener whose queue is full: connections to it stay in the air. Ends with what it returns.
pub fn full_listener() -> (std::net::SocketAddr, impl Drop) {
    struct Full(
        #[allow(dead_code, reason = "held open")] (tokio::net::TcpListener, Vec<tokio::task::JoinHandle<()>>),
    );
    impl Drop for Full {
        fn drop(&mut self) {
            self.0.1.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let dial = || {
        tokio::spawn(async move {
            let _stream = TcpStream::connect(address).await;
            forever().await;
        })
    };
    (address, Full((listener, (0..16).map(|_| dial()).collect())))
}

#[tokio::test]
async fn a_connection_that_stays_in_the_air_times_out() {
    let (address, _full) = full_listener();
    let client = client();
    // Until the queue is full, a call gets its connection and then no answer.
    let mut failure = None;
    for _ in 0..50 {
        failure = post_within(&client, &format!("http://{address}/"), SHORT)
            .await
            .err();
        if failure == Some(CallFailure::Timeout("no connection within 300ms".into())) {
            return;
        }
    }
    panic!("{failure:?}");
}
