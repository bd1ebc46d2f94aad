//! The engine port: a way to speak WhatsApp.
//!
//! An [`Engine`] opens [`Link`]s, one live connection each. The session actor owns its link, decides
//! when to open and close one, and learns everything through a [`LinkObserver`]. No type of a
//! WhatsApp library crosses this port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::instance::{Account, PairingMethod};
use crate::message::{Content, Inbound, InboundKey, MessageStatus, Quoted};
use crate::{Address, Owner, Timestamp};

/// What to connect, and as whom.
#[derive(Debug, Clone)]
pub struct LinkSpec {
    /// Instance and epoch: everything the link stores is written under these.
    pub owner: Owner,
    /// Proxy to go through: `socks5://[user:password@]host:port` or `http://…`; without one the link
    /// goes direct, with one it never does.
    pub proxy: Option<String>,
    /// How to pair when the stored state holds no pairing yet. Without it such a link fails with
    /// [`LinkEnd::NotPaired`].
    pub pairing: Option<PairingMethod>,
}

/// Why a link could not be opened at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The proxy's address is not one.
    #[error("the proxy address is malformed: {0}")]
    Proxy(String),
    /// This build may not speak to that endpoint.
    #[error("{0}")]
    Endpoint(String),
    /// The stored state cannot be read.
    #[error("the stored session state is not readable: {0}")]
    State(String),
    /// The database does not answer.
    #[error("the session state is unavailable: {0}")]
    Unavailable(String),
}

/// Opens links.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Opens a link. Returns as soon as it is being dialled: how it fares comes to the observer, and
    /// the last thing it says is [`LinkFact::Ended`].
    async fn open(&self, spec: LinkSpec, observer: Arc<dyn LinkObserver>)
    -> Result<Arc<dyn Link>, OpenError>;
}

/// One live connection to WhatsApp.
#[async_trait]
pub trait Link: Send + Sync {
    /// Encrypts and writes a message. `Ok` means that it is on the wire; that WhatsApp's server has
    /// it is [`LinkFact::ServerAck`]. The same `whatsapp_id` may be sent again.
    async fn send(&self, message: &Outgoing) -> Result<(), SendError>;

    /// Shows a chat whether somebody types in it. Best effort: nobody acknowledges it.
    async fn typing(&self, chat: &Address, typing: Typing) -> Result<(), SendError>;

    /// Tells the sender that messages were read. All are of one chat and one sender.
    async fn mark_read(&self, read: &ReadReceipt) -> Result<(), SendError>;

    /// Ends the pairing on WhatsApp's side. The link ends with [`LinkEnd::LoggedOut`].
    async fn logout(&self) -> Result<(), SendError>;

    /// Closes the link and waits until nothing of it runs any more, at most 30 s. Can be called more
    /// than once.
    async fn close(&self);

    /// Counters of this link.
    fn stats(&self) -> LinkStats;
}

/// Counters of a link since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Bytes received from WhatsApp.
    pub received_bytes: u64,
    /// Bytes sent to WhatsApp.
    pub sent_bytes: u64,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Id on WhatsApp.
    pub whatsapp_id: String,
    /// The recipient.
    pub to: Address,
    /// What it says.
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<Quoted>,
}

/// What a chat is shown of its other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// Somebody types. Phones show it for some seconds, or until the message is there.
    Composing,
    /// Nobody types any more.
    Paused,
}

/// Messages that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReceipt {
    /// Their chat.
    pub chat: Address,
    /// Who wrote them, when the chat is a group.
    pub sender: Option<Address>,
    /// Their ids on WhatsApp.
    pub whatsapp_ids: Vec<String>,
}

/// Why something could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is not connected, or was lost meanwhile: worth trying again on the next one.
    #[error("the link is not connected")]
    NotConnected,
    /// It took too long or the database failed: worth trying again.
    #[error("could not send now: {0}")]
    Transient(String),
    /// The recipient is not on WhatsApp.
    #[error("the recipient is not on WhatsApp")]
    RecipientNotOnWhatsapp,
    /// WhatsApp's server refused it with this number.
    #[error("WhatsApp refused it with {0}")]
    Rejected(u16),
    /// It can never be sent.
    #[error("{0}")]
    Permanent(String),
}

