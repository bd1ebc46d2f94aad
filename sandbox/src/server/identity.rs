//! What changes who an account is: a phone that is set up again, another LID, another number. Those
//! who hold the account's device list are told.

use std::sync::Arc;

use super::account::Account;
use super::group;
use super::link::stream_error;
use super::service::{CreateError, Service};
use super::stanza::error::StanzaError;
use super::stanza::profile::notify_watchers;
use super::stanza::{device_hash, presence};
use crate::wire::jid::Domain;
use crate::wire::node::Node;

/// Gives the phone new keys, as after an installation from scratch: its companions, its sessions and
/// its app state are gone. Others hear that its identity changed.
pub(super) fn register_again(service: &Service, account: &Account) {
    unlink_all(account);
    account.renew_key();
    account.forget_collections();
    for other in service.accounts() {
        other.phone.forget_sessions(&account.pn);
    }
    notify_watchers(service, account, "encrypt", None, None, &Node::new("identity"));
    announce_update(service, account);
    presence::refresh(service, account);
}

/// Unlinks every companion. Nobody hears of the single ones: what they are told says it for all.
fn unlink_all(account: &Account) {
    for device in account.devices() {
        account.remove_device(device.id);
        if let Some(link) = device.link() {
            link.end_with(&stream_error(
                Some(StanzaError::DeviceRemoved),
                Some(StanzaError::DeviceRemoved.text()),
            ));
        }
    }
}

/// Gives the account a new LID; the old one names nobody any more. Its companions are disconnected:
/// they learn their new LID when they log in.
pub(super) fn change_lid(service: &Service, account: &Arc<Account>) {
    service.replace_lid(account);
    for link in account.devices().iter().filter_map(|device| device.link()) {
        link.outbox.finish();
    }
    announce_update(service, account);
}

/// Moves the account to another number: an account of its own with the name, the profile and the
/// groups of the old one, which is gone with its companions. Others hear of both numbers.
pub(super) fn change_number(
    service: &Service,
    old: &Arc<Account>,
    number: &str,
) -> Result<Arc<Account>, CreateError> {
    let new = service.create_account(number, old.name(), old.phone.echoes())?;
    let profile = super::sync::lock(&old.profile).clone();
    new.change_profile(|copy| *copy = profile);
    new.picture.put(old.picture.get());
    let jid = |account: &Account, domain| account.jid(0, domain).to_string();
    let modify = Node::new("modify")
        .attr("old", jid(old, Domain::Pn))
        .attr("new", jid(&new, Domain::Pn))
        .attr("old_lid", jid(old, Domain::Lid))
        .attr("new_lid", jid(&new, Domain::Lid));
    notify_watchers(service, old, "contacts", None, None, &modify);
    group::replace(service, old, &new);
    unlink_all(old);
    presence::refresh(service, old);
    service.close_account(old);
    Ok(new)
}

/// Has those who hold the device list ask for it again.
fn announce_update(service: &Service, account: &Account) {
    let update = Node::new("update").attr("hash", device_hash(account));
    notify_watchers(service, account, "devices", None, None, &update);
}
