//! Bounds that an operator sets: the document shows those of this node.

use serde_json::{Value, json};

use crate::config;

/// Writes them into the document.
pub fn apply(document: &mut Value, http: &config::Http, webhooks: &config::Webhooks) {
    let wait_ms = u64::try_from(http.wait_max.as_millis()).unwrap_or(u64::MAX);
    parameter(document, "send_message", "timeout_ms", wait_ms);
    parameter(document, "read_events", "wait_ms", wait_ms);
    let concurrency = u64::from(webhooks.concurrency_max);
    for schema in ["CreateWebhook", "PatchWebhook"] {
        property(document, schema, "max_concurrency", concurrency);
    }
    let overlap = webhooks.secret_overlap_max.as_secs();
    property(document, "RotateWebhookSecret", "overlap_seconds", overlap);
}

fn parameter(document: &mut Value, operation: &str, name: &str, most: u64) {
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten());
    for (_, found) in operations.filter(|(_, found)| found["operationId"] == operation) {
        for parameter in found["parameters"].as_array_mut().into_iter().flatten() {
            if parameter["name"] == name {
                parameter["schema"]["maximum"] = json!(most);
            }
        }
    }
}

fn property(document: &mut Value, schema: &str, name: &str, most: u64) {
    if let Some(property) = document.pointer_mut(&format!("/components/schemas/{schema}/properties/{name}")) {
        property["maximum"] = json!(most);
    }
}
