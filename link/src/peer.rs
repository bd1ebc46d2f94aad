//! A peer: one task per other node, which makes its link, keeps it alive and replaces it.
//!
//! The task owns the link from the greeting to its end. Everybody else sees it as [`Live`], for as long
//! as it works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::rpc::CallResult;
use ractor::{ActorRef, RpcReplyPort};
use ractor_cluster::NodeServerMessage;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{Kind, Note, PeerAddress, PeerError, PeerView};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::dial;
use crate::door::{Opening, closing};
use crate::gateway::{self, GatewayMessage};
use crate::greeting::Hello;
use crate::outbox::Outbox;
use crate::shared::{RETRY_MS, Shared};
use crate::stream::{Io, Stream};
use crate::wire::{self, CallHead, NotesHead};

/// Time for a batch of notes to be passed on.
const NOTES_TIMEOUT: Duration = Duration::from_secs(2);

/// How much later than the caller `ractor` gives up on an answer.
const PORT_GRACE: Duration = Duration::from_secs(1);

/// Time for a cut link's session to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose other end is known.
pub(crate) struct Greeted {
    pub io: Box<dyn Io>,
    pub hello: Hello,
    /// Whether the peer dialled.
    pub is_server: bool,
}

/// Another node.
pub(crate) struct Peer {
    pub node: NodeName,
    pub serving: Arc<Semaphore>,
    pub outbox: Outbox,
    limits: Limits,
    address: RwLock<PeerAddress>,
    live: RwLock<Option<Arc<Live>>>,
    calls: Semaphore,
    call_bytes: Semaphore,
    inbound: mpsc::Sender<Greeted>,
    stop: CancellationToken,
    /// Something is known that is worth a dial at once.
    news: Notify,
    links: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// A link that works.
struct Live {
    gateway: ActorRef<GatewayMessage>,
    incarnation: i64,
    release: String,
    cut: CancellationToken,
    received: Arc<AtomicU64>,
    rtt_us: AtomicU64,
}

impl Live {
    /// Asks its gateway.
    async fn ask(
        &self,
        message: impl FnOnce(RpcReplyPort<Vec<u8>>) -> GatewayMessage,
        left: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        // With a timeout, `ractor` gives a port up at about the time at which it says so: it gets a
        // later one, so that a port that was given up always means a lost link.
        let call = self.gateway.call(message, Some(left + PORT_GRACE));
        match tokio::time::timeout(left, call).await {
            Ok(Ok(CallResult::Success(answer))) => Ok(answer),
            Ok(Ok(CallResult::SenderError)) => Err(PeerError::Lost),
            Ok(Ok(CallResult::Timeout)) | Err(_) => Err(PeerError::Deadline),
            // The link ended before it took the message.
            Ok(Err(_)) => Err(PeerError::Down),
        }
    }
}

impl Peer {
    pub fn new(
        address: PeerAddress,
        limits: &Limits,
        inbound: mpsc::Sender<Greeted>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            node: address.node.clone(),
            serving: Arc::new(Semaphore::new(limits.calls_in_flight_max)),
            outbox: Outbox::new(limits.notes_max),
            limits: limits.clone(),
            address: RwLock::new(address),
            live: RwLock::default(),
            calls: Semaphore::new(limits.calls_in_flight_max),
            call_bytes: Semaphore::new(limits.bytes_in_flight_max),
            inbound,
            stop,
            news: Notify::new(),
            links: AtomicU64::new(0),
            last_error: Mutex::default(),
        }
    }

