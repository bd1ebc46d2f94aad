//! What a scenario waits for or expects.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::server::account::Account;
use crate::server::phone::{Direction, Kind, Recorded};
use crate::server::service::Service;
use crate::server::template::fill_text;

/// Something that holds or not: an object with one field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::server) enum Condition {
    /// A phone has decrypted messages since the scenario began that fit.
    Received(Box<Received>),
    /// A companion of an account, or any of them, is logged in.
    Connected { phone: String, device: Option<u16> },
    /// The companions of an account have confirmed all but so many stanzas.
    Queued { phone: String, at_most: usize },
    /// The companions of an account have logged in so often since the sandbox started.
    Logins { phone: String, at_least: usize },
    /// The faults this scenario has made, or the latest of them, have struck.
    Struck { at_least: u64 },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Received {
    phone: String,
    /// The phone number of the sender.
    from: Option<String>,
    /// The chat it came in: a phone number, or the address of a group.
    chat: Option<String>,
    /// All of the text.
    text: Option<String>,
    /// A part of the text.
    contains: Option<String>,
    kind: Option<Kind>,
    /// At least so many; 1 without it.
    count: Option<usize>,
    /// No more than `count` either.
    #[serde(default)]
    exactly: bool,
}

/// What conditions are looked at with.
pub(super) struct Looked<'a> {
    pub service: &'a Service,
    /// The number of the last message each phone had when the scenario began.
    pub began: &'a HashMap<String, u64>,
    pub value_of: &'a dyn Fn(&str) -> Option<String>,
    /// How often the faults of the scenario have struck.
    pub strikes: u64,
}

/// How it stands with a condition.
pub(super) struct Standing {
    pub holds: bool,
    /// What there is, for the error.
    pub detail: String,
    /// The id of the last message that fits.
    pub whatsapp_id: Option<String>,
}

impl Standing {
    fn of(holds: bool, detail: String) -> Self {
        Self {
            holds,
            detail,
            whatsapp_id: None,
        }
    }
}

pub(super) fn digits(phone: &str) -> &str {
    phone.strip_prefix('+').unwrap_or(phone)
}

impl Condition {
    /// The phone whose messages it is about.
    pub(super) fn listens_to(&self) -> Option<&str> {
        match self {
            Self::Received(received) => Some(digits(&received.phone)),
            _ => None,
        }
    }

    pub(super) fn look(&self, looked: &Looked<'_>) -> Standing {
        let account = |phone: &String| looked.service.account_by_pn(digits(phone));
        match self {
            Self::Struck { at_least } => Standing::of(
                looked.strikes >= *at_least,
                format!("faults struck {} times", looked.strikes),
            ),
            Self::Received(received) => match account(&received.phone) {
                Some(account) => received.look(&account, looked),
                None => no_account(&received.phone),
            },
            Self::Connected { phone, device } => {
                let Some(account) = account(phone) else {
                    return no_account(phone);
                };
                let mut devices = account.devices().into_iter();
                let connected = devices
                    .by_ref()
                    .filter(|known| device.is_none_or(|device| known.id == device))
                    .any(|device| device.link().is_some());
                let detail = if connected {
                    "it is connected"
                } else {
                    "it is not connected"
                };
                Standing::of(connected, detail.to_owned())
            }
            Self::Queued { phone, at_most } => {
                let Some(account) = account(phone) else {
                    return no_account(phone);
                };
                let queued: usize = account.devices().iter().map(|device| device.queued()).sum();
                Standing::of(queued <= *at_most, format!("{queued} stanzas are not confirmed"))
            }
            Self::Logins { phone, at_least } => {
                let Some(account) = account(phone) else {
                    return no_account(phone);
                };
                let logins = looked.service.ledgers.accepted(&account.pn);
                Standing::of(logins >= *at_least, format!("there were {logins} logins"))
            }
        }
    }
}

fn no_account(phone: &str) -> Standing {
    Standing::of(false, format!("{phone} has no account"))
}

impl Received {
    fn look(&self, account: &Arc<Account>, looked: &Looked<'_>) -> Standing {
        let chat = self.chat.as_ref().map(|chat| fill_text(chat, looked.value_of));
        let text = self.text.as_ref().map(|text| fill_text(text, looked.value_of));
        let contains = self
            .contains
            .as_ref()
            .map(|text| fill_text(text, looked.value_of));
        let fits = |message: &Recorded| {
            let said = message.text.as_deref().unwrap_or_default();
            message.direction == Direction::Received
                && self.from.as_ref().is_none_or(|from| digits(from) == message.from)
                && chat.as_ref().is_none_or(|chat| digits(chat) == message.chat)
                && text.as_ref().is_none_or(|text| said == text)
                && contains.as_ref().is_none_or(|part| said.contains(part.as_str()))
                && self.kind.is_none_or(|kind| kind == message.kind)
        };
        let began = looked.began.get(&*account.pn).copied().unwrap_or(0);
        let (found, whatsapp_id) = account.phone.count_messages(began, fits);
        let wanted = self.count.unwrap_or(1);
        let holds = if self.exactly {
            found == wanted
        } else {
            found >= wanted
        };
        Standing {
            holds,
            detail: format!("{} received {found} such messages of {wanted}", account.pn),
            whatsapp_id,
        }
    }
}
