//! Small proxies: just enough SOCKS 5 and HTTP CONNECT to be gone through, and to refuse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How a proxy behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Lets everybody through.
    Open,
    /// Lets those through who know user `ann` and password `p@ss`.
    Guarded,
    /// Refuses every target.
    Refusing,
    /// Takes the connection and says nothing.
    Silent,
}

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    /// Connections that got through.
    pub tunnels: Arc<AtomicUsize>,
    /// Cancelled, it keeps its connections and carries nothing any more.
    pub frozen: CancellationToken,
}

/// What a connection knows of its proxy.
#[derive(Clone)]
struct Side {
    manner: Manner,
    tunnels: Arc<AtomicUsize>,
    frozen: CancellationToken,
}

impl Proxy {
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::SeqCst)
    }

    pub async fn socks(manner: Manner) -> Self {
        Self::start(manner, socks).await
    }

    pub async fn http(manner: Manner) -> Self {
        Self::start(manner, http).await
    }

    async fn start<F>(manner: Manner, serve: fn(TcpStream, Side) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let side = Side {
            manner,
            tunnels: Arc::default(),
            frozen: CancellationToken::new(),
        };
        let (tunnels, frozen) = (Arc::clone(&side.tunnels), side.frozen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, side.clone()));
            }
        });
        Self {
            address,
            tunnels,
            frozen,
        }
    }
}

async fn tunnel(mut stream: TcpStream, target: String, side: Side) {
    let mut far = TcpStream::connect(target).await.unwrap();
    side.tunnels.fetch_add(1, Ordering::SeqCst);
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut far) => {}
        () = side.frozen.cancelled() => std::future::pending().await,
    }
}

async fn socks(mut stream: TcpStream, side: Side) {
    let manner = side.manner;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut methods = vec![0; usize::from(head[1])];
    stream.read_exact(&mut methods).await.unwrap();
    match manner {
        Manner::Silent => return std::future::pending().await,
        Manner::Guarded if !methods.contains(&2) => return stream.write_all(&[5, 0xFF]).await.unwrap(),
        Manner::Guarded => {
            stream.write_all(&[5, 2]).await.unwrap();
            let mut lengths = [0; 2];
            stream.read_exact(&mut lengths).await.unwrap();
            let mut user = vec![0; usize::from(lengths[1])];
            stream.read_exact(&mut user).await.unwrap();
            let length = stream.read_u8().await.unwrap();
            let mut password = vec![0; usize::from(length)];
            stream.read_exact(&mut password).await.unwrap();
            let welcome = user == b"ann" && password == b"p@ss";
            stream.write_all(&[1, u8::from(!welcome)]).await.unwrap();
            if !welcome {
                return;
            }
        }
        Manner::Open | Manner::Refusing => stream.write_all(&[5, 0]).await.unwrap(),
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.unwrap();
    let host = match request[3] {
        1 => {
            let mut ip = [0; 4];
            stream.read_exact(&mut ip).await.unwrap();
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => {
            let length = stream.read_u8().await.unwrap();
            let mut name = vec![0; usize::from(length)];
            stream.read_exact(&mut name).await.unwrap();
            String::from_utf8(name).unwrap()
        }
        other => panic!("address type {other}"),
    };
    let port = stream.read_u16().await.unwrap();
    if manner == Manner::Refusing {
        return stream.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    }
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    tunnel(stream, format!("{host}:{port}"), side).await;
}

async fn http(mut stream: TcpStream, side: Side) {
    let manner = side.manner;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    // "ann:p@ss" in Base64.
    let welcome = head.contains("Basic YW5uOnBAc3M=") || head.contains("basic YW5uOnBAc3M=");
    let refusal = match manner {
        Manner::Silent => return std::future::pending().await,
        Manner::Refusing => Some("403 Forbidden"),
        Manner::Guarded if !welcome => Some("407 Proxy Authentication Required"),
        Manner::Open | Manner::Guarded => None,
    };
    if let Some(refusal) = refusal {
        return stream
            .write_all(format!("HTTP/1.1 {refusal}\r\n\r\n").as_bytes())
            .await
            .unwrap();
    }
    let target = head.split(' ').nth(1).unwrap().to_owned();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    tunnel(stream, target, side).await;
}
