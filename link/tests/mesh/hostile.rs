//! Strangers on the cluster port, and nodes that are not who they say.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use roost_link::{TlsFiles, certs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::node::{ECHO, Order};
use crate::stage::{Node, Stage, introduce, within};

/// Waits until the node has closed a connection.
async fn closed(what: &str, mut stream: impl AsyncRead + Unpin) {
    within(what, async {
        let mut buffer = [0; 4_096];
        // An error is an end as well.
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    })
    .await;
}

async fn works(a: &Node, b: &Node) {
    assert_eq!(a.call(&b.name, ECHO, "x").await, json!({"ok": "x"}));
    assert_eq!(b.call(&a.name, ECHO, "y").await, json!({"ok": "y"}));
    assert_eq!(a.view(&b.name).await["links"], 1, "the link held");
}

#[tokio::test]
async fn silent_and_slow_strangers_keep_nobody_out_and_are_closed() {
    let stage = Stage::new();
    let [a, b] = stage.linked(["a", "b"]).await;
    let silent = join_all((0..100).map(|_| TcpStream::connect(&b.address))).await;
    let mut slow = TcpStream::connect(&b.address).await.unwrap();
    let slow = tokio::spawn(async move {
        // The beginning of a TLS record that never ends.
        for byte in [0x16, 0x03, 0x01, 0x3f, 0xff].into_iter().cycle() {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    works(&a, &b).await;
    let c = stage.node("c").await;
    introduce(&[&a, &b, &c]).await;
    b.until_linked("c", 1).await;
    for stream in silent {
        closed("a silent stranger is closed", stream.unwrap()).await;
    }
    within("a slow stranger is closed", slow).await.unwrap();
    works(&a, &b).await;
}

#[tokio::test]
async fn garbage_is_closed() {
    for stage in [Stage::new(), Stage::plain()] {
        let [a, b] = stage.linked(["a", "b"]).await;
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: roost\r\n\r\n"[..],
            &[0xff; 65_536],
            &[0; 65_536],
            &[0x16, 0x03, 0x03, 0x40, 0x01, 0x01, 0x00, 0x00],
        ] {
            let mut stream = TcpStream::connect(&b.address).await.unwrap();
            // The node may close before it was all sent.
            let _ = stream.write_all(garbage).await;
            closed("garbage is closed", stream).await;
        }
        works(&a, &b).await;
    }
}

/// TLS to a node that goes by `name`, with a certificate or without.
async fn tls(
    address: &str,
    authority: &TlsFiles,
    certificate: Option<&TlsFiles>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&authority.authority).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(files) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&files.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&files.key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"roost-link/1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
}

#[derive(Serialize)]
struct Hello<'a> {
    versions: (u16, u16),
    node: &'a str,
    to: &'a str,
    incarnation: i64,
    release: &'a str,
    nonce: [u8; 32],
}

async fn say(stream: &mut TlsStream<TcpStream>, message: &[u8]) {
    stream.write_u16(message.len() as u16).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.flush().await.unwrap();
}

async fn hear(stream: &mut TlsStream<TcpStream>) -> Value {
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.unwrap();
    rmp_serde::from_slice(&message).unwrap()
}

fn hello(node: &str) -> Vec<u8> {
    let hello = Hello {
        versions: (1, 1),
        node,
        to: "b",
        incarnation: 1,
        release: "0.1.0",
        nonce: [7; 32],
    };
    rmp_serde::to_vec_named(&hello).unwrap()
}

#[tokio::test]
async fn a_certificate_of_another_node_is_refused() {
    let stage = Stage::new();
    let [a, b] = stage.linked(["a", "b"]).await;
    let of_c = certs::files(stage.folder.path(), &"c".parse().unwrap());
    let mut stream = tls(&b.address, &of_c, Some(&of_c), "b").await.unwrap();
    say(&mut stream, &hello("a")).await;
    assert_eq!(hear(&mut stream).await, json!({"Refused": "Certificate"}));
    closed("it is closed", stream).await;
    works(&a, &b).await;
}

