//! What the library reports, turned into facts.
//!
//! The library calls [`Events::handle_event`] on its own tasks: it never waits, and a panic in it
//! ends the link instead of vanishing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use roost_domain::Timestamp;
use roost_domain::engine::{LinkEnd, LinkFact};
use roost_domain::instance::PairingMethod;
use roost_domain::message::MessageStatus;
use roost_domain::time::Clock;
use whatsapp_rust::Client;
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::types::events::{
    ConnectFailure, ConnectFailureReason, Event, EventHandler, EventInterest, EventKind, LoggedOut,
    MessageBatch, PairSuccess, Receipt, ServerAck,
};
use whatsapp_rust::types::presence::ReceiptType;

use super::convert;
use super::hook::{CommitHook, is_own};
use super::report::Reporter;
use super::runtime::LinkRuntime;

/// Everything that becomes a fact. The library does not even build the others.
const KINDS: [EventKind; 20] = [
    EventKind::Connected,
    EventKind::Disconnected,
    EventKind::PairSuccess,
    EventKind::PairError,
    EventKind::LoggedOut,
    EventKind::PairingQrCode,
    EventKind::PairingCode,
    EventKind::PairingCodeRefresh,
    EventKind::PairingCodeError,
    EventKind::PairingQrCodesExhausted,
    EventKind::QrScannedWithoutMultidevice,
    EventKind::ClientOutdated,
    EventKind::Messages,
    EventKind::Receipt,
    EventKind::ServerAck,
    EventKind::UndecryptableMessage,
    EventKind::StreamReplaced,
    EventKind::TemporaryBan,
    EventKind::ConnectFailure,
    EventKind::OfflineSyncCompleted,
];

/// Listens to the client of one link.
pub(super) struct Events {
    reporter: Arc<Reporter>,
    hook: Arc<CommitHook>,
    runtime: LinkRuntime,
    clock: Arc<dyn Clock>,
    /// How to pair; `None` when the device is paired already.
    pairing: Option<PairingMethod>,
    client: OnceLock<Weak<Client>>,
    code_requested: AtomicBool,
    /// The pairing code that is shown now.
    code: Arc<Mutex<String>>,
}

impl Events {
    pub(super) fn new(
        reporter: Arc<Reporter>,
        hook: Arc<CommitHook>,
        runtime: LinkRuntime,
        clock: Arc<dyn Clock>,
        pairing: Option<PairingMethod>,
    ) -> Self {
        Self {
            reporter,
            hook,
            runtime,
            clock,
            pairing,
            client: OnceLock::new(),
            code_requested: AtomicBool::new(false),
            code: Arc::default(),
        }
    }

    /// Listens to this client from now on. It must not have been started.
    pub(super) fn attach(self: &Arc<Self>, client: &Arc<Client>) {
        // Weak: the client owns its listeners.
        let _ = self.client.set(Arc::downgrade(client));
        client
            .subscribe(EventInterest::of(&KINDS), Arc::clone(self) as _)
            .detach();
    }

    fn client(&self) -> Option<Arc<Client>> {
        self.client.get()?.upgrade()
    }

    fn take(&self, event: &Event) {
        match event {
            Event::Connected(_) => self.logged_in(),
            // The library first wants the account's name, and asks for it for many seconds when none
            // comes. A device that was connected before can do its work without.
            Event::OfflineSyncCompleted(_) if self.pairing.is_none() => self.logged_in(),
            Event::PairingQrCode(qr) => {
                self.reporter.reached();
                self.pairing_possible(&qr.code, qr.timeout);
            }
            Event::PairingCode(code) => self.pairing_code(&code.code, code.timeout),
            Event::PairingCodeRefresh(_) => self.request_code(),
            Event::PairSuccess(success) => self.pair_success(success),
            Event::Messages(batch) => self.messages(batch),
            Event::Receipt(receipt) => self.receipt(receipt),
            Event::ServerAck(ack) => self.server_ack(ack),
            Event::UndecryptableMessage(message) => self.reporter.fact(LinkFact::Undecryptable {
                whatsapp_id: message.info.id.clone(),
            }),
            event => {
                if let Some(end) = end_of(event) {
                    self.reporter.end(end);
                }
            }
        }
    }

