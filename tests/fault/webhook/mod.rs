//! Webhooks under faults. What must hold: each event that was acknowledged reaches its receiver at least
//! once, under one `webhook-id`, in mode `ordered` never before an earlier one of its chat succeeded.

mod hostile;
mod kill;
mod neighbour;
mod outage;
mod publisher;
mod receiver;

use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::Ready;
use crate::ground::{Api, Ground};

/// Retries without the patience that real receivers need, and many small settlements, so that there are
/// many points to be killed at. The breaker stays out of the way: it has tests of its own.
const IMPATIENT: &[(&str, &str)] = &[
    (
        "ROOST__WEBHOOKS__RETRY_SCHEDULE",
        "0s,200ms,300ms,500ms,1s,1s,1s,1s,1s,1s,1s,1s",
    ),
    ("ROOST__WEBHOOKS__BREAKER_FAILURES", "1000"),
    ("ROOST__WEBHOOKS__BREAKER_PERCENT", "100"),
    ("ROOST__WEBHOOKS__SETTLE_EVERY", "20ms"),
];

/// Makes a webhook for all custom events and returns its id.
async fn subscribe(ground: &Ground, ready: &Ready, url: &str, mode: &str, events: &str) -> String {
    let api = Api {
        client: &ground.client,
        ready,
    };
    let body = json!({"url": url, "events": [events], "mode": mode});
    let made: Value = api.must(Method::POST, "/v1/webhooks", Some(body)).await;
    made["id"].as_str().unwrap().to_owned()
}
