//! Questions about users: their devices, their other address, whether they exist.

use super::error::StanzaError;
use super::iq::domain_of;
use super::{device_hash, iq_error, iq_result, key_index_list, profile};
use crate::server::account::Account;
use crate::server::service::Service;
use crate::server::session::Session;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

const USERS_MAX: usize = 4_096;
/// What one query may ask about each user: an answer has as many nodes as both multiplied.
const PROTOCOLS_MAX: usize = 16;

pub(super) fn answer(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    let Some(query) = node.find("usync") else {
        return iq_error(id, StanzaError::BadRequest);
    };
    let protocols = query.find("query").map(Node::children).unwrap_or_default();
    let users = query.find("list").map(Node::children).unwrap_or_default();
    if protocols.is_empty() || protocols.len() > PROTOCOLS_MAX || users.len() > USERS_MAX {
        return iq_error(id, StanzaError::BadRequest);
    }
    let results = protocols
        .iter()
        .map(|protocol| Node::new(protocol.tag.clone()))
        .collect();
    let answers = users
        .iter()
        .map(|user| answer_user(service, session, protocols, user))
        .collect();
    let envelope = Node::new("usync")
        .attrs_from(query, &["sid", "index", "last", "mode", "context"])
        .child(Node::new("result").with_children(results))
        .child(Node::new("list").with_children(answers));
    iq_result(id).child(envelope)
}

fn answer_user(service: &Service, session: &Session, protocols: &[Node], user: &Node) -> Node {
    let contact = user
        .find("contact")
        .and_then(Node::data)
        .map(String::from_utf8_lossy);
    let digits = contact.map(|number| number.trim_start_matches('+').to_owned());
    let asked = match user.get("jid") {
        Some(jid) => Jid::parse(jid),
        None => digits.map(|digits| Jid::new(digits, 0, Domain::Pn)),
    };
    let Some(asked) = asked else {
        return Node::new("user").child(not_found());
    };
    let Some(account) = service.account(&asked) else {
        let answers = protocols.iter().map(unknown).collect();
        return Node::new("user")
            .attr("jid", asked.user_jid().to_string())
            .with_children(answers);
    };
    let domain = domain_of(&asked);
    let answers = protocols
        .iter()
        .filter_map(|protocol| about(session, &account, protocol))
        .collect();
    Node::new("user")
        .attr("jid", account.jid(0, domain).to_string())
        .attr_opt(
            "pn_jid",
            (domain == Domain::Lid).then(|| account.jid(0, Domain::Pn).to_string()),
        )
        .with_children(answers)
}

fn about(session: &Session, account: &Account, protocol: &Node) -> Option<Node> {
    match protocol.tag.as_ref() {
        "devices" => {
            account.watch(session.account.device_ref(session.device.id));
            Some(devices(account))
        }
        "contact" => Some(Node::new("contact").attr("type", "in")),
        "lid" => Some(Node::new("lid").attr("val", account.jid(0, Domain::Lid).to_string())),
        "status" => Some(profile::about_node(account, &session.account)),
        "disappearing_mode" => Some(profile::timer_node(account)),
        "business" => Some(Node::new("business")),
        "username" => Some(Node::new("username")),
        // Accounts of the sandbox have no picture here, no features and no bots.
        _ => None,
    }
}

fn unknown(protocol: &Node) -> Node {
    match protocol.tag.as_ref() {
        "contact" => Node::new("contact").attr("type", "out"),
        other => Node::new(other.to_owned()).child(not_found()),
    }
}

fn not_found() -> Node {
    StanzaError::NotFound.node()
}

fn devices(account: &Account) -> Node {
    let companions = account.devices();
    let mut list = vec![Node::new("device").attr("id", "0")];
    list.extend(companions.iter().map(|device| {
        let id = device.id.to_string();
        Node::new("device").attr("id", id.clone()).attr("key-index", id)
    }));
    let mut answer = Node::new("devices").child(
        Node::new("device-list")
            .attr("hash", device_hash(account))
            .with_children(list),
    );
    if !companions.is_empty() {
        let key_index = account.key_index();
        answer = answer.child(key_index_list(&key_index.bytes, key_index.timestamp));
    }
    answer
}
