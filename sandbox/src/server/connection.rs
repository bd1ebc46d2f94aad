//! One connection from its first byte to its last: the handshake, who it is, then reading and writing.
//!
//! A connection is one task. It writes what its outbox and its device's queue hold, several frames
//! in one WebSocket message, and handles what it reads; whatever a client sends ends at most its own
//! connection.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::fault::{Faults, FrameFault, deliver};
use super::ledger::FrameEvent;
use super::link::{Link, stream_error};
use super::outbox::End;
use super::place::Place;
use super::role::Role;
use super::service::Service;
use super::socket::{Received, Socket, SocketError};
use super::sync::now_us;
use crate::wire::frame::Input;
use crate::wire::node::{Node, decode, encode_to_vec};
use crate::wire::noise::{Cipher, Established, Responder, Transport};
use crate::wire::proto::ClientPayload;
use crate::wire::token::DICTIONARY_VERSION;
use crate::wire::websocket;

/// Frames handled before what they caused is written.
const FRAMES_PER_TURN: usize = 64;
/// Queued stanzas and bytes put into one WebSocket message.
const STANZAS_PER_WRITE: usize = 64;
const BYTES_PER_WRITE: usize = 64 << 10;

/// Why a connection ended, for the close frame and the log.
#[derive(Debug)]
pub(super) enum Ending {
    /// The client went away, or everything was said.
    Plain(&'static str),
    /// A fault: no close frame, nothing.
    Cut,
    Violation(&'static str),
}

impl Ending {
    /// In words, for the ledger; `said` is what was noted when it was ended from this side.
    fn reason(&self, said: Option<&'static str>) -> &'static str {
        match self {
            Self::Plain(reason) => said.unwrap_or(reason),
            Self::Cut => said.unwrap_or("fault"),
            Self::Violation(reason) => reason,
        }
    }
}

impl From<SocketError> for Ending {
    fn from(error: SocketError) -> Self {
        if !error.is_violation() {
            return Self::Plain(match error {
                SocketError::WriteTimeout => "the client does not read",
                _ => "the client closed",
            });
        }
        tracing::debug!(error = error.to_string(), "a client broke the framing");
        Self::Violation("malformed frame")
    }
}

/// Serves an upgraded connection until it ends; `read` are the bytes that came with the upgrade.
pub(super) async fn serve(service: Arc<Service>, mut place: Place, stream: TcpStream, read: Bytes) {
    let (remote, opened_us) = (stream.peer_addr().ok(), now_us());
    let mut socket = Socket::new(stream, &service.config);
    let taken = socket.take(&mut read.to_vec());
    // However few they are, they lie in a buffer of the HTTP server, which is 8 KiB.
    drop(read);
    let ending = match taken {
        Ok(()) => run(&service, &mut place, &mut socket, (remote, opened_us)).await,
        Err(error) => error.into(),
    };
    match ending {
        Ending::Violation(reason) => {
            service.counters.protocol_errors.one();
            socket.close(Some(reason)).await;
        }
        Ending::Plain(_) => socket.close(None).await,
        Ending::Cut => drop(socket),
    }
}

async fn run(
    service: &Arc<Service>,
    place: &mut Place,
    socket: &mut Socket,
    (remote, opened_us): (Option<SocketAddr>, u64),
) -> Ending {
    let timeout = service.config.handshake_timeout;
    let established = match tokio::time::timeout(timeout, handshake(service, socket)).await {
        Ok(Ok(established)) => established,
        failed => {
            service.counters.handshakes_failed.one();
            return match failed {
                Ok(Err(ending)) => ending,
                _ => Ending::Violation("handshake took too long"),
            };
        }
    };
    service.counters.handshakes.one();
    socket.set_frame_bytes_max(service.config.frame_bytes_max);
    let Established {
        client_key,
        payload,
        transport,
    } = established;
    let Ok(payload) = ClientPayload::decode(payload.as_slice()) else {
        return Ending::Violation("malformed client payload");
    };
    let id = service.next_number();
    let link = Arc::new(Link::new(id, remote, opened_us, &service.config));
    let role = match Role::of(service, payload, client_key, &link) {
        Ok(role) => role,
        Err(ending) => return ending,
    };
    if let Role::LoggedIn(_) = role {
        place.logged_in();
    }
    let mut exchange = Exchange {
        service,
        socket,
        transport,
        link,
        role,
        frames_read: 0,
        swapped: None,
    };
    let ending = exchange.run().await;
    match &exchange.role {
        Role::Registering(registration) => registration.end(service),
        Role::LoggedIn(session) => session.end(service, ending.reason(exchange.link.reason())),
        Role::Refused => {}
    }
    ending
}

/// The next header or frame; pings are answered on the way.
async fn next_input(socket: &mut Socket) -> Result<Input, SocketError> {
    loop {
        match socket.read().await? {
            Received::Input(input) => return Ok(input),
            Received::Ping => socket.write_pong().await?,
        }
    }
}

async fn handshake(service: &Service, socket: &mut Socket) -> Result<Established, Ending> {
    let Input::Header(header) = next_input(socket).await? else {
        return Err(Ending::Violation("no header"));
    };
    if header[3] != DICTIONARY_VERSION {
        return Err(Ending::Violation("only dictionary version 3 is spoken here"));
    }
    let Input::Frame(hello) = next_input(socket).await? else {
        return Err(Ending::Violation("two headers"));
    };
    let refused = |error: crate::wire::noise::NoiseError| {
        tracing::debug!(error = error.to_string(), "a handshake failed");
        Ending::Violation("handshake failed")
    };
    let (responder, answer) = Responder::start(&header, &service.authority, &hello).map_err(refused)?;
    let mut out = websocket::begin(answer.len() + 3);
    crate::wire::frame::write_frame(&mut out, &answer).map_err(SocketError::from)?;
    socket.write(out).await?;
    let Input::Frame(finish) = next_input(socket).await? else {
        return Err(Ending::Violation("two headers"));
    };
    responder.finish(&finish).map_err(refused)
}

/// The established part of a connection.
struct Exchange<'a> {
    service: &'a Arc<Service>,
    socket: &'a mut Socket,
    transport: Transport,
    link: Arc<Link>,
    role: Role,
    frames_read: u64,
    /// A delivery a fault has put behind the next one, and how long it waits for it.
    swapped: Option<Box<(Instant, Node)>>,
}

impl Exchange<'_> {
    async fn run(&mut self) -> Ending {
        let idle = self.service.config.idle_timeout;
        let mut deadline = Box::pin(sleep_until(Instant::now() + idle));
        let mut last_read = Instant::now();
        loop {
            if let Some(fault) = self.link.silenced_by() {
                if let ControlFlow::Break(ending) = self.keep_silent(fault).await {
                    return ending;
                }
                last_read = Instant::now();
            }
            if let ControlFlow::Break(ending) = self.write_all().await {
                return ending;
            }
            let due = self.next_due();
            tokio::select! {
                input = self.socket.read() => {
                    last_read = Instant::now();
                    if let Err(ending) = self.take(input) {
                        return self.last_word(ending).await;
                    }
                }
                () = self.link.outbox.woken() => {}
                () = reached(due) => {}
                () = &mut deadline => {
                    if last_read.elapsed() >= idle {
                        return Ending::Violation("idle for too long");
                    }
                    deadline.as_mut().reset(last_read + idle);
                }
                () = self.service.stop.cancelled() => return Ending::Plain(SANDBOX_STOPPED),
            }
        }
    }

    /// Neither reads nor writes until the fault is gone, or the connection is ended from elsewhere.
    async fn keep_silent(&mut self, fault: u64) -> ControlFlow<Ending> {
        let mut longest = Box::pin(tokio::time::sleep(self.service.config.silence_timeout));
        let mut gone = Box::pin(self.service.faults.gone(fault));
        loop {
            tokio::select! {
                () = &mut gone => break,
                () = &mut longest => return ControlFlow::Break(Ending::Cut),
                () = self.link.outbox.woken() => if self.link.outbox.is_ending() {
                    return ControlFlow::Break(Ending::Cut);
                },
                () = self.service.stop.cancelled() => return ControlFlow::Break(Ending::Cut),
            }
        }
        self.link.break_silence();
        ControlFlow::Continue(())
    }

    /// When there is something to write although nobody wakes this task.
    fn next_due(&self) -> Option<Instant> {
        let swapped = self.swapped.as_ref().map(|swapped| swapped.0);
        self.link.outbox.next_due().into_iter().chain(swapped).min()
    }

    /// Handles a frame and those that arrived with it.
    fn take(&mut self, first: Result<Received, SocketError>) -> Result<(), Ending> {
        let mut next = Some(first?);
        for turn in 0.. {
            match next {
                Some(Received::Input(Input::Frame(frame))) => self.handle(frame)?,
                Some(Received::Input(Input::Header(_))) => return Err(Ending::Violation("two headers")),
                // The pong is written with the rest of this turn.
                Some(Received::Ping) => {}
                None => break,
            }
            if turn == FRAMES_PER_TURN || self.link.silenced_by().is_some() {
                break;
            }
            next = self.socket.read_ready()?;
        }
        Ok(())
    }

    fn handle(&mut self, frame: BytesMut) -> Result<(), Ending> {
        let counters = &self.service.counters;
        counters.frames_in.one();
        counters.bytes_in.add(frame.len() as u64);
        self.frames_read += 1;
        let cut = self.service.faults.at_frame(self.role.who(), self.frames_read);
        if let Some(cut) = cut {
            cut.apply(&self.link);
            if cut.is_end() {
                return Ok(());
            }
        }
        let bytes = frame.len();
        let plain = self
            .transport
            .open(frame)
            .map_err(|_| self.role.unreadable(&self.link, bytes, "frame does not decrypt"))?;
        // From here on the size of the stanza, as it is for those that are written.
        let bytes = plain.len();
        let node = decode(plain.freeze(), self.service.config.stanza_limits).map_err(|error| {
            tracing::debug!(error = error.to_string(), "a client sent a malformed stanza");
            self.link
                .end_with(&stream_error(None, None).child(Node::new("xml-not-well-formed")));
            self.role.unreadable(&self.link, bytes, "malformed stanza")
        })?;
        tracing::trace!(?node, "received");
        if let Role::LoggedIn(session) = &self.role {
            session.ledger.stanza(self.link.id, FrameEvent::In, &node, bytes);
        }
        let _unit = self.service.journal.unit();
        match &self.role {
            Role::Registering(registration) => registration.handle(self.service, &node),
            Role::LoggedIn(session) => session.handle(self.service, &node),
            Role::Refused => {}
        }
        Ok(())
    }

    /// Writes a stream error that explains the ending, if there is one.
    async fn last_word(&mut self, ending: Ending) -> Ending {
        if let Ending::Violation(_) = ending {
            let _ = self.write_all().await;
        }
        ending
    }

    /// Writes until nothing waits.
    async fn write_all(&mut self) -> ControlFlow<Ending> {
        if let Err(error) = self.socket.write_pong().await {
            return ControlFlow::Break(error.into());
        }
        loop {
            let (frames, end) = self.link.outbox.take();
            match end {
                Some(End::Overflow) => return ControlFlow::Break(Ending::Plain("the client does not read")),
                Some(End::Aborted) => return ControlFlow::Break(Ending::Cut),
                _ => {}
            }
            let queued = match &self.role {
                Role::LoggedIn(session) if end.is_none() => {
                    deliver(self.service, session, &mut self.swapped, STANZAS_PER_WRITE)
                }
                _ => Vec::new(),
            };
            // What is said must not be forgotten: it waits until what it rests on is kept.
            if !(frames.is_empty() && queued.is_empty()) && self.service.journal.barrier().await.is_err() {
                return ControlFlow::Break(Ending::Plain(SANDBOX_STOPPED));
            }
            if frames.is_empty() && queued.is_empty() {
                return end.map_or(ControlFlow::Continue(()), |_| {
                    ControlFlow::Break(Ending::Plain("said"))
                });
            }
            let mut batch = Batch {
                out: websocket::begin(0),
                cipher: &mut self.transport.sender,
                faults: &self.service.faults,
                role: &self.role,
                link: &self.link,
                frames: 0,
            };
            let mut written = true;
            for frame in frames {
                written &= batch.add(&frame, None);
                if websocket::length(&batch.out) >= BYTES_PER_WRITE {
                    let full = std::mem::replace(&mut batch.out, websocket::begin(0));
                    self.service
                        .counters
                        .bytes_out
                        .add(websocket::length(&full) as u64);
                    if let Err(error) = self.socket.write(full).await {
                        return ControlFlow::Break(error.into());
                    }
                }
            }
            for node in queued {
                tracing::trace!(?node, "delivered");
                written &= encode_to_vec(&node).is_ok_and(|frame| batch.add(&frame.freeze(), Some(&node)));
            }
            let (out, frames) = (batch.out, batch.frames);
            self.service.counters.frames_out.add(frames);
            self.service
                .counters
                .bytes_out
                .add(websocket::length(&out) as u64);
            if !written {
                return ControlFlow::Break(Ending::Violation("no more frames under this key"));
            }
            if websocket::length(&out) > 0
                && let Err(error) = self.socket.write(out).await
            {
                return ControlFlow::Break(error.into());
            }
            match end {
                Some(_) => return ControlFlow::Break(Ending::Plain("said")),
                None if frames == 0 => return ControlFlow::Continue(()),
                None => {}
            }
        }
    }
}

/// Encrypted frames gathered for one write.
struct Batch<'a> {
    out: BytesMut,
    cipher: &'a mut Cipher,
    faults: &'a Faults,
    role: &'a Role,
    link: &'a Link,
    frames: u64,
}

