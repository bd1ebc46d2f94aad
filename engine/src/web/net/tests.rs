use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest};

use super::*;
use crate::web::tenure::Tenure;

#[path = "../../../tests/support/proxy.rs"]
#[allow(dead_code, reason = "links use more of it")]
mod support;

mod frame;

use support::{Manner, Proxy as TestProxy};

const TIMEOUT: Duration = Duration::from_millis(500);

#[test]
fn an_endpoint_is_a_websocket_address() {
    let endpoint = Endpoint::parse("ws://127.0.0.1:7000/ws/chat").unwrap();
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("127.0.0.1", 7000));
    assert_eq!(Endpoint::parse("wss://localhost/ws/chat").unwrap().port, 443);
    assert!(Endpoint::parse("ws://[::1]:1/").is_ok());
    for text in [
        "",
        "localhost",
        "http://localhost",
        "ws://",
        "ws://user:secret@localhost/",
    ] {
        assert!(
            matches!(Endpoint::parse(text), Err(EndpointError::Form(_))),
            "{text}"
        );
    }
}

#[test]
fn only_a_sandbox_build_is_confined_to_loopback() {
    let far = [
        "wss://web.whatsapp.com/ws/chat",
        "ws://192.0.2.1/",
        "ws://localhost.example.org/",
        "ws://0.0.0.0/",
    ];
    for text in far {
        let parsed = Endpoint::parse(text);
        if cfg!(feature = "sandbox") {
            assert!(matches!(parsed, Err(EndpointError::NotLoopback(_))), "{text}");
        } else {
            assert!(parsed.is_ok(), "{text}");
        }
    }
}

#[test]
fn a_proxy_is_parsed_with_its_credentials_and_never_shows_them() {
    let proxy = Proxy::parse("socks5://ann:p%40ss@127.0.0.1:9050").unwrap();
    assert_eq!(proxy.credentials, Some(("ann".to_owned(), "p@ss".to_owned())));
    assert_eq!((proxy.host.as_str(), proxy.port), ("127.0.0.1", 9050));
    assert!(!format!("{proxy:?}").contains("ann"));
    assert_eq!(Proxy::parse("socks5://proxy.example").unwrap().port, 1080);
    assert_eq!(Proxy::parse("http://proxy.example").unwrap().port, 80);
    for text in [
        "",
        "proxy",
        "https://p",
        "socks4://p",
        "http://p/x",
        "http://p?x",
        "socks5://:secret@p",
    ] {
        let error = Proxy::parse(text).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
    let long = format!("socks5://{}@p", "u".repeat(256));
    assert!(Proxy::parse(&long).is_err());
}

/// Answers every byte with itself.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn dial(proxy: Option<String>, to: std::net::SocketAddr) -> Result<TcpStream, String> {
    let dialer = Dialer {
        proxy: proxy.map(|text| Proxy::parse(&text).unwrap()),
        timeout: TIMEOUT,
    };
    dialer
        .dial(&to.ip().to_string(), to.port())
        .await
        .map_err(|error| error.to_string())
}

