//! The virtual phone: device 0 of every account, a real Signal endpoint.
//!
//! Companions' stanzas reach it through a bounded inbox, which one task at a time works off; the
//! control API sends through it directly. Its state is locked only while it computes: bundles of
//! other devices are fetched before, copies are routed after, so two phones never wait for each
//! other. With a data folder all of it survives a restart, but how often it asked for resends; a job
//! and all it caused are kept at once, so a job that a crash interrupted is done again.

mod answering;
pub(super) mod app_state;
mod ballots;
mod chat_state;
mod content;
mod detail;
mod endpoint;
mod frame;
mod group;
mod history;
mod inbox;
pub(in crate::server) mod media;
mod medium;
mod peer_data;
mod receive;
mod record;
mod reupload;
mod send;
mod sent;
mod stanza;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use answering::Answering;
use app_state::AppState;
use ballots::Ballots;
pub use ballots::{BallotView, Tally};
use chat_state::Ears;
pub use chat_state::Heard;
pub use content::Content;
pub(super) use content::{Outgoing, Place};
pub(super) use detail::Unfit;
pub use detail::{Card, Detail, Response};
use endpoint::Endpoint;
pub use frame::Frame;
pub(super) use group::send as send_to_group;
use inbox::{Inbox, Job};
pub use media::UploadedMedium;
pub use medium::{MediumKind, MediumView};
pub use record::{Direction, Kind, Recorded};
use record::{Memory, Notebook};
pub(super) use send::{Notice, SendError, mark, mark_read, rotate_app_state_key, send};

use super::account::Account;
use super::config::SandboxConfig;
use super::persist::{PersistError, Row, SavedAccount, Shelf, Table};
use super::rule;
use super::service::Service;
use super::stanza::message::Sender;
use super::sync::lock;
use crate::signal::proto::{Message, ProtoMessage};
use crate::signal::{Bundle, KeyPair};
use crate::wire::node::Node;

/// Stanzas a phone handles before it lets other tasks run.
const JOBS_PER_TURN: usize = 16;
/// Names of the settings that are kept.
const ECHO: &str = "echo";

pub(super) struct VirtualPhone {
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    inbox_max: usize,
    inbox_bytes_max: usize,
    echo: AtomicBool,
    /// The account is shown as online even when no companion says so.
    available: AtomicBool,
    answering: Answering,
    app_state: Mutex<AppState>,
    ears: Mutex<Ears>,
}

struct State {
    signal: Endpoint,
    /// What it decrypted.
    notebook: Notebook,
    /// What it sent, to answer requests for a resend.
    sent: Memory<sent::Sent>,
    /// The media messages it sent or received.
    media: Memory<Arc<Message>>,
    /// Polls and events, and who answered what.
    ballots: Ballots,
    /// How often it asked for a resend.
    retries: Memory<u32>,
    shelf: Shelf,
}

impl State {
    fn new(signal: Endpoint, shelf: Shelf, config: &SandboxConfig) -> Self {
        let (entries_max, bytes_max) = (config.phone_messages_max, config.phone_messages_bytes_max);
        Self {
            signal,
            notebook: Notebook::new(entries_max, bytes_max, shelf.clone()),
            sent: Memory::new(entries_max, bytes_max, sent::Sent::weight),
            media: Memory::new(entries_max, bytes_max, |message| message.encoded_len()),
            ballots: Ballots::new(shelf.clone()),
            retries: Memory::new(entries_max, bytes_max, |_| 0),
            shelf,
        }
    }
}

impl VirtualPhone {
    pub(super) fn generate(config: &SandboxConfig, echo: bool) -> Self {
        let state = State::new(Endpoint::generate(), Shelf::none(), config);
        Self::of(state, echo, AppState::generate(), config)
    }

    fn of(state: State, echo: bool, app_state: AppState, config: &SandboxConfig) -> Self {
        let inbox = Inbox::new(state.shelf.clone());
        Self {
            state: Mutex::new(state),
            inbox: Mutex::new(inbox),
            inbox_max: config.phone_inbox_max,
            inbox_bytes_max: config.phone_inbox_bytes_max,
            echo: AtomicBool::new(echo),
            available: AtomicBool::new(false),
            answering: Answering::default(),
            app_state: Mutex::new(app_state),
            ears: Mutex::default(),
        }
    }

    /// A phone as it was kept, but for its inbox.
    pub(super) fn restore(
        saved: &mut SavedAccount,
        settings: &HashMap<Box<str>, Row>,
        shelf: Shelf,
        config: &SandboxConfig,
    ) -> Result<Self, PersistError> {
        let mut state = State::new(Endpoint::restore(saved, shelf.clone())?, shelf, config);
        state.notebook.restore(saved)?;
        state.restore_sent(saved)?;
        state.restore_media(saved)?;
        state.ballots.restore(saved)?;
        let echo = settings.get(ECHO).map_or(Ok(false), Row::value)?;
        let table = Table::Setting.name();
        let keys = settings
            .get(app_state::KEYS)
            .ok_or(PersistError::Incomplete { table })?;
        let app_state = AppState::with_keys(keys.value()?);
        let mut phone = Self::of(state, echo, app_state, config);
        phone.answering = Answering::restore(settings)?;
        Ok(phone)
    }

    pub(super) fn restore_inbox(
        &self,
        saved: &mut SavedAccount,
        accounts: &BTreeMap<u32, Arc<Account>>,
    ) -> Result<(), PersistError> {
        lock(&self.inbox).restore(saved, accounts)
    }

