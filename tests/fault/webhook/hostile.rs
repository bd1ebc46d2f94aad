//! Endpoints that do what endpoints must not do.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How an endpoint is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vice {
    /// Takes the request and never answers.
    Hangs,
    /// Answers a byte of the head per second.
    Drips,
    /// Says 200 and sends a gigabyte.
    Floods,
    /// Closes in the middle of the head.
    ClosesMidHead,
    /// Resets the connection instead of an answer.
    Resets,
    /// Answers something that is not HTTP.
    Babbles,
    /// Has a certificate that nobody trusts.
    Impersonates,
    /// Answers 200 a moment before the time is over, every time.
    Dawdles,
}

impl Vice {
    pub const ALL: &'static [Self] = &[
        Self::Hangs,
        Self::Drips,
        Self::Floods,
        Self::ClosesMidHead,
        Self::Resets,
        Self::Babbles,
        Self::Impersonates,
        Self::Dawdles,
    ];
}

pub struct Hostile {
    pub url: String,
    /// Requests that were read.
    pub requests: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Hostile {
    /// Starts one; `slow` is how long the one that dawdles takes.
    pub async fn start(vice: Vice, slow: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if vice == Vice::Impersonates {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}/hook", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let acceptor = acceptor();
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                while connections.try_join_next().is_some() {}
                let (counter, acceptor) = (Arc::clone(&counter), acceptor.clone());
                connections.spawn(async move {
                    // Whatever the gateway does about it is its right.
                    let _ = if vice == Vice::Impersonates {
                        impersonate(stream, &acceptor, &counter).await
                    } else {
                        misbehave(stream, vice, slow, &counter).await
                    };
                });
            }
        });
        Self {
            url,
            requests,
            _server: server,
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn impersonate(stream: TcpStream, acceptor: &TlsAcceptor, requests: &AtomicUsize) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    read(&mut stream).await?;
    requests.fetch_add(1, Ordering::Relaxed);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
}

async fn misbehave(mut stream: TcpStream, vice: Vice, slow: Duration, requests: &AtomicUsize) -> Result<()> {
    loop {
        read(&mut stream).await?;
        requests.fetch_add(1, Ordering::Relaxed);
        match vice {
            Vice::Hangs | Vice::Impersonates => std::future::pending().await,
            Vice::Drips => {
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Vice::Floods => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
                    .await?;
                let block = vec![b'x'; 1 << 16];
                for _ in 0..(1 << 14) {
                    stream.write_all(&block).await?;
                }
            }
            Vice::ClosesMidHead => return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await,
            Vice::Resets => return stream.set_zero_linger(),
            Vice::Babbles => return stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await,
            Vice::Dawdles => {
                tokio::time::sleep(slow).await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await?;
            }
        }
    }
}

/// Reads until a request is there: what is posted here ends with its JSON.
async fn read(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    let mut seen = Vec::new();
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let head = seen.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| seen.len() > head + 4) && seen.ends_with(b"}") {
            return Ok(());
        }
    }
}
