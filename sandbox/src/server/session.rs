//! A companion that is logged in: its greeting, and which part of the service answers a stanza.

use std::sync::Arc;

use tokio::time::Instant;

use super::account::Account;
use super::device::Device;
use super::fault::{Delivery, Who};
use super::ledger::DeviceLedger;
use super::link::{Link, stream_error};
use super::phone;
use super::service::Service;
use super::stanza::{iq, message, presence, receipt};
use super::sync::now_s;
use crate::wire::jid::Domain;
use crate::wire::node::Node;

pub(super) struct Session {
    pub account: Arc<Account>,
    pub device: Arc<Device>,
    pub link: Arc<Link>,
    pub ledger: Arc<DeviceLedger>,
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
        let ledger = service.ledgers.of_device(&account.pn, device.id);
        // Written before the older one is ended: the order is what happened.
        ledger.login(&link);
        let session = Self {
            ledger,
            account,
            device,
            link,
        };
        session.link.send(&session.greeting());
        if let Some(replaced) = session.device.attach(session.link.clone(), !passive) {
            replaced.because("replaced");
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

    pub(super) fn who(&self) -> Who<'_> {
        Who::new(&self.account.pn, self.device.id)
    }

    /// Acknowledges a stanza of the companion.
    pub(super) fn acknowledge(&self, service: &Service, ack: &Node) {
        match service.faults.at_ack(self.who(), ack) {
            Some(Delivery::Swallow) => {}
            Some(Delivery::Delay(delay)) => self.link.outbox.push_at(Instant::now() + delay, ack),
            _ => self.link.send(ack),
        }
    }

    pub(super) fn end(&self, service: &Service, reason: &str) {
        self.ledger.end(self.link.id, reason);
        if self.device.detach(self.link.id) {
            presence::refresh(service, &self.account);
        }
    }
}
