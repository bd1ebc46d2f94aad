//! One connection from its first byte to its last: the handshake, who it is, then reading and writing.
//!
//! A connection is one task. It writes what its outbox and its device's queue hold, several frames
//! in one WebSocket message, and handles what it reads; whatever a client sends ends at most its own
//! connection.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use prost::Message as _;
use tokio::time::{Instant, sleep_until};

use super::link::{Link, stream_error};
use super::outbox::End;
use super::registration::{Candidate, Registration};
use super::service::Service;
use super::session::Session;
use super::socket::{Socket, SocketError};
use crate::wire::frame::Input;
use crate::wire::node::{Node, decode, encode_to_vec};
use crate::wire::noise::{Cipher, Established, Responder, Transport};
use crate::wire::proto::ClientPayload;
use crate::wire::token::DICTIONARY_VERSION;

/// Frames handled before what they caused is written.
const FRAMES_PER_TURN: usize = 64;
/// Queued stanzas and bytes put into one WebSocket message.
const STANZAS_PER_WRITE: usize = 64;
const BYTES_PER_WRITE: usize = 64 << 10;

/// Why a connection ended, for the close frame and the log.
#[derive(Debug)]
enum Ending {
    /// The client went away, or everything was said.
    Plain,
    Violation(&'static str),
}

impl From<SocketError> for Ending {
    fn from(error: SocketError) -> Self {
        if !error.is_violation() {
            return Self::Plain;
        }
        tracing::debug!(error = error.to_string(), "a client broke the framing");
        Self::Violation("malformed frame")
    }
}

/// Serves an upgraded connection until it ends.
pub(super) async fn serve(service: Arc<Service>, io: Upgraded) {
    service.links_open.fetch_add(1, Ordering::Relaxed);
    let mut socket = Socket::new(io, &service.config).await;
    let ending = run(&service, &mut socket).await;
    if let Ending::Violation(reason) = ending {
        service.counters.protocol_errors.one();
        socket.close(Some(reason)).await;
    } else {
        socket.close(None).await;
    }
    service.links_open.fetch_sub(1, Ordering::Relaxed);
}

async fn run(service: &Arc<Service>, socket: &mut Socket) -> Ending {
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
    let link = Arc::new(Link::new(service.next_number(), &service.config));
    let role = match Role::of(service, payload, client_key, &link) {
        Ok(role) => role,
        Err(ending) => return ending,
    };
    let mut exchange = Exchange {
        service,
        socket,
        transport,
        link,
        role,
    };
    let ending = exchange.run().await;
    match &exchange.role {
        Role::Registering(registration) => registration.end(service),
        Role::LoggedIn(session) => session.end(service),
        Role::Refused => {}
    }
    ending
}

async fn handshake(service: &Service, socket: &mut Socket) -> Result<Established, Ending> {
    let Input::Header(header) = socket.read().await? else {
        return Err(Ending::Violation("no header"));
    };
    if header[3] != DICTIONARY_VERSION {
        return Err(Ending::Violation("only dictionary version 3 is spoken here"));
    }
    let Input::Frame(hello) = socket.read().await? else {
        return Err(Ending::Violation("two headers"));
    };
    let refused = |error: crate::wire::noise::NoiseError| {
        tracing::debug!(error = error.to_string(), "a handshake failed");
        Ending::Violation("handshake failed")
    };
    let (responder, answer) = Responder::start(&header, &service.authority, &hello).map_err(refused)?;
    let mut out = BytesMut::with_capacity(answer.len() + 3);
    crate::wire::frame::write_frame(&mut out, &answer).map_err(SocketError::from)?;
    socket.write(out).await?;
    let Input::Frame(finish) = socket.read().await? else {
        return Err(Ending::Violation("two headers"));
    };
    responder.finish(&finish).map_err(refused)
}

/// Who a connection belongs to.
enum Role {
    Registering(Arc<Registration>),
    LoggedIn(Box<Session>),
    /// Told why, and about to be closed.
    Refused,
}

impl Role {
    fn of(
        service: &Service,
        payload: ClientPayload,
        key: [u8; 32],
        link: &Arc<Link>,
    ) -> Result<Self, Ending> {
        let username = payload.username.filter(|username| *username != 0);
        if let Some(username) = username {
            return Ok(Self::login(service, username, &payload, key, link));
        }
        let Some(data) = payload.device_pairing_data else {
            return Err(Ending::Violation("neither a login nor a registration"));
        };
        match Candidate::read(data) {
            Ok(candidate) => Ok(Self::Registering(Registration::start(
                service,
                link.clone(),
                key,
                candidate,
            ))),
            Err(field) => {
                tracing::debug!(field, "registration data is malformed");
                Err(Ending::Violation("malformed registration data"))
            }
        }
    }

