//! A receiver in the test's process: it notes every call, and refuses what it is told to refuse.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::gateway::PATIENCE;

/// Which event a call is about, as the publisher numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub chat: u32,
    /// From 0 within the chat.
    pub number: u32,
}

type Refuses = Box<dyn FnMut(Label, u32) -> bool + Send>;

/// Everything that has come.
#[derive(Default)]
struct Book {
    /// Calls per event, and how many of them were answered 200.
    calls: HashMap<Label, (u32, u32)>,
    /// The id under which each event came first.
    ids: HashMap<Label, String>,
    /// By chat, how many events from the first on were taken without a gap.
    taken: BTreeMap<u32, u32>,
    /// What broke a promise.
    faults: Vec<String>,
}

pub struct Receiver {
    pub url: String,
    book: Arc<Mutex<Book>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Shared {
    book: Arc<Mutex<Book>>,
    ordered: bool,
    refuses: Arc<Mutex<Refuses>>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start(ordered: bool) -> Self {
        Self::refusing(ordered, |_, _| false).await
    }

    /// One that answers 500 when `refuses` says so, given the event and how often it came before.
    pub async fn refusing(ordered: bool, refuses: impl FnMut(Label, u32) -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let book = Arc::default();
        let shared = Shared {
            book: Arc::clone(&book),
            ordered,
            refuses: Arc::new(Mutex::new(Box::new(refuses))),
        };
        let router = Router::new().route("/hook", post(take)).with_state(shared);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            book,
            _server: server,
        }
    }

    /// How many different events were taken.
    pub fn taken(&self) -> usize {
        let book = self.book.lock().unwrap();
        book.calls.values().filter(|calls| calls.1 > 0).count()
    }

    /// How often each event was taken.
    pub fn times(&self) -> HashMap<Label, u32> {
        let book = self.book.lock().unwrap();
        book.calls
            .iter()
            .map(|(&label, calls)| (label, calls.1))
            .collect()
    }

    /// Waits until every one of these events has been taken more often than `before` says.
    pub async fn until_taken(&self, labels: impl Iterator<Item = Label>, before: &HashMap<Label, u32>) {
        let labels: Vec<Label> = labels.collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let times = self.times();
            let count = |times: &HashMap<Label, u32>, label| times.get(label).copied().unwrap_or_default();
            let missing: Vec<&Label> = labels
                .iter()
                .filter(|label| count(&times, label) <= count(before, label))
                .collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {} events never came: {:?}; {:?}",
                missing.len(),
                labels.len(),
                &missing[..missing.len().min(10)],
                self.book.lock().unwrap().faults,
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Checks that no promise was broken, and that each event came under the id it was acknowledged with.
    pub fn verify(&self, acknowledged: &HashMap<Label, String>) {
        let book = self.book.lock().unwrap();
        assert!(book.faults.is_empty(), "{:#?}", book.faults);
        for (label, id) in acknowledged {
            assert_eq!(book.ids.get(label), Some(id), "{label:?}");
        }
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let event: Value = serde_json::from_slice(&body).unwrap();
    let number = |name: &str| {
        event["data"][name]
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
    };
    let (Some(chat), Some(number)) = (number("chat"), number("number")) else {
        // Not the publisher's.
        return StatusCode::OK;
    };
    let label = Label { chat, number };
    let mut book = shared.book.lock().unwrap();
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    if event["id"] != id.as_str() {
        book.faults
            .push(format!("{label:?}: {} came as {id}", event["id"]));
    }
    let first = book.ids.entry(label).or_insert_with(|| id.clone()).clone();
    if first != id {
        book.faults.push(format!("{label:?} came as {first} and as {id}"));
    }
    let next = book.taken.get(&chat).copied().unwrap_or_default();
    if shared.ordered && number > next {
        book.faults
            .push(format!("{label:?} was tried when {next} had not been taken"));
    }
    let calls = book.calls.entry(label).or_default();
    let earlier = calls.0;
    calls.0 += 1;
    if (shared.refuses.lock().unwrap())(label, earlier) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    calls.1 += 1;
    if number == next {
        book.taken.insert(chat, next + 1);
    }
    StatusCode::OK
}
