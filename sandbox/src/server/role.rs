//! Who a connection belongs to, decided once the handshake is complete.

use std::sync::Arc;

use super::account::DEVICE_ID_MAX;
use super::connection::Ending;
use super::fault::Who;
use super::link::Link;
use super::registration::{Candidate, Registration};
use super::service::Service;
use super::session::Session;
use super::stanza::error::StanzaError;
use crate::wire::node::Node;
use crate::wire::proto::ClientPayload;

/// Who a connection belongs to.
pub(super) enum Role {
    Registering(Arc<Registration>),
    LoggedIn(Box<Session>),
    /// Told why, and about to be closed.
    Refused,
}

impl Role {
    pub(super) fn who(&self) -> Who<'_> {
        match self {
            Self::LoggedIn(session) => session.who(),
            Self::Registering(_) | Self::Refused => Who::default(),
        }
    }

    /// Ends the connection for a frame that is no stanza.
    pub(super) fn unreadable(&self, link: &Link, bytes: usize, reason: &'static str) -> Ending {
        if let Self::LoggedIn(session) = self {
            session.ledger.unreadable(link.id, bytes);
        }
        Ending::Violation(reason)
    }

    pub(super) fn of(
        service: &Service,
        payload: ClientPayload,
        key: [u8; 32],
        link: &Arc<Link>,
    ) -> Result<Self, Ending> {
        let username = payload.username.filter(|username| *username != 0);
        if let Some(username) = username {
            return Ok(Self::login(service, username, &payload, key, link));
        }
        let Some(data) = payload.device_pairing_data else {
            return Err(Ending::Violation("neither a login nor a registration"));
        };
        if let Some(cut) = service.faults.at_login(Who::default()) {
            cut.apply(link);
            if cut.is_end() {
                return Ok(Self::Refused);
            }
        }
        match Candidate::read(data) {
            Ok(candidate) => Ok(Self::Registering(Registration::start(
                service,
                link.clone(),
                key,
                candidate,
            ))),
            Err(field) => {
                tracing::debug!(field, "registration data is malformed");
                Err(Ending::Violation("malformed registration data"))
            }
        }
    }

    fn login(
        service: &Service,
        username: u64,
        payload: &ClientPayload,
        key: [u8; 32],
        link: &Arc<Link>,
    ) -> Self {
        let account = service.account_by_pn(&username.to_string());
        let id = payload.device.and_then(|device| u16::try_from(device).ok());
        let refused = |reason: &str| {
            service.counters.logins_refused.one();
            // Attempts are written down for numbers a device of the account can have.
            let named = account.as_ref().zip(id);
            if let Some((account, id)) = named.filter(|(_, id)| (1..=DEVICE_ID_MAX).contains(id)) {
                let ledger = service.ledgers.of_device(&account.pn, id);
                ledger.refused(link, reason);
            }
            Self::Refused
        };
        let device = account
            .as_ref()
            .zip(id)
            .and_then(|(account, id)| account.device(id));
        let known = account
            .clone()
            .zip(device.filter(|device| device.noise_key == key));
        let Some((account, device)) = known else {
            let reason = StanzaError::DeviceRemoved.code();
            let failure = Node::new("failure").attr("reason", reason);
            link.end_with(&failure.attr("location", "sandbox"));
            return refused(reason);
        };
        if let Some(cut) = service.faults.at_login(Who::new(&account.pn, device.id)) {
            cut.apply(link);
            if cut.is_end() {
                return refused(&cut.reason());
            }
        }
        let passive = payload.passive.unwrap_or(false);
        let session = Session::start(service, account, device, link.clone(), passive);
        Self::LoggedIn(Box::new(session))
    }
}
