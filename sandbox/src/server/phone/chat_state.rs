//! Who types to the phone: the latest state per chat, while the sandbox runs.

use std::collections::HashMap;

use serde::Serialize;

use super::VirtualPhone;
use crate::server::stanza::presence::ChatState;
use crate::server::sync::{lock, now_s};

/// Chats whose state is remembered.
const HEARD_MAX: usize = 1_024;

/// What the other side does in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// A phone number.
    pub from: String,
    pub state: ChatState,
    /// Unix seconds.
    pub timestamp: u64,
}

#[derive(Default)]
pub(super) struct Ears(HashMap<Box<str>, Heard>);

impl VirtualPhone {
    pub(in crate::server) fn hear(&self, from: &str, state: ChatState) {
        let mut ears = lock(&self.ears);
        if ears.0.len() >= HEARD_MAX && !ears.0.contains_key(from) {
            return;
        }
        let heard = Heard {
            from: from.to_owned(),
            state,
            timestamp: now_s(),
        };
        ears.0.insert(from.into(), heard);
    }

    /// The latest state of each chat, by number.
    pub(in crate::server) fn heard(&self) -> Vec<Heard> {
        let mut heard: Vec<_> = lock(&self.ears).0.values().cloned().collect();
        heard.sort_unstable_by(|a, b| a.from.cmp(&b.from));
        heard
    }
}
