//! What the service answers to each kind of stanza, and the pieces stanzas are built from.

pub(super) mod app_state;
pub(super) mod error;
mod group;
pub(super) mod iq;
pub(super) mod message;
pub(super) mod picture;
pub(super) mod prekey;
pub(super) mod presence;
pub(super) mod profile;
pub(super) mod receipt;
pub(super) mod usync;

use bytes::Bytes;
use error::StanzaError;

use super::account::Account;
use super::link::stream_error;
use super::queue::{Class, Entry, Offer};
use super::service::Service;
use super::sync::now_s;
use crate::wire::jid::Domain;
use crate::wire::node::Node;

const SERVER: &str = "s.whatsapp.net";
/// Longest id a client may give a stanza.
pub(super) const ID_BYTES_MAX: usize = 128;

pub(super) fn iq_result(id: &str) -> Node {
    iq_from_server(id.to_owned(), "result").attr("t", now_s().to_string())
}

pub(super) fn iq_error(id: &str, error: StanzaError) -> Node {
    iq_from_server(id.to_owned(), "error").child(error.node())
}

pub(super) fn iq_from_server(id: String, kind: &'static str) -> Node {
    Node::new("iq")
        .attr("from", SERVER)
        .attr("type", kind)
        .attr("id", id)
}

/// Queues a notification for every companion of `account` but `except`.
pub(super) fn notify_companions(
    service: &Service,
    account: &Account,
    except: Option<u16>,
    build: impl Fn(String) -> Node,
) {
    for device in account
        .devices()
        .iter()
        .filter(|device| Some(device.id) != except)
    {
        let id = service.stanza_id();
        let node = build(id.clone());
        let entry = Entry {
            class: Class::Notification,
            id: id.into(),
            origin: account.origin(0),
            node,
        };
        if device.offer(entry) == Offer::Full {
            service.counters.dropped.one();
        }
    }
}

/// Tells everyone who holds the device list of `account`, and its own companions, that a companion came
/// or went.
pub(super) fn announce_devices(service: &Service, account: &Account, change: &'static str, device: u16) {
    let key_index = account.key_index();
    // Who has to forget a device needs no list of the others.
    let list = match change {
        "remove" => Node::new("key-index-list").attr("ts", key_index.timestamp.to_string()),
        _ => key_index_list(&key_index.bytes, key_index.timestamp),
    };
    let changed = Node::new(change)
        .attr("device_hash", device_hash(account))
        .child(
            Node::new("device")
                .attr("jid", account.jid(device, Domain::Pn).to_string())
                .attr("key-index", device.to_string()),
        )
        .child(list);
    for own in account.devices().iter().filter(|own| own.id != device) {
        account.watch(account.device_ref(own.id));
    }
    profile::notify_watchers(service, account, "devices", None, Some(device), &changed);
}

pub(super) fn key_index_list(bytes: &Bytes, timestamp: u64) -> Node {
    Node::new("key-index-list")
        .attr("ts", timestamp.to_string())
        .bytes(bytes.clone())
}

/// The short hash that names a device list: over the sorted addresses of all its devices.
pub(super) fn device_hash(account: &Account) -> String {
    let jids = std::iter::once(0).chain(account.devices().into_iter().map(|device| device.id));
    participant_hash(jids.map(|id| account.jid(id, Domain::Pn).to_string()).collect())
}

/// `2:` and six bytes of the SHA-256 of the sorted addresses, in unpadded base64.
pub(super) fn participant_hash(mut jids: Vec<String>) -> String {
    use base64::Engine as _;
    use sha2::{Digest, Sha256};
    jids.sort_unstable();
    let digest = Sha256::digest(jids.concat());
    format!(
        "2:{}",
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(&digest[..6])
    )
}

/// Unlinks a companion: it is told, and so are the holders of the device list.
pub(super) fn unlink(service: &Service, account: &Account, device: u16) {
    let Some(removed) = account.remove_device(device) else {
        return;
    };
    if let Some(link) = removed.link() {
        link.because("unlinked");
        link.end_with(&stream_error(
            Some(StanzaError::DeviceRemoved),
            Some(StanzaError::DeviceRemoved.text()),
        ));
    }
    announce_devices(service, account, "remove", device);
}
