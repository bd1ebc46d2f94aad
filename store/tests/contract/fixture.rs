//! A fresh database for each test, and short ways to fill it.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roost_domain::event::Event;
use roost_domain::instance::{Instance, NewInstance, Policy};
use roost_domain::message::{Chat, Content, Inbound, InboundBody, Message, NewMessage, Sender};
use roost_domain::store::{
    CommitObserver, EventLog, Idempotency, Instances, Messages, Outcome, Stamp, StoreError, Tenants,
};
use roost_domain::tenant::Tenant;
use roost_domain::time::{Clock, Entropy};
use roost_domain::{Address, Epoch, InstanceId, MessageId, Owner, TenantId, Timestamp};
use roost_store::testing::PostgresServer;
use roost_store::{MasterKey, SqlStore, StoreConfig};
use tempfile::TempDir;

pub const START_MS: i64 = 1_800_000_000_000;

/// A clock that tests set.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn step_back(&self, by: Duration) {
        self.0
            .fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(Ordering::SeqCst))
    }
}

/// Random bytes that never repeat within a test run.
pub struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // SplitMix64: every counter gives another value.
            let mut z = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Keeps what the store tells of.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<(TenantId, Arc<Event>)>>);

impl CommitObserver for Told {
    fn committed(&self, tenant: TenantId, events: &[Arc<Event>]) {
        self.0
            .lock()
            .unwrap()
            .extend(events.iter().map(|event| (tenant, event.clone())));
    }
}

enum Database {
    Sqlite(TempDir),
    Postgres,
}

pub struct Fixture {
    pub store: Arc<SqlStore>,
    pub config: StoreConfig,
    pub clock: Arc<TestClock>,
    pub entropy: Arc<TestEntropy>,
    pub told: Arc<Told>,
    database: Database,
}

