//! What the tests post to.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::Timestamp;
use roost_domain::cluster::Lease;
use roost_domain::time::Clock;
use roost_domain::webhook::client::{CallAnswer, CallFailure, OutgoingCall, WebhookClient};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::config::{self, Layers};
use crate::webhook::{Lookup, LookupError, OutgoingClient, SystemLookup};

/// Long enough for any machine; nothing waits for it that works.
pub const AMPLE: Duration = Duration::from_secs(60);
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// 2026-11-23 12:00:00 UTC.
pub const NOW: i64 = 1_795_435_200;

pub struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(NOW)
    }
}

/// Listens on loopback and handles each connection with a function that also gets its number.
pub struct Endpoint {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub async fn new<F, O>(handle: F) -> Self
    where
        F: Fn(TcpStream, usize) -> O + Send + Sync + 'static,
        O: Future<Output = ()> + Send + 'static,
    {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), handle).await
    }

    pub async fn at<F, O>(address: SocketAddr, handle: F) -> Self
    where
        F: Fn(TcpStream, usize) -> O + Send + Sync + 'static,
        O: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpSocket::new_v4().unwrap();
        // So that what was sent but not read stays small.
        socket.set_send_buffer_size(16 * 1024).unwrap();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(stream, number));
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Reads one request per connection and writes these bytes in answer, then closes.
    pub async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::new(move |mut stream, _| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                // The client may be gone already: that is its choice.
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    /// A good one: answers every request of a connection.
    pub async fn good() -> Self {
        Self::new(|mut stream, _| async move {
            while read_request(&mut stream).await.is_some() {
                if stream.write_all(OK).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Reads a request to its end; none when the client closes first.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers look-ups from a list; the last answer stays.
pub struct TableLookup(Mutex<VecDeque<Vec<IpAddr>>>, pub AtomicUsize);

impl TableLookup {
    pub fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self(
            Mutex::new(answers.iter().map(parse).collect()),
            AtomicUsize::new(0),
        ))
    }
}

#[async_trait]
impl Lookup for TableLookup {
    async fn lookup(&self, _: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.0.lock().unwrap();
        if answers.len() > 1 {
            Ok(answers.pop_front().unwrap())
        } else {
            answers
                .front()
                .cloned()
                .ok_or_else(|| LookupError("no such name".into()))
        }
    }
}

/// As in the sandbox: HTTP and loopback are allowed.
pub fn settings() -> config::WebhookClient {
    let layers = Layers {
        sandbox: true,
        ..Layers::default()
    };
    config::load(&layers).unwrap().webhooks.client
}

pub fn client() -> OutgoingClient {
    client_with(&settings(), system())
}

pub fn system() -> Arc<SystemLookup> {
    Arc::new(SystemLookup::new(4, Duration::ZERO))
}

pub fn client_under(lease: Arc<dyn Lease>) -> OutgoingClient {
    OutgoingClient::new(&settings(), system(), Arc::new(FixedClock), Some(lease)).unwrap()
}

pub fn client_with(settings: &config::WebhookClient, lookup: Arc<dyn Lookup>) -> OutgoingClient {
    OutgoingClient::new(settings, lookup, Arc::new(FixedClock), None).unwrap()
}

pub fn call(url: &str) -> OutgoingCall {
    OutgoingCall {
        url: url.into(),
        headers: vec![("webhook-id".into(), "evt_1".into())],
        body: Bytes::from_static(b"{\"id\":\"evt_1\"}"),
        timeout: AMPLE,
    }
}

pub async fn post(client: &OutgoingClient, url: &str) -> Result<CallAnswer, CallFailure> {
    client.post(call(url)).await
}

pub async fn post_within(
    client: &OutgoingClient,
    url: &str,
    limit: Duration,
) -> Result<CallAnswer, CallFailure> {
    let call = OutgoingCall {
        timeout: limit,
        ..call(url)
    };
    client.post(call).await
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(AMPLE, wait)
        .await
        .unwrap_or_else(|_| panic!("not within {AMPLE:?}: {what}"));
}

/// Never ends.
pub fn forever() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(std::future::pending())
}
