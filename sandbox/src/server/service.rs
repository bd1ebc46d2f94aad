//! The simulated service: every account, every connection that waits to be paired, the counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Instant;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SandboxError;
use super::account::{Account, AccountRow};
use super::config::SandboxConfig;
use super::fault::Faults;
use super::group::Groups;
use super::ledger::Ledgers;
use super::media::Media;
use super::persist::{Journal, PersistError, Row, Saved, Table};
use super::phone::{VirtualPhone, app_state};
use super::place::Places;
use super::registration::Registration;
use super::scenario::Scenarios;
use super::stats::{Counters, Stats};
use super::sync::{lock, now_s, read, write};
use crate::wire::jid::{Domain, Jid};
use crate::wire::noise::CertificateAuthority;

pub(super) struct Service {
    pub config: SandboxConfig,
    pub authority: CertificateAuthority,
    pub counters: Counters,
    pub journal: Journal,
    pub faults: Faults,
    pub ledgers: Ledgers,
    pub scenarios: Scenarios,
    pub groups: Groups,
    pub media: Media,
    /// Cancelled when the sandbox ends.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub places: Places,
    directory: RwLock<Directory>,
    waiting: Mutex<Waiting>,
    last_id: AtomicU64,
    started: Instant,
}

#[derive(Default)]
struct Directory {
    by_pn: HashMap<Arc<str>, Arc<Account>>,
    by_lid: HashMap<Arc<str>, Arc<Account>>,
    by_number: HashMap<u32, Arc<Account>>,
    /// The highest number of an account so far; none is used again.
    last_number: u32,
}

/// Connections that wait to be paired. They are owned by their tasks.
#[derive(Default)]
struct Waiting {
    by_reference: HashMap<String, Weak<Registration>>,
    /// The latest request to link with a code, per phone number.
    by_number: HashMap<Arc<str>, Weak<Registration>>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum CreateError {
    #[error("the phone number has an account already")]
    Exists,
    #[error("the sandbox holds its limit of {0} accounts")]
    TooMany(usize),
}

/// The name of the setting that holds the server's keys.
const AUTHORITY: &str = "authority";

/// The server's keys: those that were saved, or new ones.
fn authority(journal: &Journal, settings: &[Row]) -> Result<CertificateAuthority, PersistError> {
    if let Some(row) = settings.iter().find(|row| &*row.name == AUTHORITY) {
        return row.value();
    }
    let authority = CertificateAuthority::generate(now_s());
    journal
        .shelf(0, 0)
        .keep(|rows| rows.put(Table::Setting, 0, AUTHORITY, &authority));
    Ok(authority)
}

/// All accounts, by their own numbers.
type Accounts = BTreeMap<u32, Arc<Account>>;

impl Directory {
    fn add(&mut self, account: Arc<Account>) {
        self.by_number.insert(account.raw_id, account.clone());
        self.by_lid.insert(account.lid(), account.clone());
        self.by_pn.insert(account.pn.clone(), account);
    }

    /// A LID nobody has.
    fn free_lid(&self) -> Arc<str> {
        loop {
            let lid = rand::random_range(100_000_000_000_000_u64..1_000_000_000_000_000).to_string();
            if !self.by_lid.contains_key(lid.as_str()) {
                return lid.into();
            }
        }
    }

    fn restore(
        config: &SandboxConfig,
        journal: &Journal,
        mut saved: Saved,
    ) -> Result<(Self, Accounts), PersistError> {
        let mut accounts = BTreeMap::new();
        for (raw_id, of_account) in &mut saved.accounts {
            let account = Account::restore(of_account, *raw_id, journal.shelf(*raw_id, 0), config)?;
            accounts.insert(*raw_id, Arc::new(account));
        }
        // What waits for a phone names its sender, which may be any account.
        for (raw_id, of_account) in &mut saved.accounts {
            if let Some(account) = accounts.get(raw_id) {
                account.phone.restore_inbox(of_account, &accounts)?;
            }
        }
        let mut directory = Self::default();
        for account in accounts.values() {
            directory.last_number = directory.last_number.max(account.raw_id);
            if account.is_closed() {
                continue;
            }
            directory.add(account.clone());
        }
        Ok((directory, accounts))
    }
}

impl Service {
    /// A service with what was saved of an earlier one.
    pub(super) fn new(
        config: SandboxConfig,
        journal: Journal,
        mut saved: Saved,
    ) -> Result<Self, SandboxError> {
        let mut own = saved.accounts.remove(&0).unwrap_or_default();
        let settings = own.take(Table::Setting, 0);
        let authority = authority(&journal, &settings)?;
        let media = Media::open(&config, &journal, &settings, own.take(Table::Media, 0))?;
        let (directory, accounts) = Directory::restore(&config, &journal, saved)?;
        let groups = Groups::new(&config, journal.shelf(0, 0));
        groups.restore(&mut own, &accounts)?;
        for account in accounts.values() {
            app_state::restore(&media, account);
        }
        Ok(Self {
            authority,
            faults: Faults::new(config.fault_seed, config.faults_max),
            scenarios: Scenarios::default(),
            ledgers: Ledgers::new(config.ledger_logins_max, config.ledger_frames_max),
            config,
            counters: Counters::default(),
            journal,
            groups,
            media,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            places: Places::default(),
            directory: RwLock::new(directory),
            waiting: Mutex::default(),
            // Not from zero: a stanza's id is not to be met again after a quick restart.
            last_id: AtomicU64::new(u64::from(rand::random::<u32>())),
            started: Instant::now(),
        })
    }

