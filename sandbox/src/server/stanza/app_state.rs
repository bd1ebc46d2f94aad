//! App state: versioned lists of opaque patches per collection, shared by an account's devices.

use super::error::StanzaError;
use super::{iq_error, iq_result, notify_companions};
use crate::server::account::{Account, Collection};
use crate::server::phone;
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::{lock, now_s};
use crate::signal::proto::{ProtoMessage, SyncdPatchVersion};
use crate::wire::jid::Domain;
use crate::wire::node::Node;

const COLLECTIONS_MAX: usize = 16;
const COLLECTION_NAME_BYTES_MAX: usize = 64;
/// Patches in one answer; the client asks again for more.
const PATCHES_PER_ANSWER: usize = 100;

pub(super) fn answer(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    let Some(sync) = node.find("sync") else {
        return iq_error(id, StanzaError::BadRequest);
    };
    if sync.children().len() > COLLECTIONS_MAX {
        return iq_error(id, StanzaError::BadRequest);
    }
    let collections = sync
        .find_all("collection")
        .map(|asked| answer_collection(service, session, asked));
    iq_result(id).child(Node::new("sync").with_children(collections.collect()))
}

fn answer_collection(service: &Service, session: &Session, asked: &Node) -> Node {
    let name = asked.get("name").unwrap_or_default();
    let refused = |error: StanzaError| {
        Node::new("collection")
            .attr("name", name.to_owned())
            .attr("type", "error")
            .child(error.node())
    };
    if name.is_empty() || name.len() > COLLECTION_NAME_BYTES_MAX {
        return refused(StanzaError::BadRequest);
    }
    let Ok(version) = asked.get("version").unwrap_or("0").parse::<u64>() else {
        return refused(StanzaError::BadRequest);
    };
    let mut collections = lock(&session.account.collections);
    if !collections.contains_key(name) && collections.len() >= COLLECTIONS_MAX {
        return refused(StanzaError::BadRequest);
    }
    let used = Collection::bytes_of(&collections);
    let collection = collections.entry(name.to_owned()).or_default();
    let answer = Node::new("collection").attr("name", name.to_owned());
    let Some(patch) = asked.find("patch").and_then(Node::data) else {
        let has_many = collection.patches.len() >= service.config.app_state_snapshot_min;
        if version == 0
            && has_many
            && asked.is("return_snapshot", "true")
            && let Some((at, reference)) = phone::app_state::snapshot(service, &session.account, name)
        {
            let snapshot = Node::new("snapshot").bytes(reference);
            return with_patches(answer.child(snapshot), &collection.patches, at);
        }
        return with_patches(answer, &collection.patches, version);
    };
    if SyncdPatchVersion::decode(patch).is_err() {
        return refused(StanzaError::BadRequest);
    }
    if version != collection.version() {
        let conflict = answer.attr("type", "error").child(StanzaError::Conflict.node());
        return with_patches(conflict, &collection.patches, version);
    }
    if collection.patches.len() >= service.config.patches_max {
        return refused(StanzaError::CollectionFull);
    }
    let stamped = SyncdPatchVersion::stamp(patch.to_vec(), version + 1);
    if used + stamped.len() > service.config.app_state_bytes_max {
        return refused(StanzaError::AppStateFull);
    }
    let next = session.account.add_patch(collection, name, stamped.into());
    phone::app_state::read(&service.media, &session.account, name, collection);
    drop(collections);
    announce(service, &session.account, Some(session.device.id), name, next);
    answer.attr("version", next.to_string())
}

/// Adds the patches a device at `version` lacks.
fn with_patches(answer: Node, patches: &[bytes::Bytes], version: u64) -> Node {
    let known = usize::try_from(version).unwrap_or(usize::MAX).min(patches.len());
    let missing = &patches[known..];
    let sent = &missing[..missing.len().min(PATCHES_PER_ANSWER)];
    let nodes: Vec<_> = sent
        .iter()
        .map(|patch| Node::new("patch").bytes(patch.clone()))
        .collect();
    let answer = answer
        .attr("version", (known + sent.len()).to_string())
        .attr_opt("has_more_patches", (sent.len() < missing.len()).then_some("true"));
    if nodes.is_empty() {
        answer
    } else {
        answer.child(Node::new("patches").with_children(nodes))
    }
}

/// Tells the companions but `except` that a collection has a new version.
pub(in crate::server) fn announce(
    service: &Service,
    account: &Account,
    except: Option<u16>,
    name: &str,
    version: u64,
) {
    notify_companions(service, account, except, |id| {
        Node::new("notification")
            .attr("from", account.jid(0, Domain::Pn).to_string())
            .attr("type", "server_sync")
            .attr("id", id)
            .attr("t", now_s().to_string())
            .child(
                Node::new("collection")
                    .attr("name", name.to_owned())
                    .attr("version", version.to_string()),
            )
    });
}
