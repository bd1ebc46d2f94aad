//! A node for tests: the real store on SQLite in a temporary folder, the real runtime, and an engine
//! that does what a test tells it.

mod lock;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use roost_domain::engine::{
    Engine, Link, LinkEnd, LinkFact, LinkObserver, LinkSpec, LinkStats, OpenError, Outgoing, ReadReceipt,
    SendError, Typing,
};
use roost_domain::instance::{Account, Instance, InstanceState};
use roost_domain::message::{Chat, Content, Inbound, InboundBody, Message, Sender};
use roost_domain::slot::Placement;
use roost_domain::store::{Outcome, Stamp, Store, Tenants as _};
use roost_domain::tenant::Tenant;
use roost_domain::time::Entropy;
use roost_domain::webhook::client::WebhookClient;
use roost_domain::{Address, Clock, InstanceId, TenantId, Timestamp};
use roost_store::{MasterKey, SqlStore, StoreConfig};
use tokio::sync::Semaphore;

pub use self::lock::Lock;
use crate::cluster::ClusterParts;
use crate::instance::{CreateInstance, SendRequest};
pub(crate) use crate::webhook::ScriptedEndpoint;
use crate::{
    ActorFilter, CallError, Instances, LocalPlacement, Operation, OperatorError, Runtime, RuntimeParts,
    Settings, StopReport, Streams,
};

/// Longest wait for something that has to happen.
const SOON: Duration = Duration::from_secs(20);

pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap())
    }
}

pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        rand::fill(buffer);
    }
}

/// Waits until something is true.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What an engine does with links.
#[derive(Debug, Clone)]
pub struct Script {
    /// The next opens that panic.
    pub panics: u32,
    /// Links say nothing by themselves.
    pub silent: bool,
    /// Messages are acknowledged as soon as they are on the wire.
    pub acks: bool,
    /// The next sends that fail for now.
    pub transient_failures: u32,
}

/// An engine that does what a test tells it.
pub struct ScriptedEngine {
    pub script: Mutex<Script>,
    paired: Mutex<HashSet<InstanceId>>,
    links: Mutex<Vec<Arc<ScriptedLink>>>,
    live: Arc<AtomicUsize>,
    live_max: AtomicUsize,
    /// Calls to mark messages as read go through here.
    pub reads: Arc<Semaphore>,
}

impl ScriptedEngine {
    pub fn new() -> Arc<Self> {
        let script = Script {
            panics: 0,
            silent: false,
            acks: true,
            transient_failures: 0,
        };
        Arc::new(Self {
            script: Mutex::new(script),
            paired: Mutex::default(),
            links: Mutex::default(),
            live: Arc::default(),
            live_max: AtomicUsize::new(0),
            reads: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        })
    }

    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// A phone is paired with an instance: its next link connects.
    pub fn pair(&self, instance: InstanceId) {
        self.paired.lock().unwrap().insert(instance);
    }

    pub fn opened(&self) -> usize {
        self.links.lock().unwrap().len()
    }

    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    pub fn live_max(&self) -> usize {
        self.live_max.load(Ordering::SeqCst)
    }

    /// The latest link of an instance.
    pub fn link(&self, instance: InstanceId) -> Option<Arc<ScriptedLink>> {
        let links = self.links.lock().unwrap();
        links
            .iter()
            .rev()
            .find(|link| link.spec.owner.instance == instance)
            .cloned()
    }

    /// Everything that was ever put on the wire for an instance.
    pub fn sent(&self, instance: InstanceId) -> Vec<Outgoing> {
        let links = self.links.lock().unwrap();
        let of_instance = links.iter().filter(|link| link.spec.owner.instance == instance);
        of_instance
            .flat_map(|link| link.sent.lock().unwrap().clone())
            .collect()
    }
}

