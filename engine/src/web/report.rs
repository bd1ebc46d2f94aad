//! What a link says to its observer, in order, and how it ends.
//!
//! Every part of a link shares one [`Reporter`]. The first reason to end wins; from then on only
//! receipts and acknowledgements still pass, and after [`Reporter::finish`] nothing does: a task of
//! the library that outlives its link has nobody to talk to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use roost_domain::engine::{LinkEnd, LinkFact, LinkObserver};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The mouth of a link.
pub(super) struct Reporter {
    state: Mutex<State>,
    /// Cancelled when there is a reason to end.
    pub(super) ending: CancellationToken,
    /// Cancelled when the link is over.
    pub(super) over: CancellationToken,
    /// Notified when the library says that it is connected.
    pub(super) logged_in: Notify,
    /// Notified when a phone was paired.
    pub(super) paired: Notify,
    connected: AtomicBool,
    /// The library's own switch for reconnecting, once there is a client.
    restart: OnceLock<Arc<AtomicBool>>,
}

struct State {
    observer: Option<Arc<dyn LinkObserver>>,
    end: Option<LinkEnd>,
    /// What is known about the last connection attempt, for when nothing better is.
    trouble: Option<String>,
}

impl Reporter {
    pub(super) fn new(observer: Arc<dyn LinkObserver>) -> Self {
        Self {
            state: Mutex::new(State {
                observer: Some(observer),
                end: None,
                trouble: None,
            }),
            ending: CancellationToken::new(),
            over: CancellationToken::new(),
            logged_in: Notify::new(),
            paired: Notify::new(),
            connected: AtomicBool::new(false),
            restart: OnceLock::new(),
        }
    }

    /// Reports a fact, unless the link is ending and the fact could mislead.
    pub(super) fn fact(&self, fact: LinkFact) {
        let state = self.lock();
        let harmless = matches!(
            fact,
            LinkFact::ServerAck { .. } | LinkFact::Receipt { .. } | LinkFact::Undecryptable { .. }
        );
        if state.end.is_some() && !harmless {
            return;
        }
        if matches!(fact, LinkFact::Connected(_)) {
            self.connected.store(true, Ordering::Release);
        }
        let told = tell(&state, fact);
        drop(state);
        if !told {
            self.end(LinkEnd::Broken {
                reason: "the link's observer panicked".to_owned(),
            });
        }
    }

    /// Gives a reason to end; the first one counts.
    pub(super) fn end(&self, reason: LinkEnd) {
        let mut state = self.lock();
        state.end.get_or_insert(reason);
        drop(state);
        self.connected.store(false, Ordering::Release);
        self.ending.cancel();
    }

    /// The reason to end, once there is one.
    pub(super) fn reason(&self) -> Option<LinkEnd> {
        self.lock().end.clone()
    }

    /// Whether messages can be sent.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// The one who commits inbound messages, until the link is over.
    pub(super) fn observer(&self) -> Option<Arc<dyn LinkObserver>> {
        self.lock().observer.clone()
    }

    /// Takes the library's switch for reconnecting, and turns it off: reconnecting is the session's.
    pub(super) fn take_restart_switch(&self, switch: Arc<AtomicBool>) {
        switch.store(false, Ordering::Release);
        // Set once, when the client is built.
        let _ = self.restart.set(switch);
    }

    /// A phone was paired: WhatsApp ends the connection now and expects the device to come back
    /// once. This is the only reconnect that is left to the library.
    pub(super) fn restart_once(&self) {
        self.set_restart(true);
        self.paired.notify_one();
    }

    fn set_restart(&self, on: bool) {
        if let Some(switch) = self.restart.get() {
            switch.store(on, Ordering::Release);
        }
    }

    /// The library opens a connection.
    pub(super) fn dialling(&self) {
        self.set_restart(false);
        self.lock().trouble = Some("the server did not complete the handshake".to_owned());
    }

    /// The connection could not be opened.
    pub(super) fn not_dialled(&self, error: &str) {
        self.lock().trouble = Some(error.to_owned());
    }

    /// The library got through to the server.
    pub(super) fn reached(&self) {
        self.lock().trouble = None;
    }

    /// The best known reason for a connection that ended without one.
    pub(super) fn trouble(&self) -> String {
        self.lock()
            .trouble
            .clone()
            .unwrap_or_else(|| "the connection was closed".to_owned())
    }

    /// Says the last word. Nothing follows.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        let end = state.end.clone().unwrap_or(LinkEnd::Closed);
        tell(&state, LinkFact::Ended(end));
        state.observer = None;
        drop(state);
        self.over.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Called with the lock held, so that facts keep their order. False when the observer panicked: the
/// library's tasks would swallow that.
fn tell(state: &State, fact: LinkFact) -> bool {
    let Some(observer) = &state.observer else {
        return true;
    };
    catch_unwind(AssertUnwindSafe(|| observer.fact(fact)))
        .inspect_err(|_| tracing::error!("a link's observer panicked"))
        .is_ok()
}
