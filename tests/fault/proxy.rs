//! A TCP proxy between two parties of a test: it can cut every connection and refuse new ones, or let
//! nothing through while everything stays open, as a network does that swallows packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of what passes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stay and are taken, and nothing is delivered; all of it is, once the gate opens.
    Mute,
}

/// What has passed by.
#[derive(Default)]
struct Counts {
    /// When clients sent how many bytes: microseconds of Unix time.
    sent: Mutex<Vec<(u64, usize)>>,
    held: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
}

pub struct Proxy {
    addr: SocketAddr,
    gate: watch::Sender<Gate>,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Way {
    target: SocketAddr,
    source: Ipv4Addr,
    gate: watch::Receiver<Gate>,
    counts: Arc<Counts>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Arc<Self> {
        Self::start_from(Ipv4Addr::LOCALHOST, target).await
    }

    /// One that the target sees at an address of its own, such as 127.1.2.3.
    pub async fn start_from(source: Ipv4Addr, target: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::take_over(listener, source, target)
    }

    /// One whose address was chosen before.
    pub fn take_over(listener: TcpListener, source: Ipv4Addr, target: SocketAddr) -> Arc<Self> {
        let addr = listener.local_addr().unwrap();
        let (gate, watched) = watch::channel(Gate::Open);
        let counts = Arc::new(Counts::default());
        let way = Way {
            target,
            source,
            gate: watched,
            counts: Arc::clone(&counts),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, way));
        Arc::new(Self {
            addr,
            gate,
            counts,
            _tasks: tasks,
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Cuts what is connected and drops whatever connects from now on.
    pub fn cut(&self) {
        self.gate.send_replace(Gate::Cut);
    }

    /// Holds back everything from now on, the ends of connections included.
    pub fn mute(&self) {
        self.gate.send_replace(Gate::Mute);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Bytes that clients have sent within a span of Unix time, in microseconds.
    pub fn sent_between(&self, from_us: u64, to_us: u64) -> usize {
        let sent = self.counts.sent.lock().unwrap();
        let within = sent.iter().filter(|(at, _)| (from_us..to_us).contains(at));
        within.map(|(_, bytes)| bytes).sum()
    }

    /// Bytes that were held back, and connections that were cut or refused, since the start.
    pub fn harm(&self) -> (u64, u64) {
        let Counts {
            held,
            refused,
            broken,
            ..
        } = &*self.counts;
        let ended = refused.load(Ordering::Relaxed) + broken.load(Ordering::Relaxed);
        (held.load(Ordering::Relaxed), ended)
    }
}

/// Unix time in microseconds.
pub fn now_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_micros()).unwrap()
}

async fn accept(listener: TcpListener, way: Way) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((inbound, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        if *way.gate.borrow() == Gate::Cut {
            way.counts.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            connections.spawn(relay(inbound, way.clone()));
        }
    }
}

async fn relay(inbound: TcpStream, way: Way) {
    let mut gate = way.gate.clone();
    let both = async {
        // A network that swallows everything answers to no connection either.
        if !way.opens().await {
            return;
        }
        let Ok(outbound) = connect(way.source, way.target).await else {
            return;
        };
        // Small packets are not held back in addition to what the test does.
        let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
        let (from_client, to_client) = inbound.into_split();
        let (from_target, to_target) = outbound.into_split();
        tokio::join!(
            pump(from_client, to_target, way.clone(), true),
            pump(from_target, to_client, way.clone(), false)
        );
    };
    tokio::select! {
        () = both => {}
        _ = gate.wait_for(|gate| *gate == Gate::Cut) => {
            way.counts.broken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn connect(source: Ipv4Addr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::from(source), 0).into())?;
    socket.connect(target).await
}

/// Passes on one direction until its end. What a client sends is read, and counted, also when its target
/// takes no more.
async fn pump(mut from: OwnedReadHalf, to: OwnedWriteHalf, way: Way, of_client: bool) {
    let (mut to, mut buffer) = (Some(to), vec![0; 16 << 10]);
    loop {
        let count = from.read(&mut buffer).await.unwrap_or_default();
        if of_client && count > 0 {
            way.counts.sent.lock().unwrap().push((now_us(), count));
        }
        if *way.gate.borrow() == Gate::Mute {
            way.counts.held.fetch_add(count as u64, Ordering::Relaxed);
        }
        if !way.opens().await || count == 0 {
            return;
        }
        if let Some(target) = &mut to
            && target.write_all(&buffer[..count]).await.is_err()
        {
            to = None;
        }
    }
}

impl Way {
    /// Waits while nothing may pass. `false`, when the test is over.
    async fn opens(&self) -> bool {
        let mut gate = self.gate.clone();
        gate.wait_for(|gate| *gate != Gate::Mute).await.is_ok()
    }
}
