//! A companion could not fetch the file of a message, and asks the phone for it again.

use std::sync::Arc;

use super::medium::Medium;
use crate::server::account::Account;
use crate::server::media::StoreError;
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::stanza::message::Sender;
use crate::server::sync::{lock, now_s};
use crate::signal::media::retry::{self, Sealed};
use crate::signal::proto::{MediaRetryNotification, MediaRetryResult, ServerErrorReceipt};
use crate::wire::jid::Domain;
use crate::wire::node::Node;

/// Answers with a new address, under the file's own key.
pub(super) fn answer(service: &Arc<Service>, account: &Arc<Account>, reader: &Sender, node: &Node) {
    // Only what an own companion asks: others have phones of their own.
    if reader.account.pn != account.pn {
        return;
    }
    let (Some(id), Some(device)) = (node.get("id"), account.device(reader.device)) else {
        return;
    };
    let outcome = match reupload(service, account, id, node) {
        Ok(sealed) => Node::new("encrypt")
            .child(Node::new("enc_p").bytes(sealed.ciphertext))
            .child(Node::new("enc_iv").bytes(sealed.iv.to_vec())),
        Err(result) => Node::new("error").attr("code", (result as i32).to_string()),
    };
    let notification = Node::new("notification")
        .attr("from", account.jid(0, Domain::Pn).to_string())
        .attr("type", "mediaretry")
        .attr("id", id.to_owned())
        .attr("t", now_s().to_string())
        .child(outcome)
        .child_opt(node.find("rmr").cloned());
    let entry = Entry {
        class: Class::Notification,
        id: id.into(),
        origin: account.origin(0),
        node: notification,
    };
    if device.offer(entry) == Offer::Full {
        service.counters.dropped.one();
    }
}

fn reupload(service: &Service, account: &Account, id: &str, node: &Node) -> Result<Sealed, MediaRetryResult> {
    let message = lock(&account.phone.state).media.get(id).cloned();
    let message = message.ok_or(MediaRetryResult::NotFound)?;
    let medium = Medium::of(&message).ok_or(MediaRetryResult::NotFound)?;
    let media_key = medium.media_key().map_err(|_| MediaRetryResult::NotFound)?;
    let hash = medium.hash().map_err(|_| MediaRetryResult::NotFound)?;
    if let Some(asked) = node.find("encrypt")
        && !is_asked(asked, &media_key, id)
    {
        return Err(MediaRetryResult::DecryptionError);
    }
    let store = &service.media.store;
    let stored = match store.address(&hash, medium.upload_kind) {
        Some(stored) => Ok(stored),
        None => store.publish(&hash, medium.upload_kind, account.raw_id),
    };
    let (result, direct_path) = match stored {
        Ok(stored) => (MediaRetryResult::Success, Some(stored.direct_path())),
        // The phone has the file no more.
        Err(StoreError::Gone) => (MediaRetryResult::NotFound, None),
        Err(error) => {
            tracing::warn!(%error, "a phone could not upload a file again");
            (MediaRetryResult::GeneralError, None)
        }
    };
    let answer = MediaRetryNotification {
        stanza_id: Some(id.to_owned()),
        direct_path,
        result: Some(result.into()),
    };
    Ok(retry::seal(&media_key, id, &answer))
}

/// Whether the sealed request is for this message: only who can read the message can make it.
fn is_asked(asked: &Node, media_key: &[u8; 32], id: &str) -> bool {
    let ciphertext = asked.find("enc_p").and_then(Node::data);
    let iv = asked.find("enc_iv").and_then(Node::data_array::<12>);
    let Some((ciphertext, iv)) = ciphertext.zip(iv) else {
        return false;
    };
    let sealed = Sealed {
        iv,
        ciphertext: ciphertext.to_vec(),
    };
    retry::open::<ServerErrorReceipt>(media_key, id, &sealed)
        .is_some_and(|receipt| receipt.stanza_id.as_deref() == Some(id))
}
