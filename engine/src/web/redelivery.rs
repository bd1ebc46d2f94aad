//! What WhatsApp delivers a second time, and whether it was ever committed.
//!
//! The library decrypts a message first and hands it to the storage a moment later. Whatever stores the
//! sessions in between, for another message, stores one that is ahead of a message which nobody has kept.
//! After a crash in that gap the message comes again and cannot be decrypted a second time: to the
//! library it is one that was done with long ago, and it would acknowledge it.
//!
//! So the storage asks here before it says that nothing is pending. What was committed may be
//! acknowledged. What was not is asked for again: at its sender, as if it had not been decipherable, and
//! at the account's own phone. It is not acknowledged meanwhile, because it may come again only as long
//! as it is not: the answer is a message like any other, under the same id, and once that is committed,
//! the next redelivery finds it. Whoever answers late is asked once per link, until the message is older
//! than [`ASKED_FOR`].
//!
//! A message that brings no facts is never found committed. One that comes twice is asked for once, and
//! its second copy is acknowledged as soon as it is decrypted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::anyhow;
use roost_domain::engine::{LinkFact, NotCommitted};
use roost_domain::time::Clock;
use whatsapp_rust::features::RetryRequestOptions;
use whatsapp_rust::types::events::{Event, EventHandler, EventInterest, EventKind};
use whatsapp_rust::types::message::{MessageCategory, MessageInfo};
use whatsapp_rust::wacore::messages::parse_message_info;
use whatsapp_rust::wacore_binary::{Node, NodeRef};
use whatsapp_rust::{Client, Jid, RawNodeLease};

use super::convert;
use super::hook::ClientNames;
use super::report::Reporter;
use super::runtime::LinkRuntime;

/// How old a message may be that is asked for again: phones answer for no older ones.
const ASKED_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
/// Stanzas kept between their arrival and their decryption. One that had to go is left for the next link.
const STANZAS_MAX: usize = 2048;

/// Why a redelivered message must not be acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsettled {
    #[error("the link is over")]
    Over,
    #[error(transparent)]
    Unknown(#[from] NotCommitted),
    #[error("the names of a message could not be read: {0}")]
    Names(anyhow::Error),
    #[error("a message was lost before it was committed, and is asked for again")]
    AskedFor,
    #[error("a message was lost before it was committed, and is asked for on the next link")]
    NotNow,
}

/// Tells lost messages from those that are done.
pub(super) struct Redelivery {
    /// Weak: the client owns its listeners and its storage.
    client: Weak<Client>,
    reporter: Arc<Reporter>,
    runtime: LinkRuntime,
    clock: Arc<dyn Clock>,
    stanzas: Mutex<VecDeque<Stanza>>,
    /// Has the library show its stanzas: until it has what the server kept, for it costs each stanza.
    shown: Mutex<Option<RawNodeLease>>,
}

/// A stanza without its content: what is needed to ask for the message again.
struct Stanza {
    id: String,
    sender: String,
    node: Node,
}

impl Redelivery {
    /// Listens to a client that was not started yet.
    pub(super) fn watch(
        client: &Arc<Client>,
        reporter: Arc<Reporter>,
        runtime: LinkRuntime,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let redelivery = Arc::new(Self {
            client: Arc::downgrade(client),
            reporter,
            runtime,
            clock,
            stanzas: Mutex::default(),
            shown: Mutex::new(Some(client.acquire_raw_node_forwarding())),
        });
        client
            .subscribe(
                EventInterest::of(&[EventKind::RawNode, EventKind::OfflineSyncCompleted]),
                Arc::clone(&redelivery) as _,
            )
            .detach();
        redelivery
    }

    /// A message was decrypted: its stanza is not needed any more.
    pub(super) async fn decrypted(&self, sender: &str, id: &str) {
        self.take(sender, id);
        #[cfg(feature = "sandbox")]
        if let Some(end) = super::stop_point::pass()
            && let Some(client) = self.client.upgrade()
        {
            // What may happen at any time happens now. If it fails, the test sees that nothing ended.
            if client.flush_pending_signal_state().await.is_ok() {
                end();
            }
        }
    }

