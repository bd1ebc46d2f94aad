//! A companion that is logged in: its greeting, and which part of the service answers a stanza.

use std::sync::Arc;

use super::account::Account;
use super::device::Device;
use super::link::{Link, stream_error};
use super::phone;
use super::service::Service;
use super::stanza::{self, iq, message, presence, receipt};
use super::sync::now_s;
use crate::wire::jid::Domain;
use crate::wire::node::Node;

pub(super) struct Session {
    pub account: Arc<Account>,
    pub device: Arc<Device>,
    pub link: Arc<Link>,
}

impl Session {
    /// Logs a companion in; an older login of the same companion is ended.
    pub(super) fn start(
        service: &Service,
        account: Arc<Account>,
        device: Arc<Device>,
        link: Arc<Link>,
        passive: bool,
    ) -> Self {
        let session = Self {
            account,
            device,
            link,
        };
        session.link.send(&session.greeting());
        if let Some(replaced) = session.device.attach(session.link.clone(), !passive) {
            replaced.end_with(&stream_error(None, Some("replaced")));
        }
        service.counters.logins.one();
        session
    }

    fn greeting(&self) -> Node {
        let now = now_s().to_string();
        Node::new("success")
            .attr("t", now.clone())
            .attr("creation", now)
            .attr("props", "1")
            .attr("location", "sandbox")
            .attr("lid", self.account.jid(self.device.id, Domain::Lid).to_string())
            .attr("display_name", self.account.name())
    }

    pub(super) fn handle(&self, service: &Arc<Service>, node: &Node) {
        match node.tag.as_ref() {
            "iq" => iq::handle(service, self, node),
            "message" => message::from_companion(service, self, node),
            "receipt" => receipt::from_companion(service, self, node),
            "ack" => receipt::acknowledged(self, node),
            "presence" => presence::presence(service, self, node),
            "chatstate" => presence::chat_state(service, self, node),
            "ib" => {}
            other => tracing::debug!(
                tag = other,
                "a stanza of a kind the sandbox does not know was ignored"
            ),
        }
        if node.tag == "iq" && self.device.take_bootstrap() {
            phone::bootstrap(service, &self.account, self.device.id);
        }
    }

    /// Unlinks the companion and tells it so.
    pub(super) fn unlink(&self, service: &Service) {
        stanza::unlink(service, &self.account, self.device.id);
    }

    pub(super) fn end(&self, service: &Service) {
        if self.device.detach(self.link.id) {
            presence::refresh(service, &self.account);
        }
    }
}
