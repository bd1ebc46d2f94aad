//! The one TCP listener: HTTP for the control API, and the upgrade to the WebSocket at `/ws/chat`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection;
use super::control;
use super::control::problem::{Problem, ProblemCode};
use super::place::Place;
use super::seat::{Awaited, Seat, Seats};
use super::service::Service;

/// hyper's smallest allowed buffer is 8 KiB.
const HTTP_BUFFER_BYTES: usize = 16 << 10;

/// Accepts connections until the sandbox stops.
pub(super) async fn run(service: Arc<Service>, listener: TcpListener) {
    let seats = Seats::new(service.config.http_connections_max);
    let router = control::router(service.clone()).route(
        "/ws/chat",
        axum::routing::get(upgrade).with_state(service.clone()),
    );
    loop {
        let accepted = tokio::select! {
            () = service.stop.cancelled() => return,
            accepted = accept(&listener, &seats) => accepted,
        };
        let Some((stream, seat)) = accepted else {
            continue;
        };
        if seat.is_displacing {
            service.counters.connections_displaced.one();
        }
        let (router, service) = (router.clone(), service.clone());
        let worker = service.clone();
        service.tasks.spawn(async move {
            serve(&worker, stream, router, Arc::new(seat)).await;
        });
    }
}

async fn accept(listener: &TcpListener, seats: &Arc<Seats>) -> Option<(TcpStream, Seat)> {
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, seats.take().await?)),
        Err(error) => {
            // Usually too many open files: wait until some are closed.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            None
        }
    }
}

async fn serve(service: &Service, stream: TcpStream, router: axum::Router, seat: Arc<Seat>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let (router, holder) = (TowerToHyperService::new(router), seat.clone());
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let request = request.map(|body| Body::new(Awaited::new(body, holder.clone())));
        let (answer, seat) = (router.call(request), holder.clone());
        async move {
            let answer = answer.await;
            // What is left is the client's: to read the answer, and to ask again.
            seat.await_client();
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.config.handshake_timeout)
        .max_buf_size(HTTP_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        result = &mut connection => {
            if let Err(error) = result {
                tracing::debug!(%error, "an http connection failed");
            }
        }
        () = seat.lost() => tracing::debug!("a slow http connection made room for another one"),
        () = service.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(connection::STOP_TIMEOUT, connection).await;
        }
    }
}

async fn upgrade(State(service): State<Arc<Service>>, mut request: Request) -> Response {
    let Some(key) = websocket_key(request.headers()) else {
        return Problem::new(
            ProblemCode::UpgradeRequired,
            "this path speaks the WebSocket protocol, version 13",
        )
        .into_response();
    };
    let Some(place) = Place::take(&service) else {
        return Problem::new(
            ProblemCode::TooManyConnections,
            "the sandbox holds its limit of connections",
        )
        .into_response();
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Problem::new(ProblemCode::UpgradeRequired, "the connection cannot be upgraded")
            .into_response();
    };
    let worker = service.clone();
    service.tasks.spawn(async move {
        match upgrade.await.map(Upgraded::downcast::<TokioIo<TcpStream>>) {
            Ok(Ok(parts)) => connection::serve(worker, place, parts.io.into_inner(), parts.read_buf).await,
            Ok(Err(_)) => tracing::error!("an upgraded connection is no TCP stream"),
            Err(error) => tracing::debug!(%error, "an upgrade was not completed"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    response
}

/// What a proper WebSocket request is answered with.
fn websocket_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name, wanted: &str| {
        let text = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default();
        text.split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(wanted))
    };
    if !has(header::UPGRADE, "websocket")
        || !has(header::CONNECTION, "upgrade")
        || !has(header::SEC_WEBSOCKET_VERSION, "13")
    {
        return None;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}