    fn logged_in(&self) {
        self.reporter.reached();
        self.reporter.logged_in.notify_one();
    }

    /// The server is ready to pair, and this is what to scan.
    fn pairing_possible(&self, code: &str, valid_for: Duration) {
        match &self.pairing {
            Some(PairingMethod::Qr) => self.reporter.fact(LinkFact::Qr {
                code: code.to_owned(),
                valid_for,
            }),
            Some(PairingMethod::Code { .. }) if !self.code_requested.swap(true, Ordering::AcqRel) => {
                self.request_code();
            }
            // Once is enough; and to a paired device the library never says so.
            Some(PairingMethod::Code { .. }) | None => {}
        }
    }

    fn request_code(&self) {
        let Some(PairingMethod::Code { phone_number }) = &self.pairing else {
            return;
        };
        let Some(client) = self.client() else { return };
        let options = PairCodeOptions {
            phone_number: phone_number.digits().to_owned(),
            ..PairCodeOptions::default()
        };
        self.runtime.detach(async move {
            client.cancel_pair_code().await;
            // Both outcomes come as events too.
            let _ = client.pair_with_code(options).await;
        });
    }

    fn pairing_code(&self, code: &str, valid_for: Duration) {
        self.reporter.fact(LinkFact::PairingCode {
            code: code.replace('-', ""),
            valid_for,
        });
        let Some(client) = self.client() else { return };
        let (reporter, current) = (Arc::clone(&self.reporter), Arc::clone(&self.code));
        let code = code.to_owned();
        code.clone_into(&mut lock(&current));
        self.runtime.detach(async move {
            tokio::time::sleep(valid_for).await;
            if client.pn().is_none() && *lock(&current) == code {
                reporter.end(LinkEnd::PairingTimedOut);
            }
        });
    }

    fn pair_success(&self, success: &PairSuccess) {
        self.reporter.restart_once();
        let account = convert::account(Some(&success.id), Some(&success.lid), &success.business_name);
        match account {
            Some(account) => self.reporter.fact(LinkFact::Paired(account)),
            None => self.reporter.end(LinkEnd::PairingFailed {
                reason: "WhatsApp named no account".to_owned(),
            }),
        }
    }

    /// Nearly all messages come through the hook, and are committed when this is called. What the
    /// phone sends again on request comes only here.
    fn messages(&self, batch: &MessageBatch) {
        if batch.hook_committed {
            return;
        }
        let resent: Vec<_> = batch
            .messages
            .iter()
            .filter(|item| item.info.unavailable_request_id.is_some())
            .cloned()
            .collect();
        let Some(client) = self.client() else { return };
        if resent.is_empty() {
            return;
        }
        let hook = Arc::clone(&self.hook);
        self.runtime.detach(async move {
            // A failure has ended the link already.
            let _ = hook.commit(&client, &resent).await;
        });
    }

    fn receipt(&self, receipt: &Receipt) {
        let (status, inbound) = match receipt.r#type {
            ReceiptType::Delivered | ReceiptType::Inactive => (MessageStatus::Delivered, false),
            ReceiptType::Read | ReceiptType::Played => (MessageStatus::Read, false),
            ReceiptType::ReadSelf | ReceiptType::PlayedSelf => (MessageStatus::Read, true),
            _ => return,
        };
        // Another device of the account has read or has received: only reading inbound ones counts. The
        // library does not mark these receipts; they come from the account's own address.
        let own = self
            .client()
            .is_some_and(|client| is_own(&client, &receipt.source.sender));
        if own && status != MessageStatus::Read {
            return;
        }
        self.reporter.fact(LinkFact::Receipt {
            whatsapp_ids: receipt.message_ids.clone(),
            status,
            inbound: inbound || own,
            at: Timestamp::from_unix_seconds(receipt.timestamp.timestamp()),
        });
    }

    fn server_ack(&self, ack: &ServerAck) {
        if ack.class.as_deref() != Some("message") {
            return;
        }
        let error = ack
            .error
            .as_deref()
            .map(|number| number.parse().unwrap_or(UNKNOWN_ERROR));
        self.reporter.fact(LinkFact::ServerAck {
            whatsapp_id: ack.id.clone(),
            error,
            at: match ack.timestamp {
                Some(at) => Timestamp::from_unix_seconds(at.timestamp()),
                None => self.clock.now(),
            },
        });
    }
}

