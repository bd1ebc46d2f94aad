//! Queries of logged-in companions.

use std::sync::Arc;

use super::error::StanzaError;
use super::{ID_BYTES_MAX, app_state, group, iq_error, iq_result, picture, prekey, profile, unlink, usync};
use crate::server::link::stream_error;
use crate::server::media::Holder;
use crate::server::service::Service;
use crate::server::session::Session;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

pub(in crate::server) fn handle(service: &Arc<Service>, session: &Session, node: &Node) {
    let Some(id) = node
        .get("id")
        .filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)
    else {
        // Without an id there is no answer that the client could match.
        return session
            .link
            .end_with(&stream_error(None, None).child(Node::new("bad-format")));
    };
    let namespace = node.get("xmlns").unwrap_or_default();
    let answer = match node.get("type") {
        Some("get" | "set") if namespace == "md" => return linked_devices(service, session, id, node),
        Some("get" | "set") => answer(service, session, id, namespace, node),
        // Answers to the service's own queries need none.
        Some("result" | "error") => return,
        _ => iq_error(id, StanzaError::BadRequest),
    };
    session.link.send(&answer);
}

fn answer(service: &Arc<Service>, session: &Session, id: &str, namespace: &str, node: &Node) -> Node {
    let child = node.children().first().map_or("", |child| child.tag.as_ref());
    match (namespace, child) {
        ("encrypt", _) => prekey::answer(service, session, id, node),
        ("usync", _) => usync::answer(service, session, id, node),
        ("w:sync:app:state", _) => app_state::answer(service, session, id, node),
        ("passive", "active" | "passive") => {
            session.device.set_active(child == "active");
            iq_result(id)
        }
        ("w", "props") | ("abt", "props") => iq_result(id).child(
            Node::new("props")
                .attr("hash", "sandbox")
                .attr("protocol", "1")
                .attr("refresh", "86400"),
        ),
        ("blocklist", _) => profile::blocklist(service, session, id, node),
        ("privacy", _) => profile::privacy(service, session, id, node),
        ("disappearing_mode", _) => profile::timer(service, session, id, node),
        ("w:biz", "business_profile") => profile::business(id, node),
        ("w:m", _) => iq_result(id).child(media_connection(service, session)),
        ("w:profile:picture", _) => picture::answer(service, session, id, node),
        ("status", "status") if node.is("type", "set") => profile::set_about(service, session, id, node),
        ("w:g2", _) => group::answer(service, session, id, node),
        ("w:p" | "urn:xmpp:ping" | "urn:xmpp:whatsapp:dirty" | "urn:xmpp:whatsapp:push", _) => iq_result(id),
        ("tos" | "urn:xmpp:whatsapp:account" | "w:stats" | "w:b", _) => iq_result(id),
        _ => {
            service.counters.unknown_queries.one();
            tracing::debug!(
                namespace,
                child,
                "a query the sandbox does not know got an empty result"
            );
            iq_result(id)
        }
    }
}

fn linked_devices(service: &Service, session: &Session, id: &str, node: &Node) {
    let Some(request) = node.find("remove-companion-device") else {
        return session.link.send(&iq_result(id));
    };
    let account = &session.account;
    if request.is("all", "true") {
        session.link.send(&iq_result(id));
        let others = account.devices().into_iter().map(|device| device.id);
        others
            .filter(|other| *other != session.device.id)
            .for_each(|other| unlink(service, account, other));
        return;
    }
    let target = request.get("jid").and_then(Jid::parse);
    let is_own = |jid: &Jid| {
        let named = service.account(jid);
        named.is_some_and(|named| named.raw_id == account.raw_id)
    };
    match target.filter(is_own).map(|jid| jid.device) {
        Some(device) if account.device(device).is_some() => {
            session.link.send(&iq_result(id));
            unlink(service, account, device);
        }
        Some(_) => session.link.send(&iq_error(id, StanzaError::NotFound)),
        None => session.link.send(&iq_error(id, StanzaError::BadRequest)),
    }
}

/// The media host, and the token that allows uploads.
fn media_connection(service: &Service, session: &Session) -> Node {
    let media = &service.media;
    let holder = Holder {
        account: session.account.raw_id,
        device: session.device.id,
    };
    let auth_ttl_s = media.auth_ttl_s();
    let host = Node::new("host")
        .attr("hostname", media.host())
        .attr("type", "primary")
        .child(Node::new("download"))
        .child(Node::new("upload"));
    Node::new("media_conn")
        .attr("auth", media.token(holder))
        .attr("ttl", auth_ttl_s.min(3_600).to_string())
        .attr("auth_ttl", auth_ttl_s.to_string())
        .attr("max_buckets", "12")
        .attr("max_manual_retry", "3")
        .attr("max_auto_download_retry", "3")
        .child(host)
}

/// The addressing a JID asks for; anything but LID is the phone number's.
pub(super) fn domain_of(jid: &Jid) -> Domain {
    if jid.domain == Domain::Lid {
        Domain::Lid
    } else {
        Domain::Pn
    }
}