    fn login(
        service: &Service,
        username: u64,
        payload: &ClientPayload,
        key: [u8; 32],
        link: &Arc<Link>,
    ) -> Self {
        let account = service.account_by_pn(&username.to_string());
        let id = payload.device.and_then(|device| u16::try_from(device).ok());
        let device = account
            .as_ref()
            .zip(id)
            .and_then(|(account, id)| account.device(id));
        match account.zip(device.filter(|device| device.noise_key == key)) {
            Some((account, device)) => {
                let passive = payload.passive.unwrap_or(false);
                Self::LoggedIn(Box::new(Session::start(
                    service,
                    account,
                    device,
                    link.clone(),
                    passive,
                )))
            }
            None => {
                service.counters.logins_refused.one();
                link.end_with(
                    &Node::new("failure")
                        .attr("reason", "401")
                        .attr("location", "sandbox"),
                );
                Self::Refused
            }
        }
    }
}

/// The established part of a connection.
struct Exchange<'a> {
    service: &'a Arc<Service>,
    socket: &'a mut Socket,
    transport: Transport,
    link: Arc<Link>,
    role: Role,
}

impl Exchange<'_> {
    async fn run(&mut self) -> Ending {
        let idle = self.service.config.idle_timeout;
        let mut deadline = Box::pin(sleep_until(Instant::now() + idle));
        let mut last_read = Instant::now();
        loop {
            if let ControlFlow::Break(ending) = self.write_all().await {
                return ending;
            }
            tokio::select! {
                input = self.socket.read() => {
                    last_read = Instant::now();
                    if let Err(ending) = self.take(input) {
                        return self.last_word(ending).await;
                    }
                }
                () = self.link.outbox.woken() => {}
                () = &mut deadline => {
                    if last_read.elapsed() >= idle {
                        return Ending::Violation("idle for too long");
                    }
                    deadline.as_mut().reset(last_read + idle);
                }
                () = self.service.stop.cancelled() => return Ending::Plain,
            }
        }
    }

    /// Handles a frame and those that arrived with it.
    fn take(&mut self, first: Result<Input, SocketError>) -> Result<(), Ending> {
        let mut next = Some(first?);
        for _ in 0..FRAMES_PER_TURN {
            match next {
                Some(Input::Frame(frame)) => self.handle(frame)?,
                Some(Input::Header(_)) => return Err(Ending::Violation("two headers")),
                None => break,
            }
            next = self.socket.read_ready()?;
        }
        // The budget is spent with a frame in hand: it is handled, the rest waits for the next turn.
        if let Some(Input::Frame(frame)) = next {
            self.handle(frame)
        } else {
            Ok(())
        }
    }

    fn handle(&mut self, frame: BytesMut) -> Result<(), Ending> {
        let counters = &self.service.counters;
        counters.frames_in.one();
        counters.bytes_in.add(frame.len() as u64);
        let plain = self
            .transport
            .open(frame)
            .map_err(|_| Ending::Violation("frame does not decrypt"))?;
        let node = decode(plain.freeze(), self.service.config.stanza_limits).map_err(|error| {
            tracing::debug!(error = error.to_string(), "a client sent a malformed stanza");
            self.link
                .end_with(&stream_error(None, None).child(Node::new("xml-not-well-formed")));
            Ending::Violation("malformed stanza")
        })?;
        tracing::trace!(?node, "received");
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
        loop {
            let (frames, end) = self.link.outbox.take();
            if end == Some(End::Overflow) {
                return ControlFlow::Break(Ending::Plain);
            }
            let queued = match &self.role {
                Role::LoggedIn(session) if end.is_none() => {
                    session.device.pull(self.link.id, STANZAS_PER_WRITE)
                }
                _ => Vec::new(),
            };
            // What is said must not be forgotten: it waits until what it rests on is kept.
            if !(frames.is_empty() && queued.is_empty()) && self.service.journal.barrier().await.is_err() {
                return ControlFlow::Break(Ending::Plain);
            }
            let mut batch = Batch {
                out: BytesMut::new(),
                cipher: &mut self.transport.sender,
                frames: 0,
            };
            let mut written = true;
            for frame in frames {
                written &= batch.add(&frame);
                if batch.out.len() >= BYTES_PER_WRITE {
                    let full = std::mem::take(&mut batch.out);
                    self.service.counters.bytes_out.add(full.len() as u64);
                    if let Err(error) = self.socket.write(full).await {
                        return ControlFlow::Break(error.into());
                    }
                }
            }
            for node in queued {
                tracing::trace!(?node, "delivered");
                written &= encode_to_vec(&node).is_ok_and(|frame| batch.add(&frame));
            }
            let (out, frames) = (batch.out, batch.frames);
            self.service.counters.frames_out.add(frames);
            self.service.counters.bytes_out.add(out.len() as u64);
            if !written {
                return ControlFlow::Break(Ending::Violation("no more frames under this key"));
            }
            if !out.is_empty()
                && let Err(error) = self.socket.write(out).await
            {
                return ControlFlow::Break(error.into());
            }
            match end {
                Some(_) => return ControlFlow::Break(Ending::Plain),
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
    frames: u64,
}

impl Batch<'_> {
    fn add(&mut self, plain: &[u8]) -> bool {
        self.frames += 1;
        self.cipher.seal_frame(plain, &mut self.out).is_ok()
    }
}

/// How long connections get to end when the sandbox stops.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(5);
