//! The simulated service: accounts, companions, virtual phones, and the API that controls them.
//!
//! One listener serves both the WebSocket (`/ws/chat`) and the control API (`/sandbox/v1`). Locks are
//! per account, per device and per phone, and are held only while computing; stanzas reach a
//! companion through its queue, a phone through its inbox, so nobody waits for a slow client. State
//! is in memory; with a data folder, what others rely on is also kept there: see [`persist`].

mod account;
mod config;
mod connection;
mod control;
mod device;
mod fault;
mod group;
mod identity;
mod ledger;
mod link;
mod listener;
mod marks;
mod media;
mod outbox;
mod persist;
mod phone;
mod picture;
mod place;
mod profile;
mod queue;
mod registration;
mod role;
mod rule;
mod scenario;
mod seat;
mod service;
mod session;
mod socket;
mod stanza;
mod stats;
mod sync;
mod template;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use config::SandboxConfig;
pub use media::MediaError;
pub use persist::PersistError;
use persist::{Journal, Saved, Writer};
pub use phone::{Card, Detail, Direction, Frame, Kind, MediumKind, MediumView, Recorded, Response, Tally};
pub use registration::PairingError;
use service::Service;
pub use stats::{CounterValues, Stats};

#[derive(Debug, Error)]
pub enum SandboxError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot use the state kept by an earlier sandbox")]
    State(#[from] PersistError),
    #[error("the media service cannot start")]
    Media(#[from] MediaError),
}

/// Starts sandboxes.
pub struct Sandbox;

impl Sandbox {
    /// Binds the listener, takes back what the data folder holds, and serves until the handle is shut
    /// down or dropped.
    pub async fn start(config: SandboxConfig) -> Result<SandboxHandle, SandboxError> {
        let (listener, address) = bind(config.listen).await?;
        let (media_listener, media_address) = bind(config.media_listen).await?;
        let (journal, saved, writer) = match &config.data_dir {
            Some(folder) => {
                let opened = persist::open(folder).await?;
                (opened.journal, opened.saved, Some(opened.writer))
            }
            None => (Journal::default(), Saved::default(), None),
        };
        let service = Arc::new(Service::new(config, journal, saved)?);
        service.media.bound(media_address);
        let writer = writer.map(|writer| keep(&service, writer));
        phone::resume(&service);
        service.tasks.spawn(listener::run(service.clone(), listener));
        service.tasks.spawn(media::run(service.clone(), media_listener));
        Ok(SandboxHandle {
            service,
            address,
            writer,
        })
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |source| SandboxError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Starts the task that keeps what changes. It outlives all others, to keep their last words too.
fn keep(service: &Service, writer: Writer) -> JoinHandle<()> {
    let (stop, tasks) = (service.stop.clone(), service.tasks.clone());
    tokio::spawn(writer.run(async move {
        stop.cancelled().await;
        tasks.close();
        let _ = tokio::time::timeout(connection::STOP_TIMEOUT, tasks.wait()).await;
    }))
}

/// A running sandbox. Dropping it stops it too, without waiting.
pub struct SandboxHandle {
    service: Arc<Service>,
    address: SocketAddr,
    writer: Option<JoinHandle<()>>,
}

impl SandboxHandle {
    /// Where it listens; the port is the real one.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The base of the control API, `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where clients connect, `ws://HOST:PORT/ws/chat`.
    pub fn websocket_url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    /// Where media is uploaded to and fetched from, `https://HOST:PORT`; as an HTTP proxy it leads
    /// WhatsApp's own media hosts to the same place.
    pub fn media_url(&self) -> String {
        format!("https://{}", self.service.media.host())
    }

    /// The certificate that vouches for the media service, in PEM.
    pub fn ca_pem(&self) -> &str {
        self.service.media.ca_pem()
    }

    /// The root key of the certificate chain shown to clients.
    pub fn root_key(&self) -> [u8; 32] {
        *self.service.authority.root()
    }

    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// Closes all connections and waits until they are gone, a few seconds at most. The data folder is
    /// free afterwards.
    pub async fn shutdown(mut self) {
        self.service.stop.cancel();
        self.service.tasks.close();
        if tokio::time::timeout(connection::STOP_TIMEOUT, self.service.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end in time");
        }
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the task that keeps state failed");
        }
    }
}

impl Drop for SandboxHandle {
    fn drop(&mut self) {
        self.service.stop.cancel();
    }
}
