//! The media port: TLS, and an HTTP proxy in front of it.
//!
//! A client that has WhatsApp's own media host built in is given this port as its HTTPS proxy: a
//! `CONNECT` to a host of the certificate leads into the same TLS server.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use axum::middleware::map_response;
use axum::routing::post;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::watch::{Progress, Watched};
use super::{authority, download, upload};
use crate::server::service::Service;

/// hyper's smallest allowed buffer is 8 KiB.
const HTTP_BUFFER_BYTES: usize = 64 << 10;
/// The first byte of every TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// First parts of the paths that clients upload to.
const UPLOAD_FAMILIES: [&str; 4] = ["mms", "newsletter", "pps", "product"];

/// Ends the connection a request came on, without another word.
#[derive(Clone)]
pub(super) struct Cut(CancellationToken);

impl Cut {
    /// Cuts the connection. Never returns: the caller goes with it.
    pub async fn now(&self) -> ! {
        self.0.cancel();
        std::future::pending().await
    }
}

/// One connection's share of the limit.
type Permit = Arc<OwnedSemaphorePermit>;

/// Accepts connections until the sandbox stops.
pub(in crate::server) async fn run(service: Arc<Service>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(service.config.media_connections_max));
    loop {
        let accepted = tokio::select! {
            () = service.stop.cancelled() => return,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let worker = service.clone();
        service.tasks.spawn(async move {
            tokio::select! {
                () = worker.stop.cancelled() => {}
                () = serve(&worker, stream, permit) => {}
            }
        });
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, Permit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, Arc::new(permit))),
        Err(error) => {
            // Usually too many open files: wait until some are closed.
            tracing::warn!(%error, "a media connection could not be accepted");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            None
        }
    }
}

async fn serve(service: &Arc<Service>, stream: TcpStream, permit: Permit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a media connection was gone before it was served");
        return;
    }
    let mut first = [0];
    let peeked = tokio::time::timeout(service.config.handshake_timeout, stream.peek(&mut first)).await;
    match peeked {
        Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => serve_tls(service, stream, permit).await,
        Ok(Ok(1)) => serve_proxy(service, stream, permit).await,
        _ => {}
    }
}

async fn serve_tls(
    service: &Arc<Service>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    permit: Permit,
) {
    let acceptor = TlsAcceptor::from(service.media.tls.clone());
    let accepted = tokio::time::timeout(service.config.handshake_timeout, acceptor.accept(stream)).await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a tls handshake failed"),
        Err(_) => return,
    };
    let (cut, progress) = (CancellationToken::new(), Progress::default());
    let mut router = Router::new();
    for family in UPLOAD_FAMILIES {
        router = router.route(&format!("/{family}/{{kind}}/{{hash}}"), post(upload::handle));
    }
    let patience_s = service.config.handshake_timeout.as_secs() / 2;
    let keep_alive = HeaderValue::from_str(&format!("timeout={patience_s}")).ok();
    let router = router
        .fallback(download::handle)
        // Says when a quiet connection is given up, so that no client starts an upload on a dying one.
        .layer(map_response(move |mut response: Response<Body>| {
            let keep_alive = keep_alive.clone();
            async move {
                response
                    .headers_mut()
                    .extend(keep_alive.map(|value| (KEEP_ALIVE, value)));
                response
            }
        }))
        .layer(Extension(Cut(cut.clone())))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(service.clone());
    let watched = Watched {
        stream,
        progress: progress.clone(),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.config.handshake_timeout)
        .max_buf_size(HTTP_BUFFER_BYTES)
        .serve_connection(TokioIo::new(watched), TowerToHyperService::new(router));
    tokio::select! {
        result = connection => {
            if let Err(error) = result {
                tracing::debug!(%error, "a media connection failed");
            }
        }
        () = cut.cancelled() => {}
        () = progress.stalled(service.config.idle_timeout) => {}
    }
    drop(permit);
}

/// Plain HTTP: nothing but `CONNECT` is served.
async fn serve_proxy(service: &Arc<Service>, stream: TcpStream, permit: Permit) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = connect(service, request, permit.clone());
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.config.handshake_timeout)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let served = tokio::time::timeout(service.config.idle_timeout, connection).await;
    if let Ok(Err(error)) = served {
        tracing::debug!(%error, "a proxy connection failed");
    }
}

fn connect(service: &Arc<Service>, request: Request<Incoming>, permit: Permit) -> Response<Body> {
    let refuse = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
    };
    if request.method() != Method::CONNECT {
        let text = "this port speaks TLS, and CONNECT for clients that use it as their proxy\n";
        return refuse(StatusCode::BAD_REQUEST, text);
    }
    let host = request.uri().host().unwrap_or_default();
    if !authority::covers(&service.media.names, host) {
        let text = "this proxy leads to WhatsApp's media hosts only, which are the sandbox itself\n";
        return refuse(StatusCode::FORBIDDEN, text);
    }
    let worker = service.clone();
    service.tasks.spawn(async move {
        let stopped = worker.stop.clone();
        let tunnel = async {
            match hyper::upgrade::on(request).await {
                Ok(upgraded) => serve_tls(&worker, TokioIo::new(upgraded), permit).await,
                Err(error) => tracing::debug!(%error, "a tunnel was not completed"),
            }
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            () = tunnel => {}
        }
    });
    Response::new(Body::empty())
}
