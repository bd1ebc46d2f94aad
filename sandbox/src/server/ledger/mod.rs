//! Evidence: every login of every companion, and the frames of each, in one order.
//!
//! A connection writes down what it reads and writes; the control API reads. Numbers rise over the
//! whole sandbox, so the ledgers of several devices can be laid side by side, and two connections
//! that act for one device cannot hide it. Each device keeps its latest logins and frames; how many
//! were forgotten is told. The ledger ends with the process.

mod entry;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

pub(super) use entry::{Event, FrameEvent, LoginView};
use entry::{Frame, Login};

use super::account::{DEVICE_ID_MAX, DeviceRef};
use super::link::Link;
use super::sync::{lock, now_us};
use crate::wire::node::{Limits, Node, decode};

/// All ledgers. An account's are made when its devices log in, and stay when they are unlinked.
pub(super) struct Ledgers {
    devices: Mutex<HashMap<DeviceRef, Arc<DeviceLedger>>>,
    clock: Arc<Clock>,
}

#[derive(Debug)]
struct Clock {
    last: AtomicU64,
    frames: AtomicU64,
    logins_max: usize,
    frames_max: usize,
}

/// The ledger of one device.
#[derive(Debug)]
pub(super) struct DeviceLedger {
    clock: Arc<Clock>,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    logins: VecDeque<Login>,
    frames: VecDeque<Frame>,
    forgotten: u64,
}

/// One page of a ledger.
pub(super) struct LedgerPage {
    pub events: Vec<Event>,
    /// There is more after them.
    pub more: bool,
    /// Entries that were written and are no longer kept.
    pub forgotten: u64,
}

impl Ledgers {
    /// With `frames_max` 0 only logins are written down.
    pub(super) fn new(logins_max: usize, frames_max: usize) -> Self {
        let clock = Clock {
            last: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            logins_max: logins_max.max(1),
            frames_max,
        };
        Self {
            devices: Mutex::default(),
            clock: Arc::new(clock),
        }
    }

    /// The ledger of a device, for a connection that writes to it.
    pub(super) fn of_device(&self, account: &Arc<str>, device: u16) -> Arc<DeviceLedger> {
        let mut devices = lock(&self.devices);
        let ledger = devices.entry((account.clone(), device)).or_insert_with(|| {
            Arc::new(DeviceLedger {
                clock: self.clock.clone(),
                pages: Mutex::default(),
            })
        });
        ledger.clone()
    }

    /// The ledger of a device that has logged in, or tried to.
    pub(super) fn find(&self, account: &Arc<str>, device: u16) -> Option<Arc<DeviceLedger>> {
        lock(&self.devices).get(&(account.clone(), device)).cloned()
    }

    /// Logins of an account's devices that were accepted, of those that are kept.
    pub(super) fn accepted(&self, account: &Arc<str>) -> usize {
        let devices = 1..=DEVICE_ID_MAX;
        let ledgers = devices.filter_map(|device| self.find(account, device));
        ledgers.map(|ledger| ledger.accepted()).sum()
    }

    /// Frames written down since the start.
    pub(super) fn frames(&self) -> u64 {
        self.clock.frames.load(Ordering::Relaxed)
    }
}

impl DeviceLedger {
    /// Whether frames are written down.
    pub(super) fn takes_frames(&self) -> bool {
        self.clock.frames_max > 0
    }

    pub(super) fn login(&self, link: &Link) {
        self.write_login(Login::accepted(link));
    }

    pub(super) fn refused(&self, link: &Link, reason: &str) {
        self.write_login(Login::refused(link, reason));
    }

    fn write_login(&self, mut login: Login) {
        let mut pages = lock(&self.pages);
        login.order = self.clock.next();
        login.at_us = now_us();
        while pages.logins.len() >= self.clock.logins_max {
            pages.forgotten += u64::from(pages.logins.pop_front().is_some());
        }
        pages.logins.push_back(login);
    }

    /// The connection of a login has ended.
    pub(super) fn end(&self, connection: u64, reason: &str) {
        let mut pages = lock(&self.pages);
        let login = pages
            .logins
            .iter_mut()
            .rev()
            .find(|login| login.connection == connection);
        if let Some(login) = login {
            login.end(self.clock.next(), now_us(), reason);
        }
    }

    /// A stanza that was read or written; `bytes` is its encoded size.
    pub(super) fn stanza(&self, connection: u64, event: FrameEvent, node: &Node, bytes: usize) {
        if self.takes_frames() {
            let kind = node.get("type").or_else(|| node.get("class"));
            let id = node.get("id").unwrap_or_default();
            self.frame(
                connection,
                event,
                (&node.tag, kind.unwrap_or_default(), id),
                bytes,
            );
        }
    }

    /// A stanza that is written, in its encoded form.
    pub(super) fn encoded(&self, connection: u64, event: FrameEvent, stanza: &Bytes) {
        if !self.takes_frames() {
            return;
        }
        // What the service has encoded itself is not a matter of limits.
        match decode(stanza.clone(), Limits::default()) {
            Ok(node) => self.stanza(connection, event, &node, stanza.len()),
            Err(_) => self.frame(connection, event, ("", "", ""), stanza.len()),
        }
    }

    /// A frame that could not be read as a stanza.
    pub(super) fn unreadable(&self, connection: u64, bytes: usize) {
        if self.takes_frames() {
            self.frame(connection, FrameEvent::Unreadable, ("", "", ""), bytes);
        }
    }

    fn frame(&self, connection: u64, event: FrameEvent, names: (&str, &str, &str), bytes: usize) {
        let mut frame = Frame::new(connection, event, names, bytes);
        let mut pages = lock(&self.pages);
        frame.order = self.clock.next();
        frame.at_us = now_us();
        self.clock.frames.fetch_add(1, Ordering::Relaxed);
        while pages.frames.len() >= self.clock.frames_max {
            pages.forgotten += u64::from(pages.frames.pop_front().is_some());
        }
        pages.frames.push_back(frame);
    }

    fn accepted(&self) -> usize {
        let pages = lock(&self.pages);
        pages.logins.iter().filter(|login| login.is_accepted()).count()
    }

    pub(super) fn logins(&self, device: u16) -> Vec<LoginView> {
        let pages = lock(&self.pages);
        pages.logins.iter().map(|login| login.view(device)).collect()
    }

    /// The events after the one numbered `after`, in order.
    pub(super) fn read(&self, after: u64, limit: usize) -> LedgerPage {
        let pages = lock(&self.pages);
        let start = pages.frames.partition_point(|frame| frame.order <= after);
        // Logins are few, and their ends lie anywhere between the frames.
        let mut events: Vec<Event> = pages.logins.iter().flat_map(Login::events).collect();
        events.retain(|event| event.order > after);
        // One more than asked for tells whether there is more.
        let frames = pages.frames.range(start..).take(limit.saturating_add(1));
        events.extend(frames.map(Frame::event));
        let forgotten = pages.forgotten;
        drop(pages);
        events.sort_unstable_by_key(|event| event.order);
        let more = events.len() > limit;
        events.truncate(limit);
        LedgerPage {
            events,
            more,
            forgotten,
        }
    }
}

impl Clock {
    /// Called under the lock of the ledger it is for, so that each ledger is in order.
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}
