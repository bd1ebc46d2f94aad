//! One node: a process, and the proxies through which alone it reaches the others.
//!
//! Each start of it is a life with a name of its own, such as `b2`: the sandbox sees it come from an address
//! of its own, and PostgreSQL is told the name with every connection.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::gateway::{Gateway, Launch, PATIENCE, Ready};
use crate::ground::Ground;
use crate::proxy::Proxy;

/// Names of nodes, in the order in which they are started.
pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The lease of every node.
pub const TTL: Duration = Duration::from_secs(4);

/// Which life each process is.
pub type Processes = Arc<RwLock<HashMap<u32, String>>>;

/// What all nodes of a cluster have in common.
#[derive(Clone)]
pub struct Common {
    pub master_key: String,
    pub cookie: String,
    /// Folder with the authority's certificate and those of all nodes.
    pub certificates: PathBuf,
    /// Of a tenant and of an operator.
    pub keys: (String, String),
    /// Further variables of every node's environment.
    pub environment: Vec<(String, String)>,
    pub processes: Processes,
}

pub struct Node {
    /// Its place in [`NAMES`].
    place: u8,
    life: u8,
    pub gateway: Gateway,
    pub to_database: Arc<Proxy>,
    pub to_sandbox: Arc<Proxy>,
    /// How others reach it.
    pub to_it: Arc<Proxy>,
    processes: Processes,
}

/// The name of a life.
pub fn life(place: u8, life: u8) -> String {
    format!("{}{life}", NAMES[usize::from(place)])
}

/// Where the sandbox sees a life come from.
fn source(place: u8, life: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 1 + place, life)
}

/// The life that the sandbox has seen.
pub fn life_at(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let std::net::IpAddr::V4(address) = address.ip() else {
        panic!("{address} is none of ours")
    };
    let [_, _, place, number] = address.octets();
    life(place - 1, number)
}

impl Node {
    /// Starts its first life and waits until it is ready.
    pub async fn start(ground: &Ground, common: &Common, place: u8) -> Self {
        let name = NAMES[usize::from(place)];
        let to_database = Proxy::start(database_address(ground)).await;
        let to_sandbox = Proxy::start_from(source(place, 1), ground.sandbox.addr()).await;
        let listen = free_port(place);
        let to_it = Proxy::start(listen).await;
        let files = ground.folder.path().join(name);
        std::fs::create_dir_all(&files).unwrap();
        let mut launch = Launch {
            files: files.clone(),
            keys: Some(common.keys.clone()),
            sandbox_url: to_sandbox.url(),
            store_url: Some(store_url(&to_database, &life(place, 1))),
            ..ground.launch(files.join("data"), &[])
        };
        let pem = |of: &str| {
            common
                .certificates
                .join(format!("{of}.pem"))
                .display()
                .to_string()
        };
        let (listen, address) = (listen.to_string(), to_it.addr().to_string());
        launch.set_all(&[
            ("ROOST__STORE__MASTER_KEY", &common.master_key),
            ("ROOST__CLUSTER__NODE", name),
            ("ROOST__CLUSTER__LISTEN", &listen),
            ("ROOST__CLUSTER__ADDRESS", &address),
            ("ROOST__CLUSTER__COOKIE", &common.cookie),
            ("ROOST__CLUSTER__AUTHORITY_FILE", &pem("authority")),
            ("ROOST__CLUSTER__CERTIFICATE_FILE", &pem(name)),
            ("ROOST__CLUSTER__KEY_FILE", &pem(name).replace(".pem", ".key")),
            ("ROOST__CLUSTER__LEASE", &format!("{}s", TTL.as_secs())),
            ("ROOST__CLUSTER__STABLE_FOR", "1s"),
            // The receiver of webhooks is on this machine.
            ("ROOST__WEBHOOKS__CLIENT__ALLOW_HTTP", "true"),
            ("ROOST__WEBHOOKS__CLIENT__ALLOWED_NETWORKS", "127.0.0.0/8"),
        ]);
        launch.environment.extend(common.environment.iter().cloned());
        let gateway = Gateway::start(launch).await;
        let node = Self {
            place,
            life: 1,
            gateway,
            to_database,
            to_sandbox,
            to_it,
            processes: Arc::clone(&common.processes),
        };
        node.enlist();
        node
    }

    fn enlist(&self) {
        let mut processes = self.processes.write().unwrap();
        processes.insert(self.gateway.pid(), self.life());
    }

    pub fn name(&self) -> &'static str {
        NAMES[usize::from(self.place)]
    }

    /// The name of its present life.
    pub fn life(&self) -> String {
        life(self.place, self.life)
    }

    pub fn ready(&self) -> Ready {
        self.gateway.ready.clone()
    }

    /// Starts it again, once it has ended.
    pub async fn restart(&mut self, ground: &Ground) {
        self.life += 1;
        self.to_sandbox = Proxy::start_from(source(self.place, self.life), ground.sandbox.addr()).await;
        let (sandbox_url, store_url) = (self.to_sandbox.url(), store_url(&self.to_database, &self.life()));
        let launch = self.gateway.launch();
        launch.sandbox_url = sandbox_url;
        launch.store_url = Some(store_url);
        self.gateway.restart().await;
        self.enlist();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.gateway.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks it to stop. It goes on until it has ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP, proven by the state of the process.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        self.until_state('T').await;
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// What the kernel says of the process, such as `T` for a stopped one.
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.pid())).unwrap();
        let (_, after) = stat.rsplit_once(") ").unwrap();
        after.chars().next().unwrap()
    }

    async fn until_state(&self, wanted: char) {
        let deadline = Instant::now() + PATIENCE;
        while self.state() != wanted {
            assert!(Instant::now() < deadline, "the process is {}", self.state());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn database_address(ground: &Ground) -> SocketAddr {
    let url = ground.database.url().unwrap();
    let (_, rest) = url.split_once('@').unwrap();
    let (address, _) = rest.split_once('/').unwrap();
    address.parse().unwrap()
}

/// The database as one life reaches it: each of its connections says which life it is.
fn store_url(proxy: &Proxy, life: &str) -> String {
    let address = proxy.addr();
    format!("postgres://roost@{address}/postgres?options=-c%20proof.life%3D{life}")
}

/// A place to listen at that nobody else on this machine takes by chance.
fn free_port(place: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 20 + place, high, low.clamp(1, 254));
    let listener = TcpListener::bind((own, 0)).unwrap();
    listener.local_addr().unwrap()
}
