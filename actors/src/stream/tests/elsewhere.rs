//! Several nodes that write one log: what each sees is the whole of it, in order, whatever becomes of notes.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::cluster::NodeName;
use roost_domain::instance::NewInstance;
use roost_domain::peer::{Kind, Note, PeerError, PeerView, Peers};
use roost_domain::store::{CommitObserver, Instances as _, Stamp, Tenants as _};
use roost_domain::tenant::Tenant;
use roost_store::{MasterKey, SqlStore, StoreConfig};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::cluster::News;
use crate::testing::{SystemClock, SystemEntropy};
use crate::{Streams, Subscription};
use roost_domain::Clock as _;
use std::sync::atomic::Ordering;

/// What becomes of notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notes {
    Arrive,
    /// Nothing but the look every now and then is left.
    AreLost,
    /// They say more than there is.
    Exaggerate,
}

/// Gives each commit to one of the nodes, as if that one had made it.
#[derive(Default)]
struct Scatter {
    nodes: OnceLock<Vec<Streams>>,
    commits: AtomicUsize,
}

impl CommitObserver for Scatter {
    fn committed(&self, tenant: TenantId, events: &[Arc<Event>]) {
        let nodes = self.nodes.get().unwrap();
        let turn = self.commits.fetch_add(1, Ordering::SeqCst);
        // Some in a row, and some in turns.
        nodes[(turn / 3 + turn % 2) % nodes.len()].committed(tenant, events);
    }
}

/// The way from one node to the others.
struct Wire {
    others: Vec<Streams>,
    notes: Arc<Mutex<Notes>>,
}

#[async_trait]
impl Peers for Wire {
    async fn call(&self, _: &NodeName, _: Kind, _: Bytes, _: Instant) -> Result<Bytes, PeerError> {
        Err(PeerError::Down)
    }

    fn notify(&self, note: Note) {
        let Some(News::Committed { tenant, seq, .. }) = News::read(&note) else {
            panic!("news of something else");
        };
        for node in &self.others {
            match *self.notes.lock().unwrap() {
                Notes::Arrive => node.told(tenant, seq),
                Notes::AreLost => {}
                Notes::Exaggerate => node.told(tenant, seq + 7),
            }
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        Vec::new()
    }
}

struct Stage {
    store: Arc<SqlStore>,
    nodes: Vec<Streams>,
    notes: Arc<Mutex<Notes>>,
    tenant: TenantId,
    _folder: tempfile::TempDir,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Stage {
    async fn new(count: usize, notes: Notes, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scatter = Arc::new(Scatter::default());
        let config = StoreConfig::sqlite(folder.path().join("roost.db"), MasterKey::from_bytes([7; 32]));
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let store = SqlStore::open(config, clock, entropy, Arc::clone(&scatter) as _).await;
        let store = Arc::new(store.unwrap());
        let nodes: Vec<_> = (0..count).map(|_| Streams::new(&settings)).collect();
        let notes = Arc::new(Mutex::new(notes));
        let mut tasks = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            node.attach(Arc::clone(&store) as _);
            let others = nodes.iter().enumerate().filter(|(other, _)| *other != number);
            node.link(Arc::new(Wire {
                others: others.map(|(_, node)| node.clone()).collect(),
                notes: Arc::clone(&notes),
            }));
            tasks.push(AbortOnDropHandle::new(tokio::spawn(node.clone().take_in())));
            let look = node.clone().look(settings.peers_poll);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(look)));
        }
        assert!(scatter.nodes.set(nodes.clone()).is_ok());
        let tenant = TenantId::from_parts(1_700_000_000_000, rand::random());
        let row = Tenant::new(tenant, "a".into(), SystemClock.now());
        store.create_tenant(&row, None, Stamp::default()).await.unwrap();
        Self {
            store,
            nodes,
            notes,
            tenant,
            _folder: folder,
            _tasks: tasks,
        }
    }

    fn tail(&self, node: usize, after: i64) -> Subscription {
        let filter = EventFilter::default();
        self.nodes[node].tail(self.tenant, after, filter).unwrap()
    }

    async fn append(&self, count: usize) {
        for _ in 0..count {
            append_one(&self.store, self.tenant).await;
        }
    }
}

