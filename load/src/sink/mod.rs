//! Receivers of webhooks: a cheap HTTP/1.1 server of this tool's own, on several ports.
//!
//! Each [`Hook`] is one endpoint with a path, a [`Manner`] that can be changed while it is called, and a
//! [`Ledger`] of what it took. Dropping the [`Sink`] closes every port and connection. It shares the
//! machine with what is measured, so a request costs a few microseconds: one read, one write, no
//! allocation.

mod connection;
mod ledger;
mod signature;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Result;
pub use ledger::{Ledger, Mark};
pub use signature::key;

/// How a hook answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// 200 at once.
    Answer,
    /// Nothing, until the manner is changed or the caller gives up.
    Hold,
    /// 500 to so many of a thousand calls, at random, and 200 to the others.
    Fail(u16),
}

/// One endpoint.
#[derive(Debug)]
pub struct Hook {
    /// Where it is.
    pub url: String,
    manner: watch::Sender<Manner>,
    ledger: Mutex<Ledger>,
    /// Calls under way that are held.
    holding: AtomicUsize,
    /// Key that calls are signed with, once it is known.
    pub key: OnceLock<Vec<u8>>,
}

impl Hook {
    /// Changes how it answers, also to calls that are held.
    pub fn set_manner(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Whether it answers nothing now.
    pub fn holds(&self) -> bool {
        *self.manner.borrow() == Manner::Hold
    }

    /// What it took.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Counters: a panic of their holder cannot leave them half changed.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that wait for an answer now.
    pub fn holding(&self) -> usize {
        self.holding.load(Ordering::Relaxed)
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    hooks: RwLock<Vec<Arc<Hook>>>,
    /// What arrivals are counted from.
    epoch: Instant,
}

impl Shared {
    fn hook(&self, number: usize) -> Option<Arc<Hook>> {
        let hooks = self.hooks.read().unwrap_or_else(PoisonError::into_inner);
        hooks.get(number).cloned()
    }
}

/// Ports that answer until this is dropped.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    addrs: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Sink {
    /// Listens on so many ports of loopback.
    pub async fn start(ports: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            hooks: RwLock::default(),
            epoch: Instant::now(),
        });
        let (mut addrs, mut tasks) = (Vec::with_capacity(ports), JoinSet::new());
        for _ in 0..ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addrs.push(listener.local_addr()?);
            tasks.spawn(accept(listener, Arc::clone(&shared)));
        }
        Ok(Self {
            shared,
            addrs,
            _tasks: tasks,
        })
    }

    /// What arrivals are counted from.
    pub fn epoch(&self) -> Instant {
        self.shared.epoch
    }

    /// A new endpoint behind one of the ports, counted from 0.
    pub fn hook(&self, port: usize, manner: Manner) -> Arc<Hook> {
        let mut hooks = self.shared.hooks.write().unwrap_or_else(PoisonError::into_inner);
        let addr = self.addrs[port % self.addrs.len()];
        let hook = Arc::new(Hook {
            url: format!("http://{addr}/{}", hooks.len()),
            manner: watch::Sender::new(manner),
            ledger: Mutex::default(),
            holding: AtomicUsize::new(0),
            key: OnceLock::new(),
        });
        hooks.push(Arc::clone(&hook));
        hook
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // Out of files: the caller sees that nobody answers, and this comes round again.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A caller that goes away in the middle of a call is its own affair.
            let _ = connection::serve(stream, &shared).await;
        });
    }
}

#[cfg(test)]
mod tests;
