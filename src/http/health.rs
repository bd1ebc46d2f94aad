//! `/healthz`: the process answers. `/readyz`: it can do its work. Neither needs a key.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::{Gateway, Http};

/// How long the database may take to prove that it can be written.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

const CHECK_VALID: Duration = Duration::from_secs(1);

/// State of one part.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessPart)]
pub struct Part {
    /// Which part.
    #[schema(example = "store")]
    name: &'static str,
    /// Whether it can do its work.
    ready: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// What `/readyz` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether every part is.
    ready: bool,
    /// Its parts.
    parts: Vec<Part>,
}

/// What `/healthz` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Liveness {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Ask whether the process lives.
#[utoipa::path(
    get, path = "/healthz", operation_id = "get_liveness", tag = "node",
    responses((status = 200, description = "It lives", body = Liveness))
)]
pub async fn live() -> Json<Liveness> {
    Json(Liveness { status: "ok" })
}

/// Ask whether the node can do its work.
#[utoipa::path(
    get, path = "/readyz", operation_id = "get_readiness", tag = "node",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot; a part says why", body = Readiness),
    )
)]
pub async fn ready(State(http): State<Http>) -> (StatusCode, Json<Readiness>) {
    let mut parts = vec![Part {
        name: "gateway",
        ready: !http.is_draining() && http.started().is_some(),
        detail: if http.is_draining() {
            Some("stopping".into())
        } else {
            http.started().is_none().then(|| "starting".into())
        },
    }];
    if let Some(gateway) = http.started() {
        parts.push(store(gateway).await);
        let handed_over = gateway.runtime.ready();
        parts.push(Part {
            name: "sessions",
            ready: handed_over,
            detail: (!handed_over).then(|| "running instances are being handed to their sessions".into()),
        });
        parts.extend(cluster(gateway));
    }
    let ready = parts.iter().all(|part| part.ready);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, parts }))
}

/// How the node stands in its cluster, if it is in one.
fn cluster(gateway: &Gateway) -> Option<Part> {
    let numbers = gateway.runtime.cluster_numbers()?;
    let detail = if numbers.lease_left.is_zero() {
        Some("this node has lost its lease and runs nothing")
    } else if gateway.runtime.drains() {
        Some("this node is drained: it gives its slots away and takes none")
    } else {
        None
    };
    Some(Part {
        name: "cluster",
        ready: detail.is_none(),
        detail: detail.map(str::to_owned),
    })
}

/// Proves that the database can be written, once a second at most: probes are not to be a load.
async fn store(gateway: &Gateway) -> Part {
    let mut last = gateway.store_check.lock().await;
    let fault = match &*last {
        Some((at, fault)) if at.elapsed() < CHECK_VALID => fault.clone(),
        _ => {
            let fault = check(gateway).await;
            *last = Some((Instant::now(), fault.clone()));
            fault
        }
    };
    Part {
        name: "store",
        ready: fault.is_none(),
        detail: fault,
    }
}

async fn check(gateway: &Gateway) -> Option<String> {
    match tokio::time::timeout(CHECK_TIMEOUT, gateway.store.check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database cannot be written");
            Some("the database cannot be written".into())
        }
        Err(_) => Some("the database did not answer in time".into()),
    }
}