async fn append_one(store: &SqlStore, tenant: TenantId) {
    let new = NewInstance {
        id: InstanceId::from_parts(1_700_000_000_000, rand::random()),
        name: "a number".to_owned(),
        proxy: None,
        pacing: None,
        policy: Default::default(),
        created_at: SystemClock.now(),
    };
    let made = store.create_instance(tenant, new, None, Stamp::default()).await;
    made.unwrap();
}

/// Reads up to this `seq` and returns everything that came.
async fn read_to(mut stream: Subscription, last: i64, max: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    while seqs.last().is_none_or(|seq| *seq < last) {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.next(max)).await;
        seqs.extend(next.unwrap().unwrap().iter().map(|event| event.seq));
    }
    seqs
}

fn settings() -> Settings {
    Settings {
        // Nothing may depend on it here.
        subscription_poll: Duration::from_secs(600),
        peers_poll: Duration::from_millis(50),
        ..quick()
    }
}

async fn every_node_sees_everything(notes: Notes, settings: Settings) {
    let stage = Arc::new(Stage::new(3, notes, settings).await);
    stage.append(5).await;
    let mut readers = Vec::new();
    for (node, after, max) in [(0, 0, 1), (0, 5, 100), (1, 3, 7), (2, 0, 100), (2, 2, 2)] {
        let stream = stage.tail(node, after);
        readers.push(tokio::spawn(async move {
            let seqs = read_to(stream, 205, max).await;
            assert_eq!(seqs, (after + 1..=205).collect::<Vec<_>>(), "on node {node}");
        }));
    }
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move { stage.append(50).await })
        })
        .collect();
    for task in writers.into_iter().chain(readers) {
        tokio::time::timeout(Duration::from_secs(60), task)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_sees_the_events_of_all_in_order() {
    every_node_sees_everything(Notes::Arrive, settings()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_memory_changes_nothing() {
    let small = Settings {
        ring_events_max: 3,
        rings_bytes_max: 4_000,
        ..settings()
    };
    every_node_sees_everything(Notes::Arrive, small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_notes_are_made_up_for_by_looking() {
    every_node_sees_everything(Notes::AreLost, settings()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_that_say_too_much_skip_nothing() {
    every_node_sees_everything(Notes::Exaggerate, settings()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_alone_is_enough() {
    let never = Settings {
        peers_poll: Duration::from_secs(600),
        ..settings()
    };
    let stage = Stage::new(2, Notes::Arrive, never).await;
    let streams = [stage.tail(0, 0), stage.tail(1, 0)];
    let readers = streams.map(|stream| tokio::spawn(read_to(stream, 30, 1)));
    stage.append(30).await;
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (1..=30).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_after_a_note_that_said_too_much_is_woken_by_what_then_comes() {
    let never = Settings {
        peers_poll: Duration::from_secs(600),
        ..settings()
    };
    let stage = Stage::new(2, Notes::Exaggerate, never).await;
    let streams = [stage.tail(0, 0), stage.tail(1, 0)];
    let readers = streams.map(|stream| tokio::spawn(read_to(stream, 20, 1)));
    stage.append(10).await;
    *stage.notes.lock().unwrap() = Notes::Arrive;
    stage.append(10).await;
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (1..=20).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_commit_is_in_memory_for_all_readers() {
    let stage = Stage::new(2, Notes::Arrive, settings()).await;
    stage.append(1).await;
    let mut streams: Vec<_> = (0..20).map(|_| stage.tail(1, 0)).collect();
    for stream in &mut streams {
        assert_eq!(stream.next(10).await.unwrap().len(), 1);
    }
    stage.append(40).await;
    for stream in streams.drain(1..) {
        assert_eq!(read_to(stream, 41, 100).await, (2..=41).collect::<Vec<_>>());
    }
    assert!(stage.nodes[1].buffered_bytes() > 0);
    drop(streams);
    assert_eq!(stage.nodes[1].buffered_bytes(), 0);
}