    /// A number no other connection or stanza of this service has.
    pub(super) fn next_number(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An id for a stanza the service sends on its own account.
    pub(super) fn stanza_id(&self) -> String {
        format!("{}.{}", now_s() & 0xFF_FFFF, self.next_number())
    }

    pub(super) fn create_account(
        &self,
        pn: &str,
        name: String,
        echo: bool,
    ) -> Result<Arc<Account>, CreateError> {
        if self.account_by_pn(pn).is_some() {
            return Err(CreateError::Exists);
        }
        // The keys are made outside the lock, so that creating many accounts stalls nobody.
        let phone = VirtualPhone::generate(&self.config, echo);
        let mut directory = write(&self.directory);
        if directory.by_pn.contains_key(pn) {
            return Err(CreateError::Exists);
        }
        if directory.by_pn.len() >= self.config.accounts_max {
            return Err(CreateError::TooMany(self.config.accounts_max));
        }
        let lid = directory.free_lid();
        // Unlike a random number, a count tells accounts apart for certain.
        let raw_id = directory.last_number + 1;
        directory.last_number = raw_id;
        let row = AccountRow {
            pn: pn.into(),
            lid: (&*lid).into(),
            name,
            is_closed: false,
        };
        let shelf = self.journal.shelf(raw_id, 0);
        let account = Arc::new(Account::new(row, raw_id, phone, shelf));
        directory.add(account.clone());
        Ok(account)
    }

    /// Gives an account another LID.
    pub(super) fn replace_lid(&self, account: &Arc<Account>) {
        let mut directory = write(&self.directory);
        let lid = directory.free_lid();
        let old = account.set_lid(lid.clone());
        directory.by_lid.remove(&old);
        directory.by_lid.insert(lid, account.clone());
    }

    /// Takes an account out of the directory: its number and its LID name nobody any more.
    pub(super) fn close_account(&self, account: &Account) {
        let mut directory = write(&self.directory);
        directory.by_pn.remove(&account.pn);
        directory.by_lid.remove(&account.lid());
        directory.by_number.remove(&account.raw_id);
        account.close();
    }

    pub(super) fn account_by_pn(&self, pn: &str) -> Option<Arc<Account>> {
        read(&self.directory).by_pn.get(pn).cloned()
    }

    /// The account with this number, which is its own whatever its addresses are.
    pub(super) fn account_by_number(&self, raw_id: u32) -> Option<Arc<Account>> {
        read(&self.directory).by_number.get(&raw_id).cloned()
    }

    /// The account a JID belongs to, by either of its addresses.
    pub(super) fn account(&self, jid: &Jid) -> Option<Arc<Account>> {
        let directory = read(&self.directory);
        match jid.domain {
            Domain::Pn | Domain::Legacy | Domain::Hosted => directory.by_pn.get(jid.user.as_str()).cloned(),
            Domain::Lid | Domain::HostedLid => directory.by_lid.get(jid.user.as_str()).cloned(),
            _ => None,
        }
    }

    /// All accounts by phone number.
    pub(super) fn accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts: Vec<_> = read(&self.directory).by_pn.values().cloned().collect();
        accounts.sort_unstable_by(|a, b| a.pn.cmp(&b.pn));
        accounts
    }

    pub(super) fn await_scan(&self, registration: &Arc<Registration>) {
        let mut waiting = lock(&self.waiting);
        for reference in registration.references() {
            waiting
                .by_reference
                .insert(reference.clone(), Arc::downgrade(registration));
        }
    }

    pub(super) fn await_code(&self, pn: Arc<str>, registration: &Arc<Registration>) {
        lock(&self.waiting)
            .by_number
            .insert(pn, Arc::downgrade(registration));
    }

    pub(super) fn end_waiting(&self, registration: &Registration) {
        let mut waiting = lock(&self.waiting);
        for reference in registration.references() {
            waiting.by_reference.remove(reference);
        }
        waiting.by_number.retain(|_, weak| {
            weak.upgrade()
                .is_some_and(|other| other.link.id != registration.link.id)
        });
    }

    pub(super) fn waiting_for_scan(&self, reference: &str) -> Option<Arc<Registration>> {
        lock(&self.waiting).by_reference.get(reference)?.upgrade()
    }

    pub(super) fn waiting_for_code(&self, pn: &str) -> Option<Arc<Registration>> {
        lock(&self.waiting).by_number.get(pn)?.upgrade()
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            links: self.places.open(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            groups: self.groups.count() as u64,
            media_bytes: self.media.store.budget.used(),
            scenarios_running: self.scenarios.running(),
            ledger_frames: self.ledgers.frames(),
            counters: self.counters.values(),
            ..Stats::default()
        };
        (stats.faults_active, stats.faults_struck) = self.faults.counts();
        for account in self.accounts() {
            stats.accounts += 1;
            for device in account.devices() {
                stats.devices += 1;
                stats.connected += u64::from(device.link().is_some());
                stats.queued += device.queued() as u64;
            }
        }
        stats
    }
}
