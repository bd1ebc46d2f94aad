//! Profile pictures on the wire: `w:profile:picture`, and the news of a change.

use std::sync::Arc;

use super::{iq_error, iq_result, notify_companions};
use crate::server::account::Account;
use crate::server::picture::{Picture, PictureError, Slot};
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::now_s;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

/// Whose picture a query is about.
enum Owner {
    Account(Arc<Account>),
}

impl Owner {
    /// `None` when there is nobody with this address.
    fn of(service: &Service, session: &Session, target: Option<&str>) -> Option<Self> {
        let account = match target.filter(|target| !target.is_empty()) {
            None => session.account.clone(),
            Some(target) => service.account(&Jid::parse(target)?)?,
        };
        Some(Self::Account(account))
    }

    fn slot(&self) -> &Slot {
        match self {
            Self::Account(account) => &account.picture,
        }
    }

    /// Whether the companion's account may see it.
    fn shows(&self, session: &Session) -> bool {
        match self {
            Self::Account(account) => account.shows("profile", &session.account),
        }
    }

    /// Whether the companion's account may change it.
    fn is_of(&self, session: &Session) -> bool {
        match self {
            Self::Account(account) => account.pn == session.account.pn,
        }
    }

    fn announce(&self, service: &Service, session: &Session, picture: Option<Picture>) {
        match self {
            Self::Account(account) => announce(service, account, Some(session.device.id), picture),
        }
    }
}

pub(super) fn answer(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    let Some(owner) = Owner::of(service, session, node.get("target")) else {
        return iq_error(id, 404, "item-not-found");
    };
    let asked = node.find("picture");
    if node.is("type", "get") && !owner.shows(session) {
        iq_error(id, 401, "not-authorized")
    } else if node.is("type", "get") {
        get(service, &owner, id, asked)
    } else if !owner.is_of(session) {
        iq_error(id, 403, "forbidden")
    } else {
        set(service, session, &owner, id, asked)
    }
}

fn get(service: &Service, owner: &Owner, id: &str, asked: Option<&Node>) -> Node {
    let Some(picture) = owner.slot().get() else {
        return iq_error(id, 404, "item-not-found");
    };
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
        None => iq_error(id, 404, "item-not-found"),
    }
}

fn set(service: &Service, session: &Session, owner: &Owner, id: &str, asked: Option<&Node>) -> Node {
    let jpeg = asked.and_then(Node::data).unwrap_or_default();
    if jpeg.is_empty() {
        if owner.slot().remove() {
            owner.announce(service, session, None);
        }
        return iq_result(id);
    }
    let bytes_max = service.config.picture_bytes_max;
    match owner
        .slot()
        .set(&service.media, session.account.raw_id, jpeg, bytes_max)
    {
        Ok(picture) => {
            owner.announce(service, session, Some(picture));
            iq_result(id).child(Node::new("picture").attr("id", picture.id.to_string()))
        }
        Err(PictureError::NotJpeg) => iq_error(id, 406, "not-acceptable"),
        Err(PictureError::TooLarge(_)) => iq_error(id, 413, "request-too-large"),
        Err(PictureError::Store(error)) => {
            tracing::warn!(error = error.to_string(), "a picture could not be stored");
            iq_error(id, 500, "internal-server-error")
        }
    }
}

/// Tells the account's companions but `except`, and those who hold its device list, that its picture
/// changed.
pub(in crate::server) fn announce(
    service: &Service,
    account: &Account,
    except: Option<u16>,
    picture: Option<Picture>,
) {
    let own = account.jid(0, Domain::Pn).to_string();
    let build = |id: String| {
        let change = match picture {
            Some(picture) => Node::new("set").attr("id", picture.id.to_string()),
            None => Node::new("delete"),
        };
        Node::new("notification")
            .attr("from", own.clone())
            .attr("type", "picture")
            .attr("id", id)
            .attr("t", now_s().to_string())
            .child(change.attr("jid", own.clone()).attr("author", own.clone()))
    };
    notify_companions(service, account, except, build);
    for (pn, watcher) in account.watchers() {
        if *pn == *account.pn {
            continue;
        }
        let Some(device) = service.device(&pn, watcher) else {
            continue;
        };
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
