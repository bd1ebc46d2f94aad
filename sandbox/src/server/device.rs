//! A linked companion: its keys, its queue, and its connection while it is logged in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::config::SandboxConfig;
use super::link::Link;
use super::persist::{PersistError, SavedAccount, Shelf, Table};
use super::queue::{Class, Entry, Offer, Queue};
use super::sync::lock;
use crate::signal::{Bundle, OneTimePrekey, SignedPrekey};
use crate::wire::node::Node;

/// Below this many one-time keys a companion is asked for more.
pub(super) const PREKEYS_LOW: usize = 5;
/// One-time keys kept for a companion.
pub(super) const PREKEYS_MAX: usize = 2_000;

/// A linked companion. What it is never changes; how it is doing is in its state.
#[derive(Debug)]
pub(super) struct Device {
    pub id: u16,
    pub registration_id: u32,
    pub identity: [u8; 32],
    pub noise_key: [u8; 32],
    /// The encoded, doubly signed device identity that is served in bundles.
    pub proof: Bytes,
    pub about: About,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    signed_prekey: SignedPrekey,
    prekeys: VecDeque<(u32, [u8; 32])>,
    /// Where the first of the one-time keys is kept; the others follow it.
    prekeys_at: u64,
    prekeys_uploaded: bool,
    /// The phone has sent the app-state keys and the history.
    bootstrapped: bool,
    queue: Queue,
    session: Option<Session>,
    shelf: Shelf,
}

/// A companion as it is kept, and as it is when it was just linked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DeviceRow {
    pub registration_id: u32,
    #[serde(with = "serde_bytes")]
    pub identity: [u8; 32],
    #[serde(with = "serde_bytes")]
    pub noise_key: [u8; 32],
    #[serde(with = "serde_bytes")]
    pub proof: Vec<u8>,
    pub signed_prekey: SignedPrekey,
    pub prekeys_uploaded: bool,
    pub bootstrapped: bool,
    #[serde(default)]
    pub about: About,
}

/// What a client said of itself when it was linked, and when that was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub platform: Option<String>,
    pub os: Option<String>,
    pub linked_at_s: u64,
}

/// A one-time key as it is kept.
#[derive(Serialize, Deserialize)]
struct PrekeyRow {
    id: u32,
    #[serde(with = "serde_bytes")]
    public: [u8; 32],
}

/// What lasts as long as one login.
#[derive(Debug)]
struct Session {
    link: Arc<Link>,
    /// Queued stanzas are held back until then.
    active: bool,
    available: bool,
    /// Number of the next queued stanza to write.
    cursor: u64,
    flush: Flush,
}

/// The delivery of what had gathered before the login.
#[derive(Debug)]
enum Flush {
    Due,
    /// Stanzas before `end` were queued before the login; `sent` of them are written.
    Running {
        end: u64,
        sent: usize,
    },
    Done,
}

impl Device {
    pub(super) fn new(id: u16, row: DeviceRow, shelf: Shelf, config: &SandboxConfig) -> Self {
        let state = State {
            signed_prekey: row.signed_prekey,
            prekeys: VecDeque::new(),
            prekeys_at: 1,
            prekeys_uploaded: row.prekeys_uploaded,
            bootstrapped: row.bootstrapped,
            queue: Queue::new(config.queue_entries_max, config.queue_bytes_max, shelf.clone()),
            session: None,
            shelf,
        };
        Self {
            id,
            registration_id: row.registration_id,
            identity: row.identity,
            noise_key: row.noise_key,
            proof: row.proof.into(),
            about: row.about,
            state: Mutex::new(state),
        }
    }

    /// Takes back the one-time keys and the queue that were kept for this device.
    pub(super) fn restore(&self, saved: &mut SavedAccount) -> Result<(), PersistError> {
        let mut state = lock(&self.state);
        for (position, PrekeyRow { id, public }) in saved.values(Table::Prekey, self.id)? {
            if state.prekeys.is_empty() {
                state.prekeys_at = position;
            }
            state.prekeys.push_back((id, public));
        }
        state.queue.restore(saved, self.id)
    }

    /// Keeps what changes seldom.
    pub(super) fn keep(&self) {
        self.keep_state(&lock(&self.state));
    }

