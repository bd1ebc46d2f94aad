//! The API's description: OpenAPI 3.1, made from the routes themselves.
//!
//! Each handler says in its `#[utoipa::path]` what it takes and answers; a route cannot be registered
//! without one. What holds for many operations (errors, headers, security) is worked out from what
//! each of them says, in [`complete`], so that nobody writes it twice. The document is built when the
//! router is, and served as the same bytes until the process ends.
//!
//! `docs/openapi.json` is the document under the default configuration; a test compares.

mod bounds;
mod complete;
mod errors;
pub mod param;
mod serve;
#[cfg(test)]
mod tests;
mod viewer;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::Method;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

pub use errors::reference;
pub use serve::routes as serve_routes;

use crate::config;

/// The document as the handlers say it, before anything is worked out.
fn written() -> OpenApi {
    super::described().into_openapi()
}

/// The document for a configuration.
pub fn document(http: &config::Http, webhooks: &config::Webhooks) -> Value {
    // Structs with text keys: JSON can always write them.
    let mut document = serde_json::to_value(written()).unwrap_or_default();
    document["info"] = info();
    complete::complete(&mut document);
    document["tags"] = tags(&document);
    bounds::apply(&mut document, http, webhooks);
    sorted(document)
}

/// The document as text: its keys in order, so that two of them can be compared line by line.
pub fn text(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// Id of the operation behind a route.
pub fn operation_id(method: &Method, route: &str) -> Option<&'static str> {
    static IDS: LazyLock<BTreeMap<String, Vec<(Method, String)>>> = LazyLock::new(ids);
    let operations = IDS.get(route)?;
    let (_, id) = operations.iter().find(|(other, _)| other == method)?;
    Some(id)
}

/// The operations of each route.
fn ids() -> BTreeMap<String, Vec<(Method, String)>> {
    let document = serde_json::to_value(written()).unwrap_or_default();
    let mut ids = BTreeMap::<String, Vec<(Method, String)>>::new();
    for (route, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes());
            if let (Ok(method), Some(id)) = (method, operation["operationId"].as_str()) {
                ids.entry(route.clone())
                    .or_default()
                    .push((method, id.to_owned()));
            }
        }
    }
    ids
}

fn info() -> Value {
    json!({
        "title": "Roost",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "A self-hosted, multi-tenant WhatsApp gateway",
        "description": include_str!("info.md"),
        "license": {"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
    })
}

/// Those that an operation has.
fn tags(document: &Value) -> Value {
    let tags = [
        (
            "instances",
            "WhatsApp numbers, and what can be done with their sessions.",
        ),
        ("messages", "What was sent and received."),
        ("events", "The tenant's log: everything that happens, in order."),
        ("webhooks", "Endpoints of the tenant to which events are posted."),
        ("deliveries", "One event for one webhook."),
        ("api-keys", "Keys of the tenant: who may do what."),
        (
            "stream-tokens",
            "Short-lived tokens for event streams in browsers.",
        ),
        ("audit-events", "Who did what, from where, and what came of it."),
        ("usage", "How much the tenant has used, by day."),
        ("operator", "For whoever runs the nodes; needs an operator's key."),
        ("node", "How this node does. Needs no key."),
    ];
    let used = |name: &str| {
        let items = document["paths"].as_object().into_iter().flatten();
        let mut operations = items.flat_map(|(_, item)| item.as_object().into_iter().flatten());
        operations.any(|(_, operation)| operation["tags"][0] == name)
    };
    tags.into_iter()
        .filter(|(name, _)| used(name))
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect()
}

/// The same with the keys of every object in order, whatever the map behind it keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        other => other,
    }
}
