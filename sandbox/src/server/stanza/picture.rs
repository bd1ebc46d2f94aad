//! Profile pictures on the wire: `w:profile:picture`, and the news of a change.

use std::sync::Arc;

use super::error::StanzaError;
use super::profile::notify_watchers;
use super::{iq_error, iq_result};
use crate::server::account::Account;
use crate::server::group::{self, Group, GroupError};
use crate::server::picture::{Picture, PictureError};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

/// Whose picture a query is about.
enum Owner {
    Account(Arc<Account>),
    Group(Arc<Group>),
}

impl Owner {
    /// `None` when there is nobody with this address.
    fn of(service: &Service, session: &Session, target: Option<&str>) -> Option<Self> {
        let Some(target) = target.filter(|target| !target.is_empty()) else {
            return Some(Self::Account(session.account.clone()));
        };
        let jid = Jid::parse(target)?;
        match jid.domain {
            Domain::Group => service.groups.get(&jid.user).map(Self::Group),
            _ => service.account(&jid).map(Self::Account),
        }
    }

    fn picture(&self, session: &Session) -> Result<Option<Picture>, PictureError> {
        match self {
            Self::Account(account) => match account.picture.get() {
                Some(_) if !account.shows("profile", &session.account) => Err(PictureError::Hidden),
                picture => Ok(picture),
            },
            Self::Group(group) => Ok(group::picture(group, &session.account)?),
        }
    }

    /// Sets the picture, or removes it when there are no bytes.
    fn set(
        &self,
        service: &Service,
        session: &Session,
        jpeg: Option<&[u8]>,
    ) -> Result<Option<Picture>, PictureError> {
        let (by, device) = (&session.account, session.device.id);
        let account = match self {
            Self::Group(group) => return group::set_picture(service, group, by, device, jpeg),
            Self::Account(account) if account.raw_id != by.raw_id => {
                return Err(PictureError::NotOwn);
            }
            Self::Account(account) => account,
        };
        let bytes_max = service.config.picture_bytes_max;
        let picture = match jpeg {
            Some(jpeg) => Some(account.picture.set(&service.media, by.raw_id, jpeg, bytes_max)?),
            None => None,
        };
        if picture.is_some() || account.picture.remove() {
            announce(service, account, Some(device), picture);
        }
        Ok(picture)
    }
}

pub(super) fn answer(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    let Some(owner) = Owner::of(service, session, node.get("target")) else {
        return iq_error(id, StanzaError::NotFound);
    };
    let asked = node.find("picture");
    let answered = if node.is("type", "get") {
        owner.picture(session).map(|picture| match picture {
            Some(picture) => get(service, picture, id, asked),
            None => iq_error(id, StanzaError::NotFound),
        })
    } else {
        let jpeg = asked.and_then(Node::data).filter(|jpeg| !jpeg.is_empty());
        owner.set(service, session, jpeg).map(|picture| {
            let shown = picture.map(|picture| Node::new("picture").attr("id", picture.id.to_string()));
            iq_result(id).child_opt(shown)
        })
    };
    answered.unwrap_or_else(|error| refused(id, &error))
}

fn refused(id: &str, error: &PictureError) -> Node {
    match error {
        PictureError::NotJpeg => iq_error(id, StanzaError::NotAcceptable),
        PictureError::TooLarge(_) => iq_error(id, StanzaError::TooLarge),
        PictureError::NotOwn => iq_error(id, StanzaError::Forbidden),
        PictureError::Group(GroupError::NotFound) => iq_error(id, StanzaError::NotFound),
        PictureError::Hidden | PictureError::Group(GroupError::NotMember) => {
            iq_error(id, StanzaError::NotAuthorized)
        }
        PictureError::Group(_) => iq_error(id, StanzaError::Forbidden),
        PictureError::Store(error) => {
            tracing::warn!(error = error.to_string(), "a picture could not be stored");
            iq_error(id, StanzaError::Internal)
        }
    }
}

fn get(service: &Service, picture: Picture, id: &str, asked: Option<&Node>) -> Node {
    let number = picture.id.to_string();
    let shown = Node::new("picture").attr("id", number.clone());
    if asked.is_some_and(|asked| asked.is("id", &number)) {
        // The asker has it already.
        return iq_result(id).child(shown.attr("status", "304"));
    }
    let kind = asked.and_then(|asked| asked.get("type")).unwrap_or("image");
    let kind = if kind == "preview" { "preview" } else { "image" };
    let shown = shown.attr("type", kind);
    let by_url = asked.is_some_and(|asked| asked.is("query", "url"));
    let found = if by_url {
        picture.stored(&service.media).map(|stored| {
            shown
                .attr("url", service.media.url(&stored))
                .attr("direct_path", stored.direct_path())
        })
    } else {
        picture.bytes(&service.media).map(|bytes| shown.bytes(bytes))
    };
    match found {
        Some(shown) => iq_result(id).child(shown),
        None => iq_error(id, StanzaError::NotFound),
    }
}

/// Tells the account's companions but `except`, and those who hold its device list and may see it,
/// that its picture changed.
pub(in crate::server) fn announce(
    service: &Service,
    account: &Account,
    except: Option<u16>,
    picture: Option<Picture>,
) {
    let own = account.jid(0, Domain::Pn).to_string();
    let change = match picture {
        Some(picture) => Node::new("set").attr("id", picture.id.to_string()),
        None => Node::new("delete"),
    };
    let change = change.attr("jid", own.clone()).attr("author", own);
    for device in account.devices() {
        account.watch(account.device_ref(device.id));
    }
    notify_watchers(service, account, "picture", Some("profile"), except, &change);
}
