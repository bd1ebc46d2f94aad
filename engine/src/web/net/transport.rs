//! The WebSocket under the Noise layer.
//!
//! One connection is one reading task and a sink that the library's own sender writes to; that sender
//! already joins stanzas which wait together into one write. Between two messages a connection keeps
//! next to nothing: thousands of idle links live in one process.

use std::io::Cursor;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::time::Entropy;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Chain, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::transport::{DisconnectReason, Transport, TransportEvent, TransportFactory};

use super::dial::Dialer;
use super::endpoint::Endpoint;
use super::frame::{FrameReader, Received, write_frame};
use super::guard::Guarded;
use super::handshake::{Duplex, Upgraded, upgrade};
use crate::web::report::Reporter;
use crate::web::runtime::LinkRuntime;
use crate::web::settle::Sessions;
use crate::web::tenure::Tenure;

/// Messages that wait between the socket and the library; then the socket is not read further.
const EVENTS_MAX: usize = 16;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer messages are rare, and the library would keep their memory; see [`Sink::long`].
const LONG_BYTES: usize = 8 * 1024;

type Reading = FrameReader<Chain<Cursor<Vec<u8>>, ReadHalf<Box<dyn Duplex>>>>;

/// Limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct WireLimits {
    /// For the WebSocket's own handshake, TLS included.
    pub(in crate::web) handshake_timeout: Duration,
    /// For one write to get into the socket.
    pub(in crate::web) write_timeout: Duration,
    /// Longest message that is taken.
    pub(in crate::web) message_bytes_max: usize,
}

/// Makes the connections of one link, and tells the link how each of them fared.
pub(in crate::web) struct Transports {
    pub(in crate::web) endpoint: Endpoint,
    pub(in crate::web) dialer: Dialer,
    pub(in crate::web) tls: Arc<ClientConfig>,
    pub(in crate::web) limits: WireLimits,
    pub(in crate::web) runtime: LinkRuntime,
    pub(in crate::web) reporter: Arc<Reporter>,
    pub(in crate::web) sessions: Arc<Sessions>,
    /// For the masks of frames.
    pub(in crate::web) entropy: Arc<dyn Entropy>,
    pub(in crate::web) tenure: Tenure,
    /// Cut by the link when it ends: a handshake that waits for the server ends with it.
    pub(in crate::web) cut: CancellationToken,
}

impl Transports {
    async fn connect(&self) -> anyhow::Result<Upgraded> {
        let stream = Guarded {
            socket: self.dialer.dial(&self.endpoint.host, self.endpoint.port).await?,
            tenure: self.tenure.clone(),
        };
        let limit = self.limits.handshake_timeout;
        tokio::time::timeout(limit, upgrade(stream, &self.endpoint, &self.tls))
            .await
            .map_err(|_| anyhow!("no WebSocket handshake within {limit:?}"))?
            .context("the WebSocket handshake failed")
    }
}

#[async_trait]
impl TransportFactory for Transports {
    async fn create_transport(&self) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        self.reporter.dialling();
        let connected = tokio::select! {
            biased;
            () = self.cut.cancelled() => bail!("the link was closed"),
            connected = self.connect() => connected,
        };
        let connected = connected.inspect_err(|error| self.reporter.not_dialled(&format!("{error:#}")))?;
        let (reading, writing) = tokio::io::split(connected.socket);
        let reading = Cursor::new(connected.rest).chain(reading);
        let (events, receiver) = async_channel::bounded(EVENTS_MAX);
        let wire = Arc::new(Wire {
            sink: Mutex::new(Sink {
                open: Some(writing),
                long: None,
            }),
            write_timeout: self.limits.write_timeout,
            sessions: Arc::clone(&self.sessions),
            entropy: Arc::clone(&self.entropy),
            cut: self.cut.child_token(),
        });
        let reader = Reader {
            frames: FrameReader::new(reading, self.limits.message_bytes_max),
            events,
            wire: Arc::downgrade(&wire),
            tenure: self.tenure.clone(),
        };
        let cut = wire.cut.clone();
        self.runtime.detach(reader.run(cut));
        Ok((wire, receiver))
    }
}

/// The reading half of one connection.
struct Reader {
    frames: Reading,
    events: Sender<TransportEvent>,
    /// Weak: whoever reads does not keep the connection open for writing.
    wire: Weak<Wire>,
    tenure: Tenure,
}