    fn keep_state(&self, state: &State) {
        state.shelf.keep(|rows| {
            let row = DeviceRow {
                registration_id: self.registration_id,
                identity: self.identity,
                noise_key: self.noise_key,
                proof: self.proof.to_vec(),
                signed_prekey: state.signed_prekey.clone(),
                prekeys_uploaded: state.prekeys_uploaded,
                bootstrapped: state.bootstrapped,
                about: self.about.clone(),
            };
            rows.put(Table::Device, 0, "", &row);
        });
    }

    /// Deletes what is kept: the device is unlinked.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.queue.abandon();
        let shelf = std::mem::take(&mut state.shelf);
        let prekeys = state.prekeys_at..state.prekeys_at + state.prekeys.len() as u64;
        shelf.keep(|rows| {
            rows.delete(Table::Device, 0, "");
            prekeys.for_each(|position| rows.delete(Table::Prekey, position, ""));
        });
    }

    /// Makes `link` the device's connection. Returns the one it replaces.
    pub(super) fn attach(&self, link: Arc<Link>, active: bool) -> Option<Arc<Link>> {
        let session = Session {
            link,
            active,
            available: false,
            cursor: 0,
            flush: Flush::Due,
        };
        lock(&self.state).session.replace(session).map(|old| old.link)
    }

    /// Forgets the connection if it is still `link`. Returns whether it was.
    pub(super) fn detach(&self, link: u64) -> bool {
        let mut state = lock(&self.state);
        let is_ours = state
            .session
            .as_ref()
            .is_some_and(|session| session.link.id == link);
        if is_ours {
            state.session = None;
        }
        is_ours
    }

    pub(super) fn link(&self) -> Option<Arc<Link>> {
        lock(&self.state)
            .session
            .as_ref()
            .map(|session| session.link.clone())
    }

    pub(super) fn is_available(&self) -> bool {
        lock(&self.state)
            .session
            .as_ref()
            .is_some_and(|session| session.available)
    }

    pub(super) fn set_available(&self, available: bool) {
        if let Some(session) = &mut lock(&self.state).session {
            session.available = available;
        }
    }

    /// Holds back or releases queued stanzas.
    pub(super) fn set_active(&self, active: bool) {
        if let Some(session) = &mut lock(&self.state).session {
            session.active = active;
            session.link.outbox.wake();
        }
    }

    /// Whether the phone shall send its first messages now; answers yes once.
    pub(super) fn take_bootstrap(&self) -> bool {
        let mut state = lock(&self.state);
        let active = state.session.as_ref().is_some_and(|session| session.active);
        let due = active && state.prekeys_uploaded && !state.bootstrapped;
        if due {
            state.bootstrapped = true;
            self.keep_state(&state);
        }
        due
    }

    /// Queues a stanza until the companion settles it.
    pub(super) fn offer(&self, entry: Entry) -> Offer {
        let mut state = lock(&self.state);
        let offer = state.queue.offer(entry);
        if offer == Offer::Queued
            && let Some(session) = &state.session
        {
            session.link.outbox.wake();
        }
        offer
    }

    /// Sends a stanza that is worth nothing later: only to a companion that is online.
    pub(super) fn send_live(&self, node: &Node) {
        if let Some(session) = &lock(&self.state).session {
            session.link.outbox.push_if_idle(node);
        }
    }

    pub(super) fn queue_is_full(&self) -> bool {
        lock(&self.state).queue.is_full()
    }

    pub(super) fn queued(&self) -> usize {
        lock(&self.state).queue.len()
    }

    pub(super) fn settle(
        &self,
        class: Class,
        id: &str,
        resend: bool,
        matches: impl Fn(&Entry) -> bool,
    ) -> usize {
        lock(&self.state).queue.settle(class, id, resend, matches)
    }

    pub(super) fn forget_settled(&self, id: &str, origin: u64) {
        lock(&self.state).queue.forget_settled(id, origin);
    }

    /// The next stanzas for `link`, in order: the queue as it was at the login between an offline
    /// preview and an offline mark, then what came after.
    pub(super) fn pull(&self, link: u64, count: usize) -> Vec<Node> {
        let mut state = lock(&self.state);
        let State { queue, session, .. } = &mut *state;
        let Some(session) = session
            .as_mut()
            .filter(|session| session.link.id == link && session.active)
        else {
            return Vec::new();
        };
        let mut nodes = Vec::new();
        if let Flush::Due = session.flush {
            session.flush = Flush::Running {
                end: queue.end(),
                sent: 0,
            };
            if queue.len() > 0 {
                nodes.push(offline_preview(queue));
            }
        }
        for (number, entry) in queue.read(session.cursor, count) {
            let node = match &mut session.flush {
                Flush::Running { end, sent } if number < *end => {
                    let node = entry.node.clone().attr("offline", sent.to_string());
                    *sent += 1;
                    node
                }
                Flush::Running { sent, .. } => {
                    nodes.push(offline_mark(*sent));
                    session.flush = Flush::Done;
                    entry.node.clone()
                }
                _ => entry.node.clone(),
            };
            nodes.push(node);
            session.cursor = number + 1;
        }
        if let Flush::Running { end, sent } = session.flush
            && queue
                .read(session.cursor, 1)
                .next()
                .is_none_or(|(number, _)| number >= end)
        {
            nodes.push(offline_mark(sent));
            session.flush = Flush::Done;
        }
        nodes
    }

    /// Adds one-time keys and replaces the signed one. Returns how many there are.
    pub(super) fn upload_prekeys(&self, signed: SignedPrekey, keys: Vec<(u32, [u8; 32])>) -> usize {
        let mut state = lock(&self.state);
        let State {
            prekeys,
            prekeys_at,
            shelf,
            ..
        } = &mut *state;
        let known = prekeys.len();
        for key in keys {
            if !prekeys.iter().any(|known| known.0 == key.0) {
                prekeys.push_back(key);
            }
        }
        shelf.keep(|rows| {
            for (at, (id, public)) in (*prekeys_at..).zip(&*prekeys).skip(known) {
                let row = PrekeyRow {
                    id: *id,
                    public: *public,
                };
                rows.put(Table::Prekey, at, "", &row);
            }
        });
        while prekeys.len() > PREKEYS_MAX {
            pop_prekey(prekeys, prekeys_at, shelf);
        }
        prekeys.shrink_to_fit();
        state.signed_prekey = signed;
        state.prekeys_uploaded = true;
        self.keep_state(&state);
        state.prekeys.len()
    }

    pub(super) fn rotate_signed_prekey(&self, signed: SignedPrekey) {
        let mut state = lock(&self.state);
        state.signed_prekey = signed;
        self.keep_state(&state);
    }

    pub(super) fn signed_prekey(&self) -> SignedPrekey {
        lock(&self.state).signed_prekey.clone()
    }

    pub(super) fn prekeys(&self) -> Vec<(u32, [u8; 32])> {
        lock(&self.state).prekeys.iter().copied().collect()
    }

    pub(super) fn prekey_count(&self) -> usize {
        lock(&self.state).prekeys.len()
    }

    /// Hands out a bundle with a one-time key, while there are any, and how many are left.
    pub(super) fn take_bundle(&self) -> (Bundle, usize) {
        let mut state = lock(&self.state);
        let State {
            prekeys,
            prekeys_at,
            shelf,
            ..
        } = &mut *state;
        let prekey = pop_prekey(prekeys, prekeys_at, shelf).map(|(id, public)| OneTimePrekey { id, public });
        let bundle = Bundle {
            registration_id: self.registration_id,
            identity: self.identity,
            signed_prekey: state.signed_prekey.clone(),
            prekey,
        };
        (bundle, state.prekeys.len())
    }
}

/// Takes the oldest one-time key.
fn pop_prekey(
    prekeys: &mut VecDeque<(u32, [u8; 32])>,
    prekeys_at: &mut u64,
    shelf: &Shelf,
) -> Option<(u32, [u8; 32])> {
    let prekey = prekeys.pop_front()?;
    shelf.keep(|rows| rows.delete(Table::Prekey, *prekeys_at, ""));
    *prekeys_at += 1;
    Some(prekey)
}

fn offline_preview(queue: &Queue) -> Node {
    let mut counts = [0_usize; 3];
    for (_, entry) in queue.read(0, usize::MAX) {
        counts[entry.class as usize] += 1;
    }
    let [message, receipt, notification] = counts.map(|count| count.to_string());
    let preview = Node::new("offline_preview")
        .attr("count", queue.len().to_string())
        .attr("message", message)
        .attr("receipt", receipt)
        .attr("notification", notification)
        .attr("call", "0")
        .attr("appdata", "0");
    Node::new("ib").attr("from", "s.whatsapp.net").child(preview)
}

fn offline_mark(count: usize) -> Node {
    Node::new("ib")
        .attr("from", "s.whatsapp.net")
        .child(Node::new("offline").attr("count", count.to_string()))
}