impl Batch<'_> {
    /// Adds an encoded stanza; `node` is what it was encoded from, where that is at hand.
    fn add(&mut self, plain: &Bytes, node: Option<&Node>) -> bool {
        self.frames += 1;
        let start = self.out.len();
        if self.cipher.seal_frame(plain, &mut self.out).is_err() {
            return false;
        }
        let event = match self.faults.at_write(self.role.who()) {
            None => FrameEvent::Out,
            Some(FrameFault::Drop) => {
                self.out.truncate(start);
                FrameEvent::Lost
            }
            Some(FrameFault::Corrupt) => {
                if let Some(last) = self.out.last_mut() {
                    *last ^= 1;
                }
                FrameEvent::Corrupted
            }
        };
        if let Role::LoggedIn(session) = self.role {
            match node {
                Some(node) => session.ledger.stanza(self.link.id, event, node, plain.len()),
                None => session.ledger.encoded(self.link.id, event, plain),
            }
        }
        true
    }
}

/// Waits for a moment; for none, forever.
async fn reached(moment: Option<Instant>) {
    match moment {
        // Boxed: it is seldom there, and every connection would hold the room for it.
        Some(moment) => Box::pin(sleep_until(moment)).await,
        None => std::future::pending().await,
    }
}

const SANDBOX_STOPPED: &str = "the sandbox stopped";

/// How long connections get to end when the sandbox stops.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(5);
