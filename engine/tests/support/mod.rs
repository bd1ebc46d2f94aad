//! What the tests of the engine share: link state in memory, an observer that can be waited on, and
//! the sandbox's control API.

#![allow(dead_code, reason = "each test binary uses its share")]

pub mod memory;
pub mod proxy;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use roost_domain::Timestamp;
use roost_domain::engine::{LinkEnd, LinkFact, LinkObserver, NotCommitted};
use roost_domain::message::{Inbound, InboundKey};
use roost_domain::time::{Clock, Entropy};
use tokio::sync::watch;

/// Until when a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap())
    }
}

pub struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

/// Remembers everything a link says.
pub struct Recorder {
    facts: Mutex<Vec<LinkFact>>,
    inbound: Mutex<Vec<Inbound>>,
    /// What is committed, by this link and by others.
    committed: Arc<Mutex<Vec<Inbound>>>,
    refuses: AtomicBool,
    dies: AtomicBool,
    changed: watch::Sender<()>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            facts: Mutex::default(),
            inbound: Mutex::default(),
            committed: Arc::default(),
            refuses: AtomicBool::new(false),
            dies: AtomicBool::new(false),
            changed: watch::Sender::new(()),
        }
    }
}

impl Recorder {
    /// Commits to what other links commit to as well.
    pub fn on(committed: Arc<Mutex<Vec<Inbound>>>) -> Self {
        Self {
            committed,
            ..Self::default()
        }
    }

    /// From now on nothing is committed.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }

    /// From now on what is committed is not acknowledged.
    pub fn die_after_commit(&self) {
        self.dies.store(true, Ordering::SeqCst);
    }

    pub fn facts(&self) -> Vec<LinkFact> {
        self.facts.lock().unwrap().clone()
    }

    pub fn inbound(&self) -> Vec<Inbound> {
        self.inbound.lock().unwrap().clone()
    }

    /// Waits until something can be found in the state.
    pub async fn wait<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(found) = find(self) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!(
                "waited in vain for {what}; facts: {:?}; inbound: {:?}",
                self.facts(),
                self.inbound()
            ),
        }
    }

    pub async fn fact<T>(&self, what: &str, pick: impl Fn(&LinkFact) -> Option<T>) -> T {
        self.wait(what, |recorder| {
            recorder.facts.lock().unwrap().iter().find_map(&pick)
        })
        .await
    }

    pub async fn end(&self) -> LinkEnd {
        self.fact("the end", |fact| match fact {
            LinkFact::Ended(end) => Some(end.clone()),
            _ => None,
        })
        .await
    }

    pub async fn message(&self, what: &str, pick: impl Fn(&Inbound) -> bool) -> Inbound {
        self.wait(what, |recorder| {
            recorder
                .inbound
                .lock()
                .unwrap()
                .iter()
                .find(|inbound| pick(inbound))
                .cloned()
        })
        .await
    }
}

#[async_trait]
impl LinkObserver for Recorder {
    fn fact(&self, fact: LinkFact) {
        self.facts.lock().unwrap().push(fact);
        self.changed.send_replace(());
    }

    async fn inbound(&self, batch: Vec<Inbound>) -> Result<(), NotCommitted> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(NotCommitted("the test refuses".to_owned()));
        }
        let dies = self.dies.load(Ordering::SeqCst);
        self.committed.lock().unwrap().extend(batch.iter().cloned());
        self.inbound.lock().unwrap().extend(batch);
        self.changed.send_replace(());
        if dies {
            return Err(NotCommitted(
                "the test ends between commit and acknowledgement".to_owned(),
            ));
        }
        Ok(())
    }

    async fn knows(&self, key: &InboundKey) -> Result<bool, NotCommitted> {
        let named = |one: &Inbound| {
            one.whatsapp_id == key.whatsapp_id
                && one.chat.id == key.chat.id
                && one.sender.id == key.sender.id
                && one.from_me == key.from_me
        };
        Ok(self.committed.lock().unwrap().iter().any(named))
    }
}