    /// Starts keeping a new phone.
    pub(super) fn shelve(&mut self, shelf: Shelf) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.signal.shelve(shelf.clone());
        state.notebook.shelve(shelf.clone());
        state.ballots.shelve(shelf.clone());
        state.shelf = shelf.clone();
        shelf.keep(|rows| {
            rows.put(Table::Setting, 0, ECHO, self.echo.get_mut());
            let app_state = self.app_state.get_mut();
            app_state.unwrap_or_else(PoisonError::into_inner).keep(rows);
        });
        self.inbox.get_mut().unwrap_or_else(PoisonError::into_inner).shelf = shelf;
    }

    pub(super) fn identity(&self) -> KeyPair {
        lock(&self.state).signal.identity().clone()
    }

    /// Gives the phone new keys, and returns its new identity: no session and no app state is left.
    pub(super) fn renew(&self) -> KeyPair {
        let mut state = lock(&self.state);
        state.signal.renew();
        let mut app_state = lock(&self.app_state);
        *app_state = AppState::generate();
        state.shelf.keep(|rows| app_state.keep(rows));
        state.signal.identity().clone()
    }

    /// Forgets the sessions with a user whose identity changed.
    pub(super) fn forget_sessions(&self, user: &str) {
        lock(&self.state).signal.forget_sessions(user);
    }

    pub(super) fn fresh_bundle(&self) -> Bundle {
        lock(&self.state).signal.fresh_bundle()
    }

    pub(super) fn echoes(&self) -> bool {
        self.echo.load(Ordering::Relaxed)
    }

    pub(super) fn set_echo(&self, enabled: bool) {
        // Locked, so that what is kept is what was set last.
        let state = lock(&self.state);
        state
            .shelf
            .keep(|rows| rows.put(Table::Setting, 0, ECHO, &enabled));
        self.echo.store(enabled, Ordering::Relaxed);
    }

    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    pub(super) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    pub(super) fn inbox_is_full(&self) -> bool {
        lock(&self.inbox).is_full(self.inbox_max, self.inbox_bytes_max)
    }

    /// The number of the latest decrypted message.
    pub(super) fn last_message(&self) -> u64 {
        lock(&self.state).notebook.last()
    }

    /// How many decrypted messages after the one numbered `after` fit, and the id of the last.
    pub(super) fn count_messages(
        &self,
        after: u64,
        fits: impl Fn(&Recorded) -> bool,
    ) -> (usize, Option<String>) {
        let state = lock(&self.state);
        let (mut count, mut last) = (0, None);
        for message in state.notebook.after(after).filter(|message| fits(message)) {
            (count, last) = (count + 1, Some(&message.whatsapp_id));
        }
        (count, last.cloned())
    }

    /// Decrypted messages after the first `skip`, oldest first.
    pub(super) fn messages(&self, skip: u64, limit: usize) -> Vec<Recorded> {
        let state = lock(&self.state);
        let mut messages = state.notebook.read(skip, limit);
        for message in &mut messages {
            message.raw = Vec::new();
            if matches!(message.kind, Kind::Poll | Kind::Event) {
                message.tally = state.ballots.tally(&message.whatsapp_id);
            }
        }
        messages
    }

    /// The polls and events the phone knows, with their answers.
    pub(super) fn ballots(&self) -> Vec<BallotView> {
        lock(&self.state).ballots.views()
    }
}

/// Puts a message into the phone's inbox.
pub(super) fn deliver(service: &Arc<Service>, account: &Arc<Account>, sender: Sender, node: Node) {
    post(service, account, Job::Message { sender, node });
}

/// Puts a request for a resend into the phone's inbox.
pub(super) fn deliver_retry(service: &Arc<Service>, account: &Arc<Account>, reader: Sender, node: Node) {
    post(service, account, Job::Retry { reader, node });
}

/// Puts a request for a file into the phone's inbox.
pub(super) fn deliver_reupload(service: &Arc<Service>, account: &Arc<Account>, reader: Sender, node: Node) {
    post(service, account, Job::Reupload { reader, node });
}

/// Has the phone send a new companion what it needs to work.
pub(super) fn bootstrap(service: &Arc<Service>, account: &Arc<Account>, device: u16) {
    post(service, account, Job::Bootstrap { device });
}

fn post(service: &Arc<Service>, account: &Arc<Account>, job: Job) {
    if account.phone.inbox_is_full() {
        service.counters.dropped.one();
        return;
    }
    let mut inbox = lock(&account.phone.inbox);
    inbox.push(job);
    if std::mem::replace(&mut inbox.running, true) {
        return;
    }
    drop(inbox);
    start_working(service, account.clone());
}

/// Has all phones work off what they had not when the sandbox ended.
pub(super) fn resume(service: &Arc<Service>) {
    if !service.journal.is_durable() {
        return;
    }
    for account in service.accounts() {
        rule::resume(service, &account);
        lock(&account.phone.inbox).running = true;
        start_working(service, account);
    }
}

fn start_working(service: &Arc<Service>, account: Arc<Account>) {
    let worker = service.clone();
    service.tasks.spawn(async move {
        while work(&worker, &account) {
            tokio::task::yield_now().await;
        }
    });
}

/// Works off a few jobs. Returns whether there may be more.
fn work(service: &Arc<Service>, account: &Arc<Account>) -> bool {
    for _ in 0..JOBS_PER_TURN {
        let _unit = service.journal.unit();
        let job = {
            let mut inbox = lock(&account.phone.inbox);
            let Some(job) = inbox.pop() else {
                inbox.running = false;
                return false;
            };
            job
        };
        match job {
            Job::Message { sender, node } => receive::message(service, account, &sender, &node),
            Job::Retry { reader, node } => send::resend(service, account, &reader, &node),
            Job::Reupload { reader, node } => reupload::answer(service, account, &reader, &node),
            Job::Bootstrap { device } => send::bootstrap(service, account, device),
        }
    }
    true
}