pub fn account(number: u64) -> Account {
    let phone_number = format!("+4915100000{number:03}").parse().unwrap();
    Account {
        phone_number,
        lid: None,
        push_name: Some("Test".to_owned()),
    }
}

#[async_trait]
impl Engine for ScriptedEngine {
    async fn open(
        &self,
        spec: LinkSpec,
        observer: Arc<dyn LinkObserver>,
    ) -> Result<Arc<dyn Link>, OpenError> {
        let silent = {
            let mut script = self.script.lock().unwrap();
            if script.panics > 0 {
                script.panics -= 1;
                drop(script);
                panic!("the engine breaks, as the test wants");
            }
            script.silent
        };
        let instance = spec.owner.instance;
        let paired = self.paired.lock().unwrap().contains(&instance);
        let wants_pairing = spec.pairing.is_some();
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.live_max.fetch_max(live, Ordering::SeqCst);
        let link = Arc::new(ScriptedLink {
            spec,
            observer,
            script: Mutex::new(self.script.lock().unwrap().clone()),
            sent: Mutex::default(),
            typed: Mutex::default(),
            closed: Mutex::new(false),
            live: Arc::clone(&self.live),
            reads: Arc::clone(&self.reads),
        });
        self.links.lock().unwrap().push(Arc::clone(&link));
        if !silent {
            if paired {
                link.says(LinkFact::Connected(account(1)));
            } else if wants_pairing {
                link.says(LinkFact::Qr {
                    code: "2@code".into(),
                    valid_for: Duration::from_secs(60),
                });
            } else {
                link.says(LinkFact::Ended(LinkEnd::NotPaired));
            }
        }
        Ok(link)
    }
}

/// One link of the scripted engine.
pub struct ScriptedLink {
    pub spec: LinkSpec,
    pub observer: Arc<dyn LinkObserver>,
    pub script: Mutex<Script>,
    pub sent: Mutex<Vec<Outgoing>>,
    /// What chats were shown, and how many messages were sent before.
    pub typed: Mutex<Vec<(Address, Typing, usize)>>,
    closed: Mutex<bool>,
    live: Arc<AtomicUsize>,
    reads: Arc<Semaphore>,
}

impl ScriptedLink {
    pub fn says(&self, fact: LinkFact) {
        self.observer.fact(fact);
    }

    pub fn acks(&self, whatsapp_id: &str) {
        let at = SystemClock.now();
        self.says(LinkFact::ServerAck {
            whatsapp_id: whatsapp_id.to_owned(),
            error: None,
            at,
        });
    }

    pub fn is_closed(&self) -> bool {
        *self.closed.lock().unwrap()
    }

