//! The virtual phone: device 0 of every account, a real Signal endpoint.
//!
//! Companions' stanzas reach it through a bounded inbox, which one task at a time works off; the
//! control API sends through it directly. Its state is locked only while it computes: bundles of
//! other devices are fetched before, copies are routed after, so two phones never wait for each
//! other. All of it is plain data that a restart could continue from; nothing is stored yet.

mod content;
mod receive;
mod record;
mod send;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub use content::Content;
pub(super) use content::Outgoing;
pub use record::{Direction, Kind, Recorded};
use record::{Memory, Notebook};
pub(super) use send::{mark_read, send};

use super::account::Account;
use super::config::SandboxConfig;
use super::service::Service;
use super::stanza::message::Sender;
use super::sync::lock;
use crate::signal::{Bundle, KeyPair, Phone};
use crate::wire::node::Node;

/// Stanzas a phone handles before it lets other tasks run.
const JOBS_PER_TURN: usize = 16;

pub(super) struct VirtualPhone {
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    inbox_max: usize,
    inbox_bytes_max: usize,
    echo: AtomicBool,
    app_state_key: AppStateKey,
}

struct State {
    signal: Phone,
    /// What it decrypted.
    notebook: Notebook,
    /// What it sent, to answer requests for a resend.
    sent: Memory<send::Sent>,
    /// How often it asked for a resend.
    retries: Memory<u32>,
}

#[derive(Default)]
struct Inbox {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// A task is working it off.
    running: bool,
}

enum Job {
    Message { sender: Sender, node: Node },
    Retry { reader: Sender, node: Node },
    Bootstrap { device: u16 },
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Self::Message { node, .. } | Self::Retry { node, .. } => node.weight(),
            Self::Bootstrap { .. } => 0,
        }
    }
}

/// The key companions encrypt app state with.
struct AppStateKey {
    id: [u8; 6],
    key: [u8; 32],
}

impl VirtualPhone {
    pub(super) fn generate(config: &SandboxConfig, echo: bool) -> Self {
        let state = State {
            signal: Phone::generate(),
            notebook: Notebook::new(config.phone_messages_max),
            sent: Memory::new(config.phone_messages_max),
            retries: Memory::new(config.phone_messages_max),
        };
        let epoch = rand::random_range(1..u32::MAX / 2);
        let mut id = [0; 6];
        id[2..].copy_from_slice(&epoch.to_be_bytes());
        Self {
            state: Mutex::new(state),
            inbox: Mutex::default(),
            inbox_max: config.phone_inbox_max,
            inbox_bytes_max: config.phone_inbox_bytes_max,
            echo: AtomicBool::new(echo),
            app_state_key: AppStateKey {
                id,
                key: rand::random(),
            },
        }
    }

    pub(super) fn identity(&self) -> KeyPair {
        lock(&self.state).signal.identity().clone()
    }

    pub(super) fn fresh_bundle(&self) -> Bundle {
        lock(&self.state).signal.fresh_bundle()
    }

    pub(super) fn echoes(&self) -> bool {
        self.echo.load(Ordering::Relaxed)
    }

    pub(super) fn set_echo(&self, enabled: bool) {
        self.echo.store(enabled, Ordering::Relaxed);
    }

    pub(super) fn inbox_is_full(&self) -> bool {
        let inbox = lock(&self.inbox);
        inbox.jobs.len() >= self.inbox_max || inbox.bytes >= self.inbox_bytes_max
    }

    /// Decrypted messages after the first `skip`, oldest first.
    pub(super) fn messages(&self, skip: u64, limit: usize) -> Vec<Recorded> {
        lock(&self.state).notebook.read(skip, limit)
    }
}

/// Puts a message into the phone's inbox.
pub(super) fn deliver(service: &Arc<Service>, account: &Arc<Account>, sender: Sender, node: Node) {
    post(service, account, Job::Message { sender, node });
}

/// Puts a request for a resend into the phone's inbox.
pub(super) fn deliver_retry(service: &Arc<Service>, account: &Arc<Account>, reader: Sender, node: Node) {
    post(service, account, Job::Retry { reader, node });
}

/// Has the phone send a new companion what it needs to work.
pub(super) fn bootstrap(service: &Arc<Service>, account: &Arc<Account>, device: u16) {
    post(service, account, Job::Bootstrap { device });
}

fn post(service: &Arc<Service>, account: &Arc<Account>, job: Job) {
    if account.phone.inbox_is_full() {
        service.counters.dropped.one();
        return;
    }
    let mut inbox = lock(&account.phone.inbox);
    inbox.bytes += job.weight();
    inbox.jobs.push_back(job);
    if std::mem::replace(&mut inbox.running, true) {
        return;
    }
    drop(inbox);
    let (worker, account) = (service.clone(), account.clone());
    service.tasks.spawn(async move {
        while work(&worker, &account) {
            tokio::task::yield_now().await;
        }
    });
}

/// Works off a few jobs. Returns whether there may be more.
fn work(service: &Arc<Service>, account: &Arc<Account>) -> bool {
    for _ in 0..JOBS_PER_TURN {
        let job = {
            let mut inbox = lock(&account.phone.inbox);
            let Some(job) = inbox.jobs.pop_front() else {
                inbox.running = false;
                return false;
            };
            inbox.bytes -= job.weight();
            job
        };
        match job {
            Job::Message { sender, node } => receive::message(service, account, &sender, &node),
            Job::Retry { reader, node } => send::resend(service, account, &reader, &node),
            Job::Bootstrap { device } => send::bootstrap(service, account, device),
        }
    }
    true
}
