use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each of `connections` connections with `answers` answers, then closes it.
async fn server(connections: usize, answers: usize) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..answers {
                let mut text = String::new();
                while !text.contains("\r\n\r\n") || (text.starts_with("POST") && !text.ends_with('}')) {
                    let mut part = [0; 4096];
                    let length = stream.read(&mut part).await.unwrap();
                    text.push_str(std::str::from_utf8(&part[..length]).unwrap());
                }
                seen.push(text);
                let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            }
        }
        seen
    });
    (addr, task)
}

#[tokio::test]
async fn a_connection_is_kept_and_carries_the_key() {
    let (addr, server) = server(1, 2).await;
    let client = Client::new(Endpoint::new(addr, Some("rst_a_b")).unwrap());
    let first = client.call(&Call::get("/healthz")).await.unwrap();
    assert_eq!((first.status, first.body.as_ref()), (202, b"{}".as_slice()));
    let post = Call::post("/v1/instances", &serde_json::json!({"name": "n"}));
    client.call(&post).await.unwrap();
    let seen = server.await.unwrap();
    assert!(seen[0].starts_with("GET /healthz HTTP/1.1\r\n"));
    assert!(seen[0].contains("authorization: Bearer rst_a_b\r\n"));
    assert!(seen[1].contains("content-type: application/json\r\n"));
    assert!(seen[1].ends_with("{\"name\":\"n\"}"));
}

#[tokio::test]
async fn a_connection_closed_by_the_server_is_opened_again() {
    let (addr, server) = server(2, 1).await;
    let client = Client::new(Endpoint::new(addr, None).unwrap());
    client.call(&Call::get("/healthz")).await.unwrap();
    let closed = async {
        while !client.idle()[0].sender.as_ref().unwrap().is_closed() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), closed).await;
    waited.expect("the close of the server is seen");
    assert_eq!(client.call(&Call::get("/healthz")).await.unwrap().status, 202);
    assert_eq!(server.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_port_without_a_listener_is_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(Endpoint::new(addr, None).unwrap());
    let error = client.call(&Call::get("/")).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error}");
}
