//! The WebSocket under the Noise layer.
//!
//! One connection is one reading task and a sink that the library's own sender writes to; that sender
//! already joins stanzas which wait together into one write. Buffers are small on purpose: thousands
//! of idle links live in one process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::ORIGIN;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::transport::{DisconnectReason, Transport, TransportEvent, TransportFactory};

use super::dial::Dialer;
use super::endpoint::Endpoint;
use crate::web::report::Reporter;
use crate::web::runtime::LinkRuntime;
use crate::web::settle::Sessions;

const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 4 * 1024;
/// Messages that wait between the socket and the library; then the socket is not read further.
const EVENTS_MAX: usize = 16;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const WHATSAPP_ORIGIN: &str = "https://web.whatsapp.com";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

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
    /// Cut by the link when it ends: a handshake that waits for the server ends with it.
    pub(in crate::web) cut: CancellationToken,
}

impl Transports {
    async fn connect(&self) -> anyhow::Result<Socket> {
        let stream = self.dialer.dial(&self.endpoint.host, self.endpoint.port).await?;
        let mut request = self
            .endpoint
            .url
            .as_str()
            .into_client_request()
            .context("malformed endpoint")?;
        request
            .headers_mut()
            .insert(ORIGIN, HeaderValue::from_static(WHATSAPP_ORIGIN));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(self.limits.message_bytes_max.saturating_mul(2))
            .max_message_size(Some(self.limits.message_bytes_max))
            .max_frame_size(Some(self.limits.message_bytes_max));
        let connector = match self.endpoint.url.scheme() {
            "wss" => Connector::Rustls(Arc::clone(&self.tls)),
            _ => Connector::Plain,
        };
        let handshake = client_async_tls_with_config(request, stream, Some(config), Some(connector));
        let (socket, _) = tokio::time::timeout(self.limits.handshake_timeout, handshake)
            .await
            .map_err(|_| {
                anyhow!(
                    "no WebSocket handshake within {:?}",
                    self.limits.handshake_timeout
                )
            })?
            .context("the WebSocket handshake failed")?;
        Ok(socket)
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
        let socket = connected.inspect_err(|error| self.reporter.not_dialled(&format!("{error:#}")))?;
        let (sink, stream) = socket.split();
        let (events, receiver) = async_channel::bounded(EVENTS_MAX);
        let cut = self.cut.child_token();
        let read = read(stream, events, cut.clone());
        self.runtime.detach(read);
        let transport = Wire {
            sink: Mutex::new(Some(sink)),
            write_timeout: self.limits.write_timeout,
            sessions: Arc::clone(&self.sessions),
            cut,
        };
        Ok((Arc::new(transport), receiver))
    }
}

async fn read(mut stream: SplitStream<Socket>, events: Sender<TransportEvent>, cut: CancellationToken) {
    let reason = loop {
        let message = tokio::select! {
            biased;
            () = cut.cancelled() => break DisconnectReason::Unknown,
            message = stream.next() => message,
        };
        match message {
            Some(Ok(Message::Binary(data))) => {
                let event = TransportEvent::DataReceived(data);
                tokio::select! {
                    biased;
                    () = cut.cancelled() => break DisconnectReason::Unknown,
                    sent = events.send(event) => if sent.is_err() { return },
                }
            }
            Some(Ok(Message::Close(frame))) => break closed_by_server(frame),
            // Text is not part of the protocol; pings are answered by the WebSocket layer.
            Some(Ok(_)) => {}
            Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None => {
                break DisconnectReason::StreamEnded;
            }
            Some(Err(error)) => break DisconnectReason::ReadError(error.to_string()),
        }
    };
    // A full channel means that the library no longer reads; closing it says the same.
    let _ = events.try_send(TransportEvent::Disconnected(reason));
}

fn closed_by_server(frame: Option<CloseFrame>) -> DisconnectReason {
    DisconnectReason::ServerClose {
        code: frame.as_ref().map(|frame| frame.code.into()),
        reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
    }
}

/// One connection.
struct Wire {
    /// Taken when the connection is closed from our side.
    sink: Mutex<Option<SplitSink<Socket, Message>>>,
    write_timeout: Duration,
    sessions: Arc<Sessions>,
    cut: CancellationToken,
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        tokio::time::timeout(self.write_timeout, self.sessions.before_write())
            .await
            .context("the sessions were not stored in time")??;
        let mut sink = self.sink.lock().await;
        let Some(open) = sink.as_mut() else {
            bail!("the connection is closed")
        };
        match tokio::time::timeout(self.write_timeout, open.send(Message::Binary(data))).await {
            Ok(sent) => sent.context("the write failed"),
            Err(_) => bail!("the write did not get through within {:?}", self.write_timeout),
        }
    }

    async fn disconnect(&self) {
        let Some(mut sink) = self.sink.lock().await.take() else {
            return;
        };
        // A goodbye is a courtesy: the connection is dropped in any case.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.close()).await;
        self.cut.cancel();
    }
}
