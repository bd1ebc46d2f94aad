//! The listener: accepts connections, at most so many, with time-outs, until it is told to stop.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::client_address::Resolver;
use crate::config;

/// How long the listener rests after a fault such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HTTP2_STREAMS_MAX: u32 = 256;

/// Serves the router until `stop` is cancelled, then lets requests at work finish for at most
/// `drain`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &config::Http,
    stop: CancellationToken,
    drain: Duration,
) {
    let builder = Arc::new(builder(config));
    let resolver = Arc::new(Resolver::new(config));
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(config.connections_max));
    loop {
        // The permit comes first: at the limit new connections wait in the kernel's bounded queue.
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = connect(&builder, stream, peer, &resolver, router.clone());
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
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
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

fn connect(
    builder: &Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    peer: IpAddr,
    resolver: &Arc<Resolver>,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>>
+ Send
+ 'static {
    // Answers are small and written whole: waiting for more to send would only add delay.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the delay of small packets could not be switched off");
    }
    let resolver = Arc::clone(resolver);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let router = router.clone();
        let client = resolver.resolve(peer, request.headers());
        request.extensions_mut().insert(client);
        async move {
            Ok::<Response<Body>, Infallible>(
                router
                    .oneshot(request.map(Body::new))
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned()
}