/// Takes what a link says. Implemented by the session actor's shell; a new observer is made for each
/// link, so that facts of an old link can be told from those of its successor.
#[async_trait]
pub trait LinkObserver: Send + Sync {
    /// Takes a fact. Never blocks; called on the link's own tasks.
    fn fact(&self, fact: LinkFact);

    /// Commits inbound messages to the log, all or none. The link tells WhatsApp that we have them
    /// only after `Ok`. Idempotent on `(chat, sender, whatsapp_id)`. Retries by itself while the
    /// database is away; `Err` means that this link is over.
    async fn inbound(&self, batch: Vec<Inbound>) -> Result<(), NotCommitted>;

    /// Whether an inbound fact was committed, by this link or an earlier one. Retries as
    /// [`LinkObserver::inbound`] does; without an answer nothing may be acknowledged either.
    async fn knows(&self, key: &InboundKey) -> Result<bool, NotCommitted>;
}

/// Inbound messages could not be committed, and must not be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("inbound messages could not be committed: {0}")]
pub struct NotCommitted(pub String);

/// What a link reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkFact {
    /// A QR code to show, and for how long it can be scanned.
    Qr {
        /// Text of the code.
        code: String,
        /// For how long.
        valid_for: Duration,
    },
    /// A pairing code to show, and for how long it can be entered.
    PairingCode {
        /// The code, eight characters without a hyphen.
        code: String,
        /// For how long.
        valid_for: Duration,
    },
    /// A phone was paired; the link reconnects by itself once as WhatsApp asks for.
    Paired(Account),
    /// Connected, and proven by a round trip.
    Connected(Account),
    /// WhatsApp's server has a message, or refused it.
    ServerAck {
        /// Its id on WhatsApp.
        whatsapp_id: String,
        /// WhatsApp's error number, when it refused.
        error: Option<u16>,
        /// When.
        at: Timestamp,
    },
    /// Recipients' devices report on outbound messages ([`MessageStatus::Delivered`] or
    /// [`MessageStatus::Read`]), or another device of the account read inbound ones.
    Receipt {
        /// Ids on WhatsApp.
        whatsapp_ids: Vec<String>,
        /// The status they enter.
        status: MessageStatus,
        /// Whether the ids are those of inbound messages, read on another device.
        inbound: bool,
        /// When.
        at: Timestamp,
    },
    /// A message of this account could not be decrypted, or was lost after it was; its sender is asked
    /// to send it again.
    Undecryptable {
        /// Its id on WhatsApp.
        whatsapp_id: String,
    },
    /// The link is over. Nothing follows.
    Ended(LinkEnd),
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// [`Link::close`] was called.
    Closed,
    /// The connection was lost, refused or deaf: worth trying again.
    Lost {
        /// What happened, for humans.
        reason: String,
    },
    /// The stored state holds no pairing, and none was asked for.
    NotPaired,
    /// The pairing codes ran out before a phone used one.
    PairingTimedOut,
    /// Pairing was refused.
    PairingFailed {
        /// What happened, for humans.
        reason: String,
    },
    /// The phone or WhatsApp ended the pairing.
    LoggedOut {
        /// What happened, for humans.
        reason: String,
    },
    /// Another client took over this device's connection.
    Replaced,
    /// WhatsApp bans the number.
    Banned {
        /// What happened, for humans.
        reason: String,
        /// For how long; `None` when for good or unknown.
        lasts: Option<Duration>,
    },
    /// WhatsApp refuses this version of the client.
    Outdated,
    /// The stored state is owned by a later epoch: this node has lost the instance.
    Fenced,
    /// The engine broke.
    Broken {
        /// What happened, for humans.
        reason: String,
    },
}