    pub fn address(&self) -> PeerAddress {
        self.address
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lives before this one are refused.
    pub fn incarnation_min(&self) -> i64 {
        let linked = self.live().map_or(i64::MIN, |live| live.incarnation);
        self.address().incarnation.max(linked)
    }

    /// It is known to be somewhere else, or in a later life. A link to an earlier one is cut.
    pub fn moved(&self, address: PeerAddress) {
        let mut known = self.address.write().unwrap_or_else(PoisonError::into_inner);
        if *known == address || address.incarnation < known.incarnation {
            return;
        }
        let incarnation = address.incarnation;
        *known = address;
        drop(known);
        if self.live().is_some_and(|live| live.incarnation < incarnation) {
            self.cut();
        }
        self.news.notify_one();
    }

    /// It is no longer in the cluster.
    pub fn leave(&self) {
        self.stop.cancel();
    }

    /// Cuts its link, if there is one. Calls that wait fail at once.
    pub fn cut(&self) {
        if let Some(live) = self.live() {
            live.cut.cancel();
        }
    }

    /// Hands over a connection that it has dialled, in place of the link that is there.
    pub async fn dialled(&self, greeted: Greeted) {
        // The task has ended: it is no longer in the cluster.
        let _ = self.inbound.send(greeted).await;
    }

    /// Asks it.
    pub async fn call(
        &self,
        me: &NodeName,
        kind: Kind,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Bytes, PeerError> {
        if body.len() > self.limits.body_bytes_max {
            return Err(PeerError::TooLarge);
        }
        let live = self.live().ok_or(PeerError::Down)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(PeerError::Deadline);
        }
        let full = |_| PeerError::Overloaded { retry_ms: RETRY_MS };
        let _call = self.calls.try_acquire().map_err(full)?;
        // Checked to fit when the limits were read.
        let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let _bytes = self.call_bytes.try_acquire_many(bytes).map_err(full)?;
        let head = CallHead {
            from: me.clone(),
            kind,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        let frame = wire::frame(&head, body).map_err(|_| PeerError::TooLarge)?;
        let invoke = |reply| GatewayMessage::Invoke(frame, reply);
        let answer = live.ask(invoke, left).await?;
        wire::open_answer(answer)
            .map_err(|fault| PeerError::Unreadable(fault.to_string()))?
            .map_err(PeerError::Refused)
    }

    /// Tells it, if there is a link.
    pub fn notify(&self, note: Note) {
        if self.live().is_some() {
            self.outbox.put(note);
        } else {
            self.outbox.lost(1);
        }
    }

    pub fn view(&self) -> PeerView {
        let live = self.live();
        let rtt_us = live
            .as_ref()
            .map_or(0, |live| live.rtt_us.load(Ordering::Relaxed));
        PeerView {
            node: self.node.clone(),
            connected: live.is_some(),
            incarnation: live.as_ref().map(|live| live.incarnation),
            release: live.as_ref().map(|live| live.release.clone()),
            rtt: (rtt_us > 0).then(|| Duration::from_micros(rtt_us)),
            in_flight: self.limits.calls_in_flight_max - self.calls.available_permits(),
            serving: self.limits.calls_in_flight_max - self.serving.available_permits(),
            notes_dropped: self.outbox.dropped(),
            links: self.links.load(Ordering::Relaxed),
            last_error: self
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    fn live(&self) -> Option<Arc<Live>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_live(&self, live: Option<Arc<Live>>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// Makes links until the peer leaves.
    pub async fn run(self: Arc<Self>, shared: Arc<Shared>, mut inbound: mpsc::Receiver<Greeted>) {
        let stop = self.stop.clone();
        let dials = shared.config.node < self.node;
        let mut next = None;
        loop {
            let greeted = match next.take() {
                Some(greeted) => Some(greeted),
                None if dials => stop.run_until_cancelled(self.dial(&shared)).await,
                None => stop.run_until_cancelled(inbound.recv()).await.flatten(),
            };
            let Some(greeted) = greeted else { break };
            match self.link(&shared, greeted, &mut inbound).await {
                Ok(successor) => next = Some(successor),
                Err(_) if stop.is_cancelled() => break,
                Err(reason) => {
                    self.failed(&reason);
                    if dials {
                        stop.run_until_cancelled(self.pause(&shared)).await;
                    }
                }
            }
        }
    }

    /// Dials until it has worked.
    async fn dial(&self, shared: &Shared) -> Greeted {
        loop {
            let address = self.address();
            let greeting = dial::dial(shared, &address);
            match tokio::time::timeout(self.limits.greeting_timeout, greeting).await {
                Ok(Ok(greeted)) => return greeted,
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(_) => self.failed("it did not answer in time"),
            }
            self.pause(shared).await;
        }
    }

    /// Waits before the next attempt, unless there are news.
    async fn pause(&self, shared: &Shared) {
        let pause = self.limits.redial_pause;
        let mut bits = [0; 2];
        shared.entropy.fill(&mut bits);
        let jitter = (pause / 2).mul_f64(f64::from(u16::from_le_bytes(bits)) / f64::from(u16::MAX));
        tokio::select! {
            () = tokio::time::sleep(pause + jitter) => {}
            () = self.news.notified() => {}
        }
    }

    /// Runs a link until it ends. Returns the connection that replaces it, or why it ended.
    async fn link(
        &self,
        shared: &Shared,
        greeted: Greeted,
        inbound: &mut mpsc::Receiver<Greeted>,
    ) -> Result<Greeted, String> {
        let cut = self.stop.child_token();
        // However this ends, the stream ends with it.
        let _cut = cut.clone().drop_guard();
        let (live, closed) = self.open(shared, greeted, &cut).await?;
        self.up(Arc::clone(&live));
        let end = tokio::select! {
            reason = self.ping(&live) => Err(reason),
            never = self.tell(&shared.config.node, &live) => match never {},
            () = closed.cancelled() => Err("the connection ended".to_owned()),
            () = cut.cancelled() => Err("it was cut".to_owned()),
            Some(successor) = inbound.recv() => Ok(successor),
        };
        if let Err(reason) = &end {
            self.failed(reason);
        }
        self.set_live(None);
        self.outbox.clear();
        cut.cancel();
        // A successor has to wait: the session of the one before would stand beside it.
        let ended = tokio::time::timeout(CLOSE_TIMEOUT, closed.cancelled()).await;
        if ended.is_err() {
            tracing::warn!(peer = %self.node, "the session of a cut link does not end");
        }
        end
    }

    /// Hands a connection to `ractor_cluster` and waits until the peer's gateway can be reached.
    /// Returns the link, and what is cancelled when it has ended.
    async fn open(
        &self,
        shared: &Shared,
        greeted: Greeted,
        cut: &CancellationToken,
    ) -> Result<(Arc<Live>, CancellationToken), &'static str> {
        let label = shared.label(&self.node);
        let (closed, guard) = closing();
        let (ready, is_ready) = oneshot::channel();
        let received = Arc::<AtomicU64>::default();
        let opening = Opening {
            peer: self.node.clone(),
            ready,
            closed: guard,
        };
        let _placed = shared.openings.put(label.clone(), opening);
        let stream = Stream {
            io: greeted.io,
            label,
            cut: cut.clone(),
            received: Arc::clone(&received),
        };
        let open = NodeServerMessage::ConnectionOpenedExternal {
            stream: Box::new(stream),
            is_server: greeted.is_server,
        };
        let door = shared.door().ok_or("the link is not open yet")?;
        door.cast(open).map_err(|_| "the link's door is closed")?;
        let session = tokio::time::timeout(self.limits.greeting_timeout, is_ready)
            .await
            .map_err(|_| "its session was not ready in time")?
            .map_err(|_| "its session ended before it was ready")?
            .session;
        let gateway = gateway::find(session, &self.node).ok_or("it has no gateway")?;
        let live = Live {
            gateway,
            incarnation: greeted.hello.incarnation,
            release: greeted.hello.release,
            cut: cut.clone(),
            received,
            rtt_us: AtomicU64::new(0),
        };
        Ok((Arc::new(live), closed))
    }

    fn up(&self, live: Arc<Live>) {
        tracing::info!(
            peer = %self.node,
            peer.incarnation = live.incarnation,
            peer.release = %live.release,
            "linked to a node"
        );
        self.links.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.set_live(Some(live));
    }

    /// Notes why there is no link. Said once, not with each attempt.
    fn failed(&self, reason: &str) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() != Some(reason) {
            tracing::warn!(peer = %self.node, reason, "no link to a node");
            *last = Some(reason.to_owned());
        }
    }

    /// Pings until the peer has been silent for too long.
    async fn ping(&self, live: &Live) -> String {
        let interval = self.limits.ping_interval;
        let mut missed = 0;
        loop {
            let sent = Instant::now();
            let before = live.received.load(Ordering::Relaxed);
            let pong = live
                .ask(|reply| GatewayMessage::Ping(Vec::new(), reply), interval)
                .await;
            match pong {
                Ok(_) => {
                    missed = 0;
                    let rtt = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                    live.rtt_us.store(rtt.max(1), Ordering::Relaxed);
                }
                // A long answer may stand before the pong: what sends is alive.
                _ if live.received.load(Ordering::Relaxed) != before => missed = 0,
                _ => missed += 1,
            }
            if missed >= self.limits.pings_missed_max {
                return format!("it did not answer {missed} pings");
            }
            tokio::time::sleep_until((sent + interval).into()).await;
        }
    }

    /// Sends notes, one batch at a time.
    async fn tell(&self, me: &NodeName, live: &Live) -> std::convert::Infallible {
        loop {
            let notes = self.outbox.take().await;
            let count = notes.len() as u64;
            let told = match wire::frame(&NotesHead::new(me.clone(), notes), &[]) {
                Ok(frame) => {
                    let tell = |reply| GatewayMessage::Tell(frame, reply);
                    live.ask(tell, NOTES_TIMEOUT).await.is_ok()
                }
                Err(_) => false,
            };
            if !told {
                self.outbox.lost(count);
            }
            tokio::time::sleep(self.limits.notes_interval).await;
        }
    }
}
