//! Keeps what is sent from running ahead of what is stored.
//!
//! Decrypting a message can replace the key that the next message is sent under. The library counts
//! that next message as covered by what was stored before, and stores the new key a moment later. A
//! crash in between would lose the key, and no answer to that message could ever be read. So the
//! sessions are stored first: before a message is encrypted, and once more before it is written, for
//! what was decrypted meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use whatsapp_rust::{Client, SignalMaintenanceError};

use super::backend::Backend;

/// The sessions of one link.
pub(super) struct Sessions {
    backend: Arc<Backend>,
    /// Weak: a link that is over must not keep its client alive.
    client: OnceLock<Weak<Client>>,
    /// Messages between being encrypted and being written.
    sending: AtomicUsize,
    /// Whoever stores the sessions lets the others wait for it.
    turn: tokio::sync::Mutex<()>,
}

/// A message that is being sent.
pub(super) struct Sending<'a>(&'a AtomicUsize);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Sessions {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self {
            backend,
            client: OnceLock::new(),
            sending: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Tells which client keeps the sessions; said once, before anything is sent.
    pub(super) fn of(&self, client: &Arc<Client>) {
        // A second client would be a second link, which has sessions of its own.
        let _ = self.client.set(Arc::downgrade(client));
    }

    /// Stores the sessions for a message that is about to be encrypted.
    pub(super) async fn begin_send(&self) -> Result<Sending<'_>, SignalMaintenanceError> {
        self.sending.fetch_add(1, Ordering::AcqRel);
        let sending = Sending(&self.sending);
        self.settle().await?;
        Ok(sending)
    }

    /// Called before each write to the socket. Only messages have to wait: acknowledgements and
    /// receipts use no session, and a write for each of them would halve what can be received.
    pub(super) async fn before_write(&self) -> Result<(), SignalMaintenanceError> {
        if self.sending.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        self.settle().await
    }

    async fn settle(&self) -> Result<(), SignalMaintenanceError> {
        if self.backend.unsettled().is_none() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let Some(decrypted) = self.backend.unsettled() else {
            return Ok(());
        };
        // A link that is over writes nothing any more.
        if let Some(client) = self.client.get().and_then(Weak::upgrade) {
            client.flush_pending_signal_state().await?;
            self.backend.settle(decrypted);
        }
        Ok(())
    }
}