#[tokio::test]
async fn a_node_that_cannot_prove_the_cookie_is_refused_and_learns_nothing() {
    let stage = Stage::new();
    let [a, b] = stage.linked(["a", "b"]).await;
    let of_c = certs::files(stage.folder.path(), &"c".parse().unwrap());
    let mut stream = tls(&b.address, &of_c, Some(&of_c), "b").await.unwrap();
    // It is not in the cluster either, which it is not told.
    say(&mut stream, &hello("c")).await;
    assert_eq!(hear(&mut stream).await["Hello"]["node"], "b");
    say(&mut stream, &[0; 32]).await;
    assert_eq!(hear(&mut stream).await, json!({"Refused": "Cookie"}));
    closed("it is closed", stream).await;
    works(&a, &b).await;
}

#[tokio::test]
async fn a_node_with_another_cookie_is_not_linked() {
    let stage = Stage::new();
    let [b, c] = stage.linked(["b", "c"]).await;
    let mut plan = stage.plan("a");
    plan.cookie = "another cookie than the others have".to_owned();
    let a = Node::start(plan).await;
    introduce(&[&a, &b, &c]).await;
    let view = a
        .until("b", "its cookie is refused", |view| {
            view["last_error"]
                .as_str()
                .is_some_and(|error| error.contains("cookie"))
        })
        .await;
    assert_eq!(view["connected"], false);
    assert_eq!(b.view("a").await["connected"], false);
    works(&b, &c).await;
}

#[tokio::test]
async fn certificates_of_a_stranger_or_none_are_refused() {
    let stage = Stage::new();
    let [a, b] = stage.linked(["a", "b"]).await;
    let ours = certs::files(stage.folder.path(), &"a".parse().unwrap());
    let theirs = certs::files(&stage.foreign(), &"a".parse().unwrap());
    for certificate in [None, Some(&theirs)] {
        // With TLS 1.3 a client learns of its refusal only when it reads.
        if let Ok(stream) = tls(&b.address, &ours, certificate, "b").await {
            closed("it is closed", stream).await;
        }
    }
    works(&a, &b).await;
}

#[tokio::test]
async fn a_dialer_does_not_speak_to_an_impostor() {
    let stage = Stage::new();
    let mut plan = stage.plan("b");
    plan.certs = Some(stage.foreign());
    let (a, impostor, c) = (
        stage.node("a").await,
        Node::start(plan).await,
        stage.node("c").await,
    );
    let refused = |view: &Value| {
        view["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("certificate"))
    };
    introduce(&[&a, &impostor]).await;
    a.until("b", "the authority is not known", refused).await;
    // A real node, under the name of another one.
    let peers = vec![("b".to_owned(), 1, c.address.clone())];
    a.tell(Order::Peers(vec![])).await;
    a.tell(Order::Peers(peers)).await;
    let view = a.until("b", "the name is wrong", refused).await;
    assert_eq!(view["connected"], false);
}

#[tokio::test]
async fn ten_thousand_connections_harm_nobody() {
    const WAVE: usize = 500;
    let stage = Stage::new();
    let mut plan = stage.plan("b");
    plan.strangers_max = 64;
    let (a, b) = (stage.node("a").await, Node::start(plan).await);
    introduce(&[&a, &b]).await;
    a.until_linked("b", 1).await;
    let mut held = Vec::new();
    for wave in 0..20 {
        held.clear();
        for mut stream in join_all((0..WAVE).map(|_| TcpStream::connect(&b.address)))
            .await
            .into_iter()
            .flatten()
        {
            if wave % 2 == 0 {
                let _ = stream.write_all(b"\x16\x03\x01\x02\x00").await;
            }
            held.push(stream);
        }
        assert_eq!(a.call("b", ECHO, "x").await, json!({"ok": "x"}), "wave {wave}");
    }
    assert!(held.len() > 64, "only {} connections were made", held.len());
    // The last wave is still there when a node joins from the same address.
    let c = stage.node("c").await;
    introduce(&[&a, &b, &c]).await;
    b.until_linked("c", 1).await;
    assert!(b.sockets() < 64 + 32, "{} sockets", b.sockets());
    works(&a, &b).await;
}
