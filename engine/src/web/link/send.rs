//! Sending, and how the library's errors are told apart.

use std::error::Error;
use std::sync::Arc;

use roost_domain::Address;
use roost_domain::engine::{Outgoing, ReadReceipt, SendError, Typing};
use whatsapp_rust::wacore::iq::devices::RemoveCompanionDeviceSpec;
use whatsapp_rust::{
    ChatStateType, Client, ClientError, IqError, Jid, SendError as LibraryError, SendOptions,
};

use super::Live;
use crate::web::convert;

/// Numbers remembered per link; then it starts over, which costs a question each.
const KNOWN_MAX: usize = 4096;

impl Live {
    pub(super) async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let client = self.client()?;
        let to = convert::jid_of(&outgoing.to);
        let own = if to.is_lid() { client.lid() } else { None };
        let own = own.or_else(|| client.pn()).ok_or(SendError::NotConnected)?;
        let message = convert::message(outgoing, &own)?;
        let options = SendOptions::default().with_message_id(outgoing.whatsapp_id.as_str());
        let send = async {
            self.check_recipient(&client, &outgoing.to, &to).await?;
            let sending = self.sessions.begin_send().await;
            let _sending = sending.map_err(|error| SendError::Transient(error.to_string()))?;
            client
                .send_message_with_options(to, message, options)
                .await
                .map_err(sending_failed)?;
            Ok(())
        };
        self.in_time(send).await
    }

    pub(super) async fn typing(&self, chat: &Address, typing: Typing) -> Result<(), SendError> {
        let client = self.client()?;
        let chat = convert::jid_of(chat);
        let state = match typing {
            Typing::Composing => ChatStateType::Composing,
            Typing::Paused => ChatStateType::Paused,
        };
        let show = async {
            let shown = client.chatstate().send(&chat, state).await;
            shown.map_err(|error| failed(&error))
        };
        self.in_time(show).await
    }

    pub(super) async fn mark_read(&self, read: &ReadReceipt) -> Result<(), SendError> {
        let client = self.client()?;
        let chat = convert::jid_of(&read.chat);
        let sender = read.sender.as_ref().map(convert::jid_of);
        let ids: Vec<&str> = read.whatsapp_ids.iter().map(String::as_str).collect();
        let mark = async {
            client
                .mark_as_read(&chat, sender.as_ref(), &ids)
                .await
                .map_err(|error| failed(error.as_ref()))
        };
        self.in_time(mark).await
    }

    pub(super) async fn unlink(&self) -> Result<(), SendError> {
        let client = self.client()?;
        let own = client.pn().ok_or(SendError::NotConnected)?;
        let unlink = async {
            client
                .execute(RemoveCompanionDeviceSpec::new(&own))
                .await
                .map_err(|error| failed(&error))
        };
        self.in_time(unlink).await
    }

    async fn in_time(&self, work: impl Future<Output = Result<(), SendError>>) -> Result<(), SendError> {
        let deadline = self.config.send_timeout;
        // Boxed: the library's futures are large, and callers hold this one.
        tokio::time::timeout(deadline, Box::pin(work))
            .await
            .unwrap_or_else(|_| Err(SendError::Transient(format!("not done within {deadline:?}"))))
    }

    /// The library would encrypt for a number without devices and send nobody anything. So a number
    /// that is not known yet, by its LID or from an earlier question, is asked for once.
    async fn check_recipient(&self, client: &Client, to: &Address, jid: &Jid) -> Result<(), SendError> {
        let Address::Phone(number) = to else { return Ok(()) };
        if self.known().contains(number.digits()) || has_name(client, jid).await {
            return Ok(());
        }
        let answers = client.contacts().is_on_whatsapp(std::slice::from_ref(jid)).await;
        let answers = answers.map_err(|error| failed(&error))?;
        if !answers.iter().any(|answer| answer.is_registered) {
            return Err(SendError::RecipientNotOnWhatsapp);
        }
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(number.digits().to_owned());
        Ok(())
    }

    fn client(&self) -> Result<Arc<Client>, SendError> {
        self.client.upgrade().ok_or(SendError::NotConnected)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<String>> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn has_name(client: &Client, jid: &Jid) -> bool {
    matches!(client.get_lid_pn_entry(jid).await, Ok(Some(_)))
}

/// Whether a client could be told anything at all.
pub(super) async fn is_alive(client: &Client, timeout: std::time::Duration) -> bool {
    use whatsapp_rust::wacore::iq::keepalive::KeepaliveSpec;
    // Boxed: it is rare, and its size would be part of every idle link.
    let question = Box::pin(client.execute(KeepaliveSpec::with_timeout(timeout)));
    // A refusal is an answer too.
    matches!(question.await, Ok(()) | Err(IqError::ServerError { .. }))
}

fn sending_failed(error: LibraryError) -> SendError {
    match error {
        LibraryError::InvalidRequest(reason) => SendError::Permanent(reason),
        LibraryError::NotLoggedIn => SendError::NotConnected,
        error => failed(&error),
    }
}

/// Looks for what is known in an error and its sources.
fn failed(error: &(dyn Error + 'static)) -> SendError {
    let mut layer = Some(error);
    while let Some(current) = layer {
        if let Some(ClientError::NotConnected | ClientError::NotLoggedIn) = current.downcast_ref() {
            return SendError::NotConnected;
        }
        match current.downcast_ref() {
            Some(IqError::NotConnected | IqError::Disconnected(_) | IqError::InternalChannelClosed) => {
                return SendError::NotConnected;
            }
            Some(IqError::ServerError { code, .. }) if (400..500).contains(code) && *code != RATE_LIMITED => {
                return SendError::Rejected(*code);
            }
            _ => {}
        }
        layer = current.source();
    }
    SendError::Transient(error.to_string())
}

/// WhatsApp's "too many requests": the one refusal that goes away by itself.
const RATE_LIMITED: u16 = 429;