    fn end(&self) {
        if !std::mem::replace(&mut *self.closed.lock().unwrap(), true) {
            self.live.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Link for ScriptedLink {
    async fn send(&self, message: &Outgoing) -> Result<(), SendError> {
        let acks = {
            let mut script = self.script.lock().unwrap();
            if script.transient_failures > 0 {
                script.transient_failures -= 1;
                return Err(SendError::Transient("as the test wants".to_owned()));
            }
            script.acks
        };
        self.sent.lock().unwrap().push(message.clone());
        if acks {
            self.acks(&message.whatsapp_id);
        }
        Ok(())
    }

    async fn typing(&self, chat: &Address, typing: Typing) -> Result<(), SendError> {
        let sent = self.sent.lock().unwrap().len();
        self.typed.lock().unwrap().push((chat.clone(), typing, sent));
        Ok(())
    }

    async fn mark_read(&self, _: &ReadReceipt) -> Result<(), SendError> {
        let _turn = self.reads.acquire().await.unwrap();
        Ok(())
    }

    async fn logout(&self) -> Result<(), SendError> {
        self.says(LinkFact::Ended(LinkEnd::LoggedOut {
            reason: "logged out".to_owned(),
        }));
        Ok(())
    }

    async fn close(&self) {
        self.end();
    }

    fn stats(&self) -> LinkStats {
        LinkStats::default()
    }
}

/// A node, and everything it stands on.
pub struct TestNode {
    folder: tempfile::TempDir,
    pub engine: Arc<ScriptedEngine>,
    pub endpoint: Arc<ScriptedEndpoint>,
    pub store: Arc<SqlStore>,
    pub streams: Streams,
    pub runtime: Runtime,
    pub settings: Settings,
    pub tenant: TenantId,
}

/// Limits that keep tests short.
pub fn quick() -> Settings {
    Settings {
        backoff_first: Duration::from_millis(5),
        backoff_max: Duration::from_millis(20),
        drain_timeout: Duration::from_millis(50),
        ..Settings::default()
    }
}

async fn open(folder: PathBuf, settings: &Settings) -> (Arc<SqlStore>, Streams) {
    let streams = Streams::new(settings);
    let config = StoreConfig::sqlite(folder.join("roost.db"), MasterKey::from_bytes([7; 32]));
    let observer = Arc::new(streams.clone());
    let store = SqlStore::open(config, Arc::new(SystemClock), Arc::new(SystemEntropy), observer).await;
    (Arc::new(store.unwrap()), streams)
}

async fn run(
    store: &Arc<SqlStore>,
    engine: &Arc<ScriptedEngine>,
    endpoint: &Arc<ScriptedEndpoint>,
    streams: &Streams,
    settings: &Settings,
    cluster: Option<ClusterParts>,
) -> Runtime {
    let store: Arc<dyn Store> = Arc::clone(store) as Arc<dyn Store>;
    let placement: Arc<dyn Placement> = match &cluster {
        Some(cluster) => Arc::clone(&cluster.placement) as _,
        None => Arc::new(LocalPlacement::start(&*store, "node-a").await.unwrap()),
    };
    let parts = RuntimeParts {
        store,
        engine: Arc::clone(engine) as Arc<dyn Engine>,
        webhook_client: Arc::clone(endpoint) as Arc<dyn WebhookClient>,
        placement,
        cluster,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        streams: streams.clone(),
        settings: settings.clone(),
    };
    Runtime::start(parts).await.unwrap()
}

impl TestNode {
    pub async fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, streams) = open(folder.path().to_owned(), &settings).await;
        let tenant = TenantId::from_parts(1_700_000_000_000, rand::random());
        let now = SystemClock.now();
        store
            .create_tenant(&Tenant::new(tenant, "a".into(), now), None, Stamp::default())
            .await
            .unwrap();
        let engine = ScriptedEngine::new();
        let endpoint = ScriptedEndpoint::new();
        let runtime = run(&store, &engine, &endpoint, &streams, &settings, None).await;
        Self {
            folder,
            engine,
            endpoint,
            store,
            streams,
            runtime,
            settings,
            tenant,
        }
    }

    pub fn instances(&self) -> Instances {
        self.runtime.instances()
    }

    /// What an operator does to an actor.
    pub async fn operate(&self, path: &str, operation: Operation) -> Result<(), OperatorError> {
        self.runtime.operator().operate(path, None, operation).await
    }

    pub async fn create(&self) -> InstanceId {
        let create = CreateInstance {
            name: "a number".into(),
            ..CreateInstance::default()
        };
        match self
            .instances()
            .create(self.tenant, create, None, Stamp::default())
            .await
            .unwrap()
        {
            Outcome::Done(instance) => instance.id,
            Outcome::Replayed(_) => panic!("nothing to replay"),
        }
    }

    /// A connected instance that a phone was paired with.
    pub async fn connected(&self) -> InstanceId {
        let id = self.create().await;
        self.engine.pair(id);
        self.instances().connect(self.tenant, id, None).await.unwrap();
        self.in_state(id, InstanceState::Connected).await;
        id
    }

    pub async fn row(&self, id: InstanceId) -> Instance {
        self.instances().get(self.tenant, id).await.unwrap()
    }

    pub async fn in_state(&self, id: InstanceId, state: InstanceState) -> Instance {
        eventually(&format!("{id} becomes {}", state.as_str()), async || {
            Some(self.row(id).await).filter(|row| row.state == state)
        })
        .await
    }

    /// Waits for the latest link of an instance that is not closed.
    pub async fn link(&self, id: InstanceId) -> Arc<ScriptedLink> {
        eventually("a link is open", async || {
            self.engine.link(id).filter(|link| !link.is_closed())
        })
        .await
    }

    pub async fn send(
        &self,
        id: InstanceId,
        to: &str,
        text: &str,
        wait: Option<Duration>,
    ) -> Result<Message, CallError> {
        let to: Address = to.parse().unwrap();
        let request = SendRequest {
            to,
            content: Content::text(text),
            reply_to: None,
            wait,
        };
        match self
            .instances()
            .send(self.tenant, id, request, Stamp::default())
            .await?
        {
            Outcome::Done(message) => Ok(message),
            Outcome::Replayed(_) => panic!("nothing to replay"),
        }
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("roost.db")
    }

    /// How many session actors there are, running or not.
    pub fn sessions(&self) -> usize {
        let filter = ActorFilter {
            kind: Some("instance".into()),
            state: None,
        };
        self.runtime.introspection().list(&filter, None, 500).0.len()
    }

    /// Stops the node, and sees to it that nothing is left alive.
    pub async fn stop(&self) -> StopReport {
        let report = self.runtime.stop().await;
        assert!(report.complete, "{report:?}");
        assert_eq!(self.sessions(), 0);
        assert_eq!(self.runtime.introspection().count("webhook").len(), 0);
        assert_eq!(self.runtime.introspection().count("bucket").len(), 0);
        assert_eq!(self.endpoint.in_flight(), 0);
        assert_eq!(self.engine.live(), 0);
        assert_eq!(self.runtime.gate().dialing, 0);
        assert_eq!(self.runtime.gate().waiting, 0);
        report
    }

    /// Stops the node and the store, and starts both again on the same data.
    pub async fn restart(self) -> Self {
        self.stop().await;
        let Self {
            folder,
            engine,
            endpoint,
            store,
            settings,
            tenant,
            runtime,
            ..
        } = self;
        drop(runtime);
        store.close().await;
        drop(store);
        let (store, streams) = open(folder.path().to_owned(), &settings).await;
        let runtime = run(&store, &engine, &endpoint, &streams, &settings, None).await;
        Self {
            folder,
            engine,
            endpoint,
            store,
            streams,
            runtime,
            settings,
            tenant,
        }
    }

    /// Starts a second life of the node over the same store, as after a failover: the first is fenced.
    pub async fn successor(&self) -> Runtime {
        run(
            &self.store,
            &self.engine,
            &self.endpoint,
            &self.streams,
            &self.settings,
            None,
        )
        .await
    }

    /// Starts a node of a cluster over the same store and engine. The store tells it of no commit.
    pub async fn in_cluster(&self, cluster: ClusterParts) -> Runtime {
        let (store, engine, endpoint) = (&self.store, &self.engine, &self.endpoint);
        let streams = Streams::new(&self.settings);
        run(store, engine, endpoint, &streams, &self.settings, Some(cluster)).await
    }
}

pub fn inbound(whatsapp_id: &str, text: &str) -> Inbound {
    let address: Address = "+4915199999999".parse().unwrap();
    let phone_number = address.phone_number().cloned();
    let sender = Sender {
        id: address.clone(),
        phone_number,
        lid: None,
        push_name: None,
    };
    Inbound {
        chat: Chat::of(address),
        sender,
        from_me: false,
        whatsapp_id: whatsapp_id.to_owned(),
        body: InboundBody::Message {
            content: Content::text(text),
            reply_to: None,
        },
        sent_at: SystemClock.now(),
    }
}
