//! The outermost layer: what holds for every request whatever its route.
//!
//! It gives the request its id, takes a permit or refuses, bounds the time, turns a panic into a
//! problem, writes every problem's body, logs a 5xx once, and counts.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use roost_domain::ErrorCode;

use super::place::Place;
use super::problem::{Pending, Problem};
use super::request_id::{self, RequestId};
use super::state::Http;

/// The layer.
pub async fn edge(State(http): State<Http>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = RequestId::of(request.headers(), http.clock(), http.entropy());
    request.extensions_mut().insert(request_id.clone());
    let method = request.method().clone();
    // Only routes become labels: paths would be unbounded.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_owned(), |path| path.as_str().to_owned());
    let mut response = answer(&http, request, next, &route).await;
    if let Some(pending) = response.extensions_mut().remove::<Pending>() {
        let problem = pending.into_problem();
        log(&problem, &request_id, &method, &route);
        response = problem.render(request_id.as_str());
    }
    response
        .headers_mut()
        .insert(request_id::HEADER, request_id.header_value());
    super::metrics::request(&method, route, response.status(), started.elapsed());
    response
}

async fn answer(http: &Http, mut request: Request, next: Next, route: &str) -> Response {
    // Probes have to be answered most of all when there is no room.
    if !matches!(route, "/healthz" | "/readyz" | "/metrics") {
        match http.places().take() {
            Ok(place) => request.extensions_mut().insert(place),
            Err(problem) => return problem.into_response(),
        };
    }
    // The request keeps a clone only as long as its handler needs it.
    let _place = request.extensions().get::<Place>().cloned();
    let call = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(http.config().request_timeout, call).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            Problem::internal(format!("a handler panicked: {}", panic_text(panic.as_ref()))).into_response()
        }
        Err(_) => Problem::new(ErrorCode::Timeout, "the request took too long").into_response(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn log(problem: &Problem, request_id: &RequestId, method: &axum::http::Method, route: &str) {
    let status = problem.status();
    let source = problem.source().unwrap_or(problem.detail());
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request.id = request_id.as_str(), %method, route, status = status.as_u16(), error = source, "request failed");
    } else if status.is_server_error() {
        tracing::warn!(request.id = request_id.as_str(), %method, route, status = status.as_u16(), error = source, "request was not carried out");
    } else {
        tracing::debug!(request.id = request_id.as_str(), %method, route, status = status.as_u16(), code = problem.code().as_str(), "request was refused");
    }
}

#[cfg(test)]
mod tests;