/// One server for the whole run; its guard at exit is the process group of the test runner, so it is
/// stopped by the last fixture that goes.
static SERVER: Mutex<Option<(Arc<PostgresServer>, usize)>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Fixture {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::sqlite(folder.path().join("roost.db"), master_key());
        Self::open(config, Database::Sqlite(folder)).await
    }

    pub async fn postgres() -> Self {
        let server = server();
        let name = format!(
            "roost_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        admin(server.url(), &format!("CREATE DATABASE {name}")).await;
        let config = StoreConfig::new(server.database_url(&name), master_key());
        Self::open(config, Database::Postgres).await
    }

    /// With a role of its own that owns the database and has no other rights.
    pub async fn postgres_as_owner() -> Self {
        let server = server();
        let name = format!(
            "roost_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        admin(
            server.url(),
            &format!("CREATE ROLE {name} LOGIN PASSWORD 'roost'"),
        )
        .await;
        admin(server.url(), &format!("CREATE DATABASE {name} OWNER {name}")).await;
        let url = server.database_url(&name);
        let (scheme, rest) = url.split_once("://").unwrap();
        let host = rest.split_once('@').map_or(rest, |(_, host)| host);
        let config = StoreConfig::new(format!("{scheme}://{name}:roost@{host}"), master_key());
        Self::open(config, Database::Postgres).await
    }

    async fn open(mut config: StoreConfig, database: Database) -> Self {
        config.busy_timeout = Duration::from_millis(100);
        config.writer.retry_for = Duration::from_millis(500);
        let clock = Arc::new(TestClock(AtomicI64::new(START_MS)));
        let entropy = Arc::new(TestEntropy(AtomicU64::new(
            NEXT.fetch_add(1, Ordering::Relaxed) << 40,
        )));
        let told = Arc::new(Told::default());
        let store = SqlStore::open(config.clone(), clock.clone(), entropy.clone(), told.clone())
            .await
            .unwrap();
        Self {
            store: Arc::new(store),
            config,
            clock,
            entropy,
            told,
            database,
        }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Arc::new(self.open_again().await.unwrap());
    }

    /// Opens the same database once more.
    pub async fn open_again(&self) -> Result<SqlStore, roost_store::OpenError> {
        let (clock, entropy, told) = (self.clock.clone(), self.entropy.clone(), self.told.clone());
        SqlStore::open(self.config.clone(), clock, entropy, told).await
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.database, Database::Sqlite(_))
    }

    pub fn path(&self) -> std::path::PathBuf {
        match &self.database {
            Database::Sqlite(folder) => folder.path().join("roost.db"),
            Database::Postgres => panic!("no file"),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs SQL beside the store and gives the first column of its rows as text.
    pub async fn sql(&self, sql: &str) -> Vec<String> {
        self.try_sql(sql).await.unwrap()
    }

    /// The same, when it may be refused.
    pub async fn try_sql(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        use sqlx::{ConnectOptions, Row};
        match &self.database {
            Database::Sqlite(_) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
                let mut connection = options.connect().await.unwrap();
                let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await?;
                Ok(rows
                    .iter()
                    .map(|row| row.try_get_unchecked(0).unwrap_or_default())
                    .collect())
            }
            Database::Postgres => {
                let options: sqlx::postgres::PgConnectOptions = self.config.url.parse().unwrap();
                let mut connection = options.connect().await.unwrap();
                let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await?;
                Ok(rows
                    .iter()
                    .map(|row| row.try_get_unchecked(0).unwrap_or_default())
                    .collect())
            }
        }
    }

    /// Runs SQL as whoever set the server up.
    pub async fn admin(&self, sql: &str) {
        let server = server();
        admin(server.url(), sql).await;
        release();
    }

    /// Everything that a closed store has left in its database, to be searched.
    pub async fn written(&self) -> Vec<u8> {
        let written = if self.is_sqlite() {
            let mut bytes = std::fs::read(self.path()).unwrap();
            bytes.extend(std::fs::read(self.path().with_extension("db-wal")).unwrap_or_default());
            bytes
        } else {
            let tables = self
                .sql("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
                .await;
            let mut text = String::new();
            for table in tables {
                // A row as text shows bytes in hex: both spellings are to be looked for.
                text.push_str(
                    &self
                        .sql(&format!("SELECT t::text FROM {table} AS t"))
                        .await
                        .concat(),
                );
            }
            text.into_bytes()
        };
        assert!(written.len() > 1000);
        written
    }

    pub async fn tenant(&self) -> TenantId {
        let id = TenantId::from_parts(START_MS as u64, self.entropy.bits());
        let tenant = Tenant::new(id, "acme".to_owned(), self.now());
        self.store
            .create_tenant(&tenant, None, Stamp::default())
            .await
            .unwrap();
        id
    }

    pub async fn instance(&self, tenant: TenantId) -> Owner {
        let made = self
            .store
            .create_instance(tenant, self.new_instance(), None, Stamp::default())
            .await
            .unwrap();
        let Outcome::Done(Instance { id, .. }) = made else {
            panic!("replayed")
        };
        let owner = Owner {
            tenant,
            instance: id,
            epoch: Epoch(1),
        };
        self.store.activate(owner).await.unwrap();
        owner
    }

    pub fn new_instance(&self) -> NewInstance {
        let id = InstanceId::from_parts(START_MS as u64, self.entropy.bits());
        NewInstance {
            id,
            name: "shop".to_owned(),
            proxy: None,
            pacing: None,
            policy: Policy::default(),
            created_at: self.now(),
        }
    }

    pub async fn owner(&self) -> Owner {
        self.instance(self.tenant().await).await
    }

    pub fn new_message(&self, text: &str) -> NewMessage {
        NewMessage {
            id: MessageId::from_parts(self.now().unix_ms() as u64, self.entropy.bits()),
            chat: chat(1),
            whatsapp_id: roost_domain::message::new_whatsapp_id(self.entropy.bits()),
            content: Content::text(text),
            reply_to: None,
            created_at: self.now(),
            expires_at: self.now().plus(Duration::from_secs(60)),
        }
    }

    pub async fn accept(&self, owner: Owner, text: &str) -> Message {
        match self
            .store
            .accept(owner, self.new_message(text), Stamp::default())
            .await
            .unwrap()
        {
            Outcome::Done(message) => message,
            Outcome::Replayed(_) => panic!("replayed"),
        }
    }

    pub fn inbound(&self, whatsapp_id: &str, body: InboundBody) -> Inbound {
        let chat = chat(1);
        Inbound {
            sender: Sender {
                id: chat.id.clone(),
                phone_number: chat.phone_number.clone(),
                lid: chat.lid.clone(),
                push_name: Some("Ada".to_owned()),
            },
            chat,
            from_me: false,
            whatsapp_id: whatsapp_id.to_owned(),
            body,
            sent_at: self.now(),
        }
    }

    pub fn inbound_text(&self, whatsapp_id: &str, text: &str) -> Inbound {
        self.inbound(
            whatsapp_id,
            InboundBody::Message {
                content: Content::text(text),
                reply_to: None,
            },
        )
    }

    pub fn idempotency(&self, key: &str, fingerprint: u8) -> Idempotency {
        Idempotency {
            key: key.to_owned(),
            fingerprint: [fingerprint; 32],
            status: 202,
            expires_at: self.now().plus(Duration::from_secs(3600)),
        }
    }

    pub fn stamp(&self, key: &str, fingerprint: u8) -> Stamp {
        Stamp {
            idempotency: Some(self.idempotency(key, fingerprint)),
            audit: None,
        }
    }

    /// Every event of a tenant, checked to be gap-free.
    pub async fn log(&self, tenant: TenantId) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let batch = self
                .store
                .events(tenant, after, 500, &Default::default())
                .await
                .unwrap();
            after = batch.scanned_to;
            if batch.events.is_empty() {
                break;
            }
            events.extend(batch.events);
        }
        let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(
            seqs,
            (1..=events.len() as i64).collect::<Vec<_>>(),
            "the log has gaps"
        );
        events
    }

    pub async fn kinds(&self, tenant: TenantId) -> Vec<String> {
        self.log(tenant)
            .await
            .iter()
            .map(|event| event.kind.to_string())
            .collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Database::Postgres = &self.database {
            release();
        }
    }
}

/// One user of the server less.
fn release() {
    let mut held = SERVER.lock().unwrap();
    if let Some((_, users)) = held.as_mut() {
        *users -= 1;
        if *users == 0 {
            *held = None;
        }
    }
}

fn server() -> Arc<PostgresServer> {
    let mut held = SERVER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (server, users) = held.get_or_insert_with(|| {
        (
            Arc::new(PostgresServer::start().expect("PostgreSQL is needed")),
            0,
        )
    });
    *users += 1;
    server.clone()
}

async fn admin(url: &str, sql: &str) {
    use sqlx::ConnectOptions;
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
}

pub fn master_key() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

/// The chat with the n-th customer, known by phone number and LID.
pub fn chat(n: u64) -> Chat {
    let phone: Address = format!("+49151{n:08}").parse().unwrap();
    let lid = Address::from_jid(&format!("9000{n}@lid")).unwrap();
    Chat {
        lid: Some(lid),
        ..Chat::of(phone)
    }
}

/// Waits until something holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}