fn lock(code: &Mutex<String>) -> MutexGuard<'_, String> {
    code.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands for an error of WhatsApp that is no number.
const UNKNOWN_ERROR: u16 = 500;

impl EventHandler for Events {
    fn handle_event(&self, event: Arc<Event>) {
        if catch_unwind(AssertUnwindSafe(|| self.take(&event))).is_err() {
            self.reporter.end(LinkEnd::Broken {
                reason: "an event of the WhatsApp library could not be handled".to_owned(),
            });
        }
    }
}

/// Why the link is over, when the event says that it is.
fn end_of(event: &Event) -> Option<LinkEnd> {
    Some(match event {
        Event::PairError(error) => LinkEnd::PairingFailed {
            reason: error.error.clone(),
        },
        Event::PairingCodeError(error) => LinkEnd::PairingFailed {
            reason: error.error.clone(),
        },
        Event::PairingQrCodesExhausted(codes) if codes.disconnected => LinkEnd::PairingTimedOut,
        Event::QrScannedWithoutMultidevice(_) => LinkEnd::PairingFailed {
            reason: "the phone's WhatsApp is too old for linked devices".to_owned(),
        },
        Event::LoggedOut(out) => logged_out(out),
        Event::StreamReplaced(_) => LinkEnd::Replaced,
        Event::TemporaryBan(ban) => LinkEnd::Banned {
            reason: ban.message.clone().unwrap_or_else(|| ban.code.to_string()),
            lasts: ban.expire.to_std().ok(),
        },
        Event::ClientOutdated(_) => LinkEnd::Outdated,
        Event::ConnectFailure(failure) => refused(failure),
        Event::Disconnected(lost) => LinkEnd::Lost {
            reason: lost.reason.to_string(),
        },
        _ => return None,
    })
}

fn logged_out(out: &LoggedOut) -> LinkEnd {
    let text = out
        .logout_message
        .as_ref()
        .and_then(|message| message.header.clone().or(message.subtext.clone()));
    if out.reason == ConnectFailureReason::AccountLocked {
        return LinkEnd::Banned {
            reason: text.unwrap_or_else(|| "WhatsApp has locked the account".to_owned()),
            lasts: None,
        };
    }
    let default = if out.on_connect {
        "WhatsApp no longer knows this device"
    } else {
        "the device was unlinked"
    };
    LinkEnd::LoggedOut {
        reason: text.unwrap_or_else(|| default.to_owned()),
    }
}

fn refused(failure: &ConnectFailure) -> LinkEnd {
    let reason = format!(
        "WhatsApp refused the login: {:?}{}",
        failure.reason,
        failure
            .message
            .as_deref()
            .map(|message| format!(", {message}"))
            .unwrap_or_default()
    );
    match failure.reason {
        ConnectFailureReason::TempBanned => LinkEnd::Banned { reason, lasts: None },
        ConnectFailureReason::BadUserAgent => LinkEnd::Outdated,
        ConnectFailureReason::CatExpired
        | ConnectFailureReason::CatInvalid
        | ConnectFailureReason::ClientUnknown => LinkEnd::LoggedOut { reason },
        _ => LinkEnd::Lost { reason },
    }
}
