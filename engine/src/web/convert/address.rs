//! JIDs and addresses.

use roost_domain::instance::Account;
use roost_domain::{Address, PhoneNumber};
use whatsapp_rust::{Jid, Server};

/// The address behind a JID, without its device; `None` for servers that Roost does not serve.
pub(in crate::web) fn address_of(jid: &Jid) -> Option<Address> {
    let server = match jid.server {
        Server::Pn | Server::Hosted | Server::Legacy => "s.whatsapp.net",
        Server::Lid | Server::HostedLid => "lid",
        Server::Group => "g.us",
        _ => return None,
    };
    // WhatsApp writes some phone numbers with an agent or device inside of the user part.
    let user = jid.user_base();
    Address::from_jid(&format!("{user}@{server}")).ok()
}

/// The phone number behind a JID, when it names one.
pub(super) fn phone_of(jid: &Jid) -> Option<PhoneNumber> {
    match address_of(jid)? {
        Address::Phone(number) => Some(number),
        Address::Lid(_) | Address::Group(_) => None,
    }
}

/// The LID address behind a JID, when it names one.
pub(super) fn lid_of(jid: &Jid) -> Option<Address> {
    address_of(jid).filter(|address| matches!(address, Address::Lid(_)))
}

/// The JID of an address.
pub(in crate::web) fn jid_of(address: &Address) -> Jid {
    match address {
        Address::Phone(number) => Jid::pn(number.digits()),
        Address::Lid(user) => Jid::lid(&**user),
        Address::Group(user) => Jid::group(&**user),
    }
}

/// The account of a paired device.
pub(in crate::web) fn account(pn: Option<&Jid>, lid: Option<&Jid>, push_name: &str) -> Option<Account> {
    Some(Account {
        phone_number: phone_of(pn?)?,
        lid: lid.and_then(lid_of),
        push_name: Some(push_name.to_owned()).filter(|name| !name.is_empty()),
    })
}