    /// A message came that was decrypted before, and of which nothing is pending. `Ok` when it may be
    /// acknowledged.
    pub(super) async fn settle(&self, chat: &str, sender: &str, id: &str) -> Result<(), Unsettled> {
        let stanza = self.take(sender, id);
        let (Ok(chat), Ok(sender)) = (chat.parse::<Jid>(), sender.parse::<Jid>()) else {
            return Ok(());
        };
        let client = self.client.upgrade().ok_or(Unsettled::Over)?;
        let key = convert::key(&ClientNames(&client), &chat, &sender, id).await;
        let Some(key) = key.map_err(Unsettled::Names)? else {
            // Of a chat that Roost does not serve.
            return Ok(());
        };
        let observer = self.reporter.observer().ok_or(Unsettled::Over)?;
        if observer.knows(&key).await? {
            return Ok(());
        }
        let stanza = stanza.ok_or(Unsettled::NotNow)?;
        let info = read(&client, &stanza).map_err(Unsettled::Names)?;
        if info.category == MessageCategory::Peer {
            // Business between the account's own devices.
            return Ok(());
        }
        if self.is_too_old(&info) {
            tracing::warn!("a message was lost before it was committed, and nobody has sent it again");
            return Ok(());
        }
        self.reporter
            .fact(LinkFact::Undecryptable { whatsapp_id: info.id });
        // Not from here: what asks the phone waits for the permit that the library holds meanwhile. Both
        // are asked by this, whoever the sender is.
        self.runtime.detach(async move {
            let options = RetryRequestOptions::new();
            let asked = client.request_message_retry(&stanza.as_node_ref(), options).await;
            if let Err(error) = asked {
                tracing::warn!(%error, "a lost message could not be asked for; the next link tries again");
            }
        });
        Err(Unsettled::AskedFor)
    }

    fn is_too_old(&self, info: &MessageInfo) -> bool {
        let age = self.clock.now().unix_ms() / 1000 - info.timestamp.timestamp();
        u64::try_from(age).is_ok_and(|age| age > ASKED_FOR.as_secs())
    }

    /// Only what the server kept can be a redelivery.
    fn arrived(&self, node: &NodeRef<'_>) {
        if node.tag.as_ref() != "message" || node.get_attr("offline").is_none() {
            return;
        }
        let mut attrs = node.attrs();
        let author = attrs
            .optional_jid("participant")
            .or_else(|| attrs.optional_jid("from"));
        let (Some(id), Some(author)) = (node.get_attr("id"), author) else {
            return;
        };
        let stanza = Stanza {
            id: id.as_str().into_owned(),
            sender: author.to_string(),
            node: NodeRef::new(node.tag.clone(), node.attrs.clone(), None).to_owned(),
        };
        let mut stanzas = self.stanzas();
        if stanzas.len() >= STANZAS_MAX {
            stanzas.pop_front();
        }
        stanzas.push_back(stanza);
    }

    fn take(&self, sender: &str, id: &str) -> Option<Node> {
        let mut stanzas = self.stanzas();
        let at = stanzas
            .iter()
            .position(|stanza| stanza.id == id && stanza.sender == sender)?;
        let stanza = stanzas.remove(at);
        if stanzas.is_empty() {
            // An idle link is to be small.
            *stanzas = VecDeque::new();
        }
        stanza.map(|stanza| stanza.node)
    }

    fn stanzas(&self) -> MutexGuard<'_, VecDeque<Stanza>> {
        self.stanzas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventHandler for Redelivery {
    fn handle_event(&self, event: Arc<Event>) {
        match &*event {
            Event::RawNode(node) => self.arrived(node.get()),
            // Before this, everything that the server kept has passed here.
            Event::OfflineSyncCompleted(_) => {
                *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            _ => {}
        }
    }
}

fn read(client: &Client, stanza: &Node) -> anyhow::Result<MessageInfo> {
    let own = client.pn().ok_or_else(|| anyhow!("not paired"))?;
    parse_message_info(&stanza.as_node_ref(), &own, client.lid().as_ref())
}
