//! Names to addresses. What comes out of here is not trusted: the connect step checks every address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::Semaphore;

/// Resolves names.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The addresses of a name, the preferred first.
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError>;
}

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);

type Answer = Result<Vec<IpAddr>, LookupError>;
type Running = Shared<BoxFuture<'static, Answer>>;

/// The operating system's resolver.
///
/// It blocks a thread per look-up and cannot be interrupted, so a name whose server hangs gets one
/// thread, however many calls wait for it, and all names together have a limit.
pub struct SystemLookup {
    permits: Arc<Semaphore>,
    running: Mutex<HashMap<String, WeakShared<BoxFuture<'static, Answer>>>>,
    running_max: usize,
}

impl SystemLookup {
    /// With at most so many look-ups at once; more wait.
    pub fn new(lookups_max: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(lookups_max)),
            running: Mutex::new(HashMap::new()),
            running_max: lookups_max,
        }
    }

    /// The look-up of this name that is under way, or a new one. Its result is for those who waited:
    /// once the last of them is gone, the next call looks up again.
    fn share(&self, name: &str) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = running.get(name).and_then(WeakShared::upgrade)
            && shared.peek().is_none()
        {
            return shared;
        }
        if running.len() > self.running_max {
            running.retain(|_, shared| shared.upgrade().is_some_and(|shared| shared.peek().is_none()));
        }
        let shared = resolve(Arc::clone(&self.permits), name.to_owned())
            .boxed()
            .shared();
        if let Some(weak) = shared.downgrade() {
            running.insert(name.to_owned(), weak);
        }
        shared
    }
}

async fn resolve(permits: Arc<Semaphore>, name: String) -> Answer {
    let permit = permits
        .acquire_owned()
        .await
        .map_err(|_| LookupError("the resolver is closed".into()))?;
    let found = tokio::task::spawn_blocking(move || {
        // Held until the thread is free, also when nobody waits any more.
        let _permit = permit;
        (name.as_str(), 0)
            .to_socket_addrs()
            .map(|addresses| addresses.map(|address| address.ip()).collect::<Vec<_>>())
    });
    match found.await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(LookupError(said(&error))),
        Err(_) => Err(LookupError("the resolver failed".into())),
    }
}

/// Without the function's name that the standard library puts before it.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.share(name).await
    }
}
