//! The picture of a group: members see it, and change it if they may change the subject.

use std::sync::Arc;

use super::{Group, GroupError, State};
use crate::server::account::Account;
use crate::server::picture::{Picture, PictureError};
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::sync::now_s;
use crate::wire::node::Node;

/// The picture as a member sees it.
pub(in crate::server) fn picture(group: &Group, by: &Account) -> Result<Option<Picture>, GroupError> {
    let state = group.state()?;
    state.role(by).map(|_| state.picture)
}

/// Sets the picture as a device of `by`, 0 being the phone, or removes it when there are no bytes, and
/// tells the members' other devices. Blocks on the file of the picture, if there is one.
pub(in crate::server) fn set_picture(
    service: &Service,
    group: &Group,
    by: &Arc<Account>,
    device: u16,
    jpeg: Option<&[u8]>,
) -> Result<Option<Picture>, PictureError> {
    let former = {
        let state = group.state()?;
        state.editor(by)?;
        state.picture
    };
    let bytes_max = service.config.picture_bytes_max;
    let picture = match jpeg {
        Some(jpeg) => Some(Picture::store(
            &service.media,
            by.raw_id,
            jpeg,
            bytes_max,
            former,
        )?),
        None => None,
    };
    let mut state = group.state()?;
    // Rights may have changed while the file was written.
    state.editor(by)?;
    if picture.is_none() && state.picture.is_none() {
        return Ok(None);
    }
    state.picture = picture;
    group.keep(&state);
    announce(service, group, &state, by, device);
    Ok(picture)
}

fn announce(service: &Service, group: &Group, state: &State, by: &Account, device: u16) {
    let change = match state.picture {
        Some(picture) => Node::new("set").attr("id", picture.id.to_string()),
        None => Node::new("delete"),
    };
    let change = change.attr("jid", group.jid()).attr("author", group.address(by));
    let id = service.stanza_id();
    let node = Node::new("notification")
        .attr("from", group.jid())
        .attr("type", "picture")
        .attr("id", id.clone())
        .attr("t", now_s().to_string())
        .attr("participant", group.address(by))
        .attr("notify", by.name())
        .child(change);
    for account in state.audience.iter() {
        let is_ours = account.raw_id == by.raw_id;
        for companion in account.devices() {
            if is_ours && companion.id == device {
                continue;
            }
            let entry = Entry {
                class: Class::Notification,
                id: id.as_str().into(),
                origin: by.origin(0),
                node: node.clone(),
            };
            if companion.offer(entry) == Offer::Full {
                service.counters.dropped.one();
            }
        }
    }
}
