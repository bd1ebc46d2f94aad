//! Names to addresses. What comes out of here is not trusted: the connect step checks every address,
//! also one that is remembered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Names whose addresses are remembered.
const KNOWN_MAX: usize = 4096;
/// How old an answer may be that is used while no look-up is free.
const STALE_MAX: Duration = Duration::from_secs(300);

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
type Resolver = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The operating system's resolver.
///
/// It blocks a thread per look-up and cannot be interrupted, so a name whose server hangs gets one
/// thread, however many calls wait for it, and all names together have a limit. When hanging names use
/// it up, the others are served from what is known of them.
#[derive(Clone)]
pub struct SystemLookup(Arc<Inner>);

struct Inner {
    resolver: Box<Resolver>,
    permits: Arc<Semaphore>,
    lookups_max: usize,
    ttl: Duration,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    running: HashMap<String, WeakShared<BoxFuture<'static, Answer>>>,
    known: HashMap<String, (Instant, Vec<IpAddr>)>,
}

impl SystemLookup {
    /// With at most so many look-ups at once, and answers that are good for so long.
    pub fn new(lookups_max: usize, ttl: Duration) -> Self {
        Self::with(lookups_max, ttl, |name| {
            let addresses = (name, 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }

    /// With another resolver, which may block.
    pub(super) fn with(
        lookups_max: usize,
        ttl: Duration,
        resolver: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            resolver: Box::new(resolver),
            permits: Arc::new(Semaphore::new(lookups_max)),
            lookups_max,
            ttl,
            names: Mutex::default(),
        }))
    }

    /// The look-up of this name that is under way, or a new one.
    fn share(&self, name: &str) -> Shared<BoxFuture<'static, Answer>> {
        let under_way = |weak: &WeakShared<_>| weak.upgrade().filter(|shared| shared.peek().is_none());
        let mut names = self.0.names();
        if let Some(shared) = names.running.get(name).and_then(under_way) {
            return shared;
        }
        if names.running.len() > 2 * self.0.lookups_max {
            names.running.retain(|_, weak| under_way(weak).is_some());
        }
        let shared = Arc::clone(&self.0).resolve(name.to_owned()).boxed().shared();
        if let Some(weak) = shared.downgrade() {
            names.running.insert(name.to_owned(), weak);
        }
        shared
    }
}

impl Inner {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str, age_max: Duration) -> Option<Vec<IpAddr>> {
        let names = self.names();
        let (since, addresses) = names.known.get(name)?;
        (since.elapsed() < age_max).then(|| addresses.clone())
    }

    fn remember(&self, name: String, addresses: Vec<IpAddr>) {
        let mut names = self.names();
        if names.known.len() >= KNOWN_MAX {
            names.known.retain(|_, (since, _)| since.elapsed() < self.ttl);
        }
        if names.known.len() < KNOWN_MAX {
            names.known.insert(name, (Instant::now(), addresses));
        }
    }

    async fn resolve(self: Arc<Self>, name: String) -> Answer {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if let Some(addresses) = self.known(&name, STALE_MAX) {
                    return Ok(addresses);
                }
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                permit.map_err(|_| LookupError("the resolver is closed".into()))?
            }
        };
        let found = tokio::task::spawn_blocking(move || {
            // Held until the thread is free, also when nobody waits any more.
            let _permit = permit;
            let addresses = (self.resolver)(&name).map_err(|error| LookupError(said(&error)))?;
            self.remember(name, addresses.clone());
            Ok(addresses)
        });
        found
            .await
            .unwrap_or_else(|_| Err(LookupError("the resolver failed".into())))
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
        match self.0.known(name, self.0.ttl) {
            Some(addresses) => Ok(addresses),
            None => self.share(name).await,
        }
    }
}