impl Reader {
    async fn run(mut self, cut: CancellationToken) {
        let reason = tokio::select! {
            biased;
            () = cut.cancelled() => DisconnectReason::Unknown,
            reason = self.read() => reason,
        };
        if cut.is_cancelled()
            && let Some(wire) = self.wire.upgrade()
        {
            // Who is in the middle of a write drops the connection after it.
            if let Ok(mut sink) = wire.sink.try_lock() {
                sink.open = None;
            }
        }
        // A full channel means that the library no longer reads; closing it says the same.
        let _ = self.events.try_send(TransportEvent::Disconnected(reason));
    }

    async fn read(&mut self) -> DisconnectReason {
        loop {
            match self.frames.next().await {
                // What comes is the next owner's.
                Ok(Some(_)) if !self.tenure.holds() => return DisconnectReason::Unknown,
                Ok(Some(Received::Binary(data))) => {
                    if self
                        .events
                        .send(TransportEvent::DataReceived(data))
                        .await
                        .is_err()
                    {
                        return DisconnectReason::Unknown;
                    }
                }
                Ok(Some(Received::Ping(data))) => {
                    if let Some(wire) = self.wire.upgrade() {
                        // Boxed: it is rare, and its size would be part of every idle link. Without an
                        // answer the server hangs up.
                        let _ = Box::pin(wire.write(OpCode::Control(Control::Pong), &data)).await;
                    }
                }
                Ok(Some(Received::Close(frame))) => return closed_by_server(frame),
                Ok(None) => return DisconnectReason::StreamEnded,
                Err(error) => return DisconnectReason::ReadError(error.to_string()),
            }
        }
    }
}

fn closed_by_server(frame: Option<CloseFrame>) -> DisconnectReason {
    DisconnectReason::ServerClose {
        code: frame.as_ref().map(|frame| frame.code.into()),
        reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
    }
}

/// One connection.
struct Wire {
    sink: Mutex<Sink>,
    write_timeout: Duration,
    sessions: Arc<Sessions>,
    entropy: Arc<dyn Entropy>,
    cut: CancellationToken,
}

/// The writing half of one connection.
struct Sink {
    /// Taken while a frame is written, so that nothing follows half a frame, and when the connection
    /// is closed from our side.
    open: Option<WriteHalf<Box<dyn Duplex>>>,
    /// The last message, when it was a long one. The library writes each message into the memory of
    /// the one before as soon as nobody holds that any more, and so would keep the size of the
    /// longest for as long as the link lives. Held until the next message was written elsewhere.
    long: Option<Bytes>,
}

impl Wire {
    async fn write(&self, opcode: OpCode, payload: &[u8]) -> anyhow::Result<()> {
        let mut sink = self.sink.lock().await;
        self.write_to(&mut sink, opcode, payload).await
    }

    async fn write_to(&self, sink: &mut Sink, opcode: OpCode, payload: &[u8]) -> anyhow::Result<()> {
        let Some(mut open) = sink.open.take() else {
            bail!("the connection is closed")
        };
        let mut mask = [0; 4];
        self.entropy.fill(&mut mask);
        let write = write_frame(&mut open, opcode, payload, mask);
        match tokio::time::timeout(self.write_timeout, write).await {
            Ok(written) => written.context("the write failed")?,
            Err(_) => bail!("the write did not get through within {:?}", self.write_timeout),
        }
        if !self.cut.is_cancelled() {
            sink.open = Some(open);
        }
        Ok(())
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        tokio::time::timeout(self.write_timeout, self.sessions.before_write())
            .await
            .context("the sessions were not stored in time")??;
        let mut sink = self.sink.lock().await;
        self.write_to(&mut sink, OpCode::Data(Data::Binary), &data)
            .await?;
        sink.long = (data.len() > LONG_BYTES).then_some(data);
        Ok(())
    }

    async fn disconnect(&self) {
        if let Some(mut open) = self.sink.lock().await.open.take() {
            let mut mask = [0; 4];
            self.entropy.fill(&mut mask);
            let goodbye = async {
                write_frame(&mut open, OpCode::Control(Control::Close), &[], mask).await?;
                open.shutdown().await
            };
            // A goodbye is a courtesy: the connection is dropped in any case.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        }
        self.cut.cancel();
    }
}
