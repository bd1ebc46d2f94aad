//! A receiver of webhooks in the test's process. For every connection it finds out which process made it,
//! by the socket that the process has open.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::{IncomingStream, Listener};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::gateway::PATIENCE;
use crate::node::Processes;
use crate::proxy::now_us;

/// A POST that came.
#[derive(Debug, Clone)]
pub struct Post {
    pub at_us: u64,
    /// Which life of which node made the connection; `None` when that process was gone before it was asked.
    pub life: Option<String>,
    pub webhook: String,
    /// The event's id.
    pub event: String,
}

type Book = Arc<Mutex<Vec<Post>>>;

pub struct Receiver {
    url: String,
    /// Webhooks by the number in their path.
    names: Arc<Mutex<HashMap<u32, String>>>,
    book: Book,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Shared {
    names: Arc<Mutex<HashMap<u32, String>>>,
    book: Book,
}

/// Who made a connection.
#[derive(Debug, Clone)]
struct Caller(Option<String>);

struct Door {
    listener: TcpListener,
    addr: SocketAddr,
    processes: Processes,
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = Caller;

    async fn accept(&mut self) -> (TcpStream, Caller) {
        loop {
            if let Ok((stream, from)) = self.listener.accept().await {
                return (stream, Caller(self.caller(from)));
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Caller> {
        Ok(Caller(None))
    }
}

impl Connected<IncomingStream<'_, Door>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Door {
    fn caller(&self, from: SocketAddr) -> Option<String> {
        let socket = format!("socket:[{}]", inode(from, self.addr)?);
        let processes = self.processes.read().unwrap();
        let found = processes.iter().find(|(pid, _)| has_open(**pid, &socket));
        found.map(|(_, life)| life.clone())
    }
}

/// The socket of a connection, as the kernel numbers it. Both ends name it: a port of ours may serve other
/// connections of other processes at the same time, to other places.
fn inode(from: SocketAddr, to: SocketAddr) -> Option<String> {
    let ends = [in_table(from)?, in_table(to)?];
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1..3).is_some_and(|of| of == ends))?;
    row.get(9).map(|inode| (*inode).to_owned())
}

/// An address as the kernel's table of sockets writes it.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}

fn has_open(pid: u32, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

impl Receiver {
    pub async fn start(processes: Processes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let url = format!("http://{addr}");
        let shared = Shared {
            names: Arc::default(),
            book: Arc::default(),
        };
        let (names, book) = (Arc::clone(&shared.names), Arc::clone(&shared.book));
        let router = Router::new()
            .route("/hook/{number}", post(take))
            .with_state(shared)
            .into_make_service_with_connect_info::<Caller>();
        let mut server = JoinSet::new();
        let door = Door {
            listener,
            addr,
            processes,
        };
        server.spawn(async move { axum::serve(door, router).await.unwrap() });
        Self {
            url,
            names,
            book,
            _server: server,
        }
    }

    pub fn url(&self, number: u32) -> String {
        format!("{}/hook/{number}", self.url)
    }

    /// What is posted to this number is the webhook's.
    pub fn name(&self, number: u32, webhook: &str) {
        self.names.lock().unwrap().insert(number, webhook.to_owned());
    }

    pub fn posts(&self) -> Vec<Post> {
        self.book.lock().unwrap().clone()
    }

    /// Waits until each of these events has come to each of its webhooks, and says how many came again.
    pub async fn complete(&self, wanted: &[(String, String)]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut times: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            let posts = self.posts();
            for post in &posts {
                *times.entry((&post.webhook, &post.event)).or_default() += 1;
            }
            let has = |(webhook, event): &&(String, String)| {
                !times.contains_key(&(webhook.as_str(), event.as_str()))
            };
            let missing: Vec<_> = wanted.iter().filter(has).collect();
            if missing.is_empty() {
                return posts.len() - times.len();
            }
            assert!(
                Instant::now() < deadline,
                "{} of {} were never posted: {:?}",
                missing.len(),
                wanted.len(),
                &missing[..missing.len().min(5)]
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn take(
    State(shared): State<Shared>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(number): Path<u32>,
    body: Bytes,
) -> StatusCode {
    let at_us = now_us();
    let event: Value = serde_json::from_slice(&body).unwrap();
    let names = shared.names.lock().unwrap();
    let Some(webhook) = names.get(&number) else {
        // Its maker has not been told of it yet.
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    shared.book.lock().unwrap().push(Post {
        at_us,
        life: caller.0,
        webhook: webhook.clone(),
        event: event["id"].as_str().unwrap().to_owned(),
    });
    StatusCode::OK
}

#[tokio::test]
async fn two_connections_from_one_port_are_told_apart() {
    let listeners = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let mut from = SocketAddr::from(([127, 0, 0, 1], 0));
    let (mut streams, mut inodes) = (Vec::new(), Vec::new());
    for listener in &listeners {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(from).unwrap();
        let to = listener.local_addr().unwrap();
        streams.push(socket.connect(to).await.unwrap());
        from = streams[0].local_addr().unwrap();
        inodes.push(inode(from, to).unwrap());
    }
    for (stream, inode) in streams.iter().zip(inodes) {
        let file = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let target = std::fs::read_link(file).unwrap();
        assert_eq!(target.to_str().unwrap(), format!("socket:[{inode}]"));
    }
}