async fn assert_echoes(mut stream: TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn connections_go_directly_or_through_the_proxy() {
    let far = echo().await;
    assert_echoes(dial(None, far).await.unwrap()).await;
    for (manner, credentials) in [(Manner::Open, ""), (Manner::Guarded, "ann:p%40ss@")] {
        let socks = TestProxy::socks(manner).await;
        assert_echoes(
            dial(Some(format!("socks5://{credentials}{}", socks.address)), far)
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(socks.tunnels(), 1);
        let http = TestProxy::http(manner).await;
        assert_echoes(
            dial(Some(format!("http://{credentials}{}", http.address)), far)
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(http.tunnels(), 1);
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_hangs_is_an_error() {
    let far = echo().await;
    for manner in [Manner::Refusing, Manner::Guarded, Manner::Silent] {
        let socks = TestProxy::socks(manner).await;
        let error = dial(Some(format!("socks5://ann:wrong@{}", socks.address)), far)
            .await
            .unwrap_err();
        assert!(!error.contains("wrong"), "{error}");
        let http = TestProxy::http(manner).await;
        assert!(dial(Some(format!("http://{}", http.address)), far).await.is_err());
        assert_eq!((socks.tunnels(), http.tunnels()), (0, 0));
    }
}

/// Serves one canned answer per connection.
async fn serve(answer: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

fn http_client(proxy: Option<Proxy>, extra_roots: &str) -> LinkHttp {
    let limits = HttpLimits {
        connect_timeout: TIMEOUT,
        read_timeout: TIMEOUT,
        total_timeout: TIMEOUT * 4,
        body_bytes_max: 10,
    };
    LinkHttp::new(
        Arc::new(SharedHttp::new(limits, client_config(extra_roots).unwrap())),
        Tenure::default(),
        proxy,
    )
}

#[tokio::test]
async fn every_completed_exchange_is_ok_whatever_its_status() {
    for (status, answer) in [
        (200, &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"[..]),
        (302, b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"),
        (403, b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"),
        (500, b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"),
    ] {
        let url = format!("http://{}/media?a=1", serve(answer).await);
        let got = http_client(None, "").execute(HttpRequest::get(url)).await.unwrap();
        assert_eq!((got.status_code, got.body.as_slice()), (status, &b"hi"[..]));
    }
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let long = [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n12345678901"[..],
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345678901",
    ];
    for answer in long {
        let url = format!("http://{}/", serve(answer).await);
        assert!(
            http_client(None, "")
                .execute(HttpRequest::get(url))
                .await
                .is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_can_be_read_as_a_stream_up_to_the_limit() {
    for (answer, whole) in [
        (
            &b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n1234567890"[..],
            true,
        ),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345678901", false),
    ] {
        let url = format!("http://{}/", serve(answer).await);
        let client = http_client(None, "");
        let read = tokio::task::spawn_blocking(move || {
            let mut response = client.execute_streaming(HttpRequest::get(url)).unwrap();
            let mut body = String::new();
            response.body.read_to_string(&mut body).map(|_| body)
        });
        assert_eq!(read.await.unwrap().is_ok(), whole);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    assert!(
        http_client(None, "")
            .execute(HttpRequest::get(url))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn http_goes_through_the_proxy_too() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let url = format!("http://{}/", serve(answer).await);
    let socks = TestProxy::socks(Manner::Guarded).await;
    let proxy = Proxy::parse(&format!("socks5://ann:p%40ss@{}", socks.address)).unwrap();
    assert_eq!(
        http_client(Some(proxy), "")
            .execute(HttpRequest::get(&url))
            .await
            .unwrap()
            .body,
        b"hi"
    );
    assert_eq!(socks.tunnels(), 1);
    let refusing = TestProxy::socks(Manner::Refusing).await;
    let proxy = Proxy::parse(&format!("socks5://{}", refusing.address)).unwrap();
    assert!(
        http_client(Some(proxy), "")
            .execute(HttpRequest::get(&url))
            .await
            .is_err()
    );
}

#[cfg(feature = "sandbox")]
#[tokio::test]
async fn a_sandbox_build_fetches_media_from_loopback_only() {
    let error = http_client(None, "")
        .execute(HttpRequest::get("https://mmg.whatsapp.net/x"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
}

/// A TLS server for `localhost`, and the certificate in PEM that it shows.
fn localhost() -> (tokio_rustls::TlsAcceptor, String) {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let server =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
    (
        tokio_rustls::TlsAcceptor::from(Arc::new(server)),
        signed.cert.pem(),
    )
}

#[tokio::test]
async fn extra_roots_are_trusted_and_nothing_else_is() {
    let (acceptor, root) = localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    let url = format!("https://localhost:{port}/");
    assert!(
        http_client(None, "")
            .execute(HttpRequest::get(&url))
            .await
            .is_err()
    );
    let trusting = http_client(None, &root);
    assert_eq!(
        trusting.execute(HttpRequest::get(&url)).await.unwrap().body,
        b"hi"
    );
    assert!(matches!(
        client_config("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        Err(TlsError::Roots(_))
    ));
}
