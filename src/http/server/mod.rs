//! The listener: accepts connections, at most so many, with time-outs, until it is told to stop.
//!
//! What a slow or hostile client can hold is bounded here: its share of the connections, the time for
//! a head, for a body and for reading an answer, and how long a connection may rest.

mod activity;
mod pace;
mod share;
mod stall;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::client_address::Resolver;
use crate::config;
use activity::{Activity, Counted};
use pace::{Pace, Paced};
use share::{Share, Shares};
use stall::Stalling;

pub use pace::TooSlow;

/// How long the listener rests after a fault such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that rested for too long may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// What is written to one HTTP/2 stream ahead of its client.
const HTTP2_SEND_BYTES: usize = 64 * 1024;

/// What the connections share.
struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    resolver: Resolver,
    shares: Shares,
    pace: Pace,
    write_timeout: Duration,
    idle_timeout: Duration,
    stop: CancellationToken,
}

/// Serves the router until `stop` is cancelled, then lets requests at work finish for at most
/// `drain`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &config::Http,
    stop: CancellationToken,
    drain: Duration,
) {
    let server = Arc::new(Server {
        builder: builder(config),
        router,
        resolver: Resolver::new(config),
        shares: Shares::new(config.connections_per_address_max),
        pace: Pace::new(config),
        write_timeout: config.write_timeout,
        idle_timeout: config.header_timeout,
        stop: stop.clone(),
    });
    let room = Arc::new(Semaphore::new(config.connections_max));
    let connections = TaskTracker::new();
    loop {
        // The permit comes first: at the limit new connections wait in the kernel's bounded queue.
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(share) = server.share(peer) else {
            tracing::debug!(%peer, "an address has as many connections as it may have");
            continue;
        };
        connections.spawn(Arc::clone(&server).connection(stream, peer, (permit, share)));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!("requests were still at work when the time to stop was over");
    }
}

fn builder(config: &config::Http) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.header_bytes_max)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http2_streams_max)
        .max_send_buf_size(HTTP2_SEND_BYTES)
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

impl Server {
    /// Room for one more connection of this address. Proxies stand for many clients.
    fn share(&self, peer: IpAddr) -> Option<Option<Share>> {
        if self.resolver.trusts(peer) {
            return Some(None);
        }
        self.shares.take(peer).map(Some)
    }

    /// One connection, from its first byte to its last. A stop, and too long a rest, end it as soon as
    /// no request is at work on it.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        _room: (OwnedSemaphorePermit, Option<Share>),
    ) {
        // Answers are small and written whole: waiting for more to send would only add delay.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the delay of small packets could not be switched off");
        }
        let activity = Arc::new(Activity::default());
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let request = self.prepared(request, peer);
            let working = activity.begin();
            let router = self.router.clone();
            async move {
                let response = router.oneshot(request).await;
                let response = response.unwrap_or_else(|never| match never {});
                Ok::<Response<Counted>, Infallible>(response.map(|body| Counted::new(body, working)))
            }
        });
        let io = TokioIo::new(Stalling::new(stream, self.write_timeout));
        let mut connection = std::pin::pin!(self.builder.serve_connection_with_upgrades(io, service));
        let mut ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.stop.cancelled() => None,
            () = activity.rested(self.idle_timeout) => None,
        };
        if ended.is_none() {
            connection.as_mut().graceful_shutdown();
            ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                // A client that says nothing more after this is not waited for.
                () = activity.rested(GOODBYE) => None,
            };
        }
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a connection broke off");
        }
    }

    /// The request with what only the connection knows.
    fn prepared(&self, mut request: Request<Incoming>, peer: IpAddr) -> Request<Body> {
        let client = self.resolver.resolve(peer, request.headers());
        request.extensions_mut().insert(client);
        request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(Paced::new(body, self.pace))
            }
        })
    }
}
