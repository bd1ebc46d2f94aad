//! What is worked out for every operation: its errors, its headers and what opens it.
//!
//! An operation's own `x-errors` names only the codes beyond those that follow from its shape: a body
//! can be malformed, an id can be unknown, a key can lack a scope.

use std::collections::{BTreeMap, BTreeSet};

use roost_domain::ErrorCode;
use serde_json::{Map, Value, json};

use crate::http::problem::{self, Problem};

const REQUEST_ID: &str = "#/components/headers/X-Request-Id";
const RATE_LIMIT: [&str; 4] = [
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "RateLimit-Policy",
];
const RETRY_AFTER: &str = "#/components/headers/Retry-After";
const REPLAYED: &str = "#/components/headers/Idempotency-Replayed";
const CHALLENGE: &str = "#/components/headers/WWW-Authenticate";

/// Completes the document.
pub fn complete(document: &mut Value) {
    rename_wildcards(document);
    one_line_each(document);
    let schemas = document["components"]["schemas"].clone();
    let mut refusals = BTreeMap::new();
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            operate(path, operation, &schemas, &mut refusals);
        }
    }
    let components = &mut document["components"];
    components["responses"] = Value::Object(refusals.into_iter().collect());
    components["headers"] = headers();
    components["securitySchemes"] = security_schemes();
    for (name, schema) in problem::schemas() {
        components["schemas"][name] = json!(schema);
    }
    require_what_is_always_there(document);
}

/// A wildcard is the router's word; in the document it is a parameter like any other. An operation
/// that takes the end of a wildcard as a parameter of its own says so by an `x-path`.
fn rename_wildcards(document: &mut Value) {
    let paths = std::mem::take(&mut document["paths"]);
    let mut renamed = json!({});
    let items = paths.as_object().into_iter().flatten();
    for (route, item) in items {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let mut operation = operation.clone();
            let own = operation.as_object_mut().and_then(|map| map.remove("x-path"));
            let path = own
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or(route)
                .replace("{*", "{");
            renamed[path][method] = operation;
        }
    }
    document["paths"] = renamed;
}

fn operate(path: &str, operation: &mut Value, schemas: &Value, refusals: &mut BTreeMap<String, Value>) {
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        not_null(parameter);
    }
    if operation["parameters"].is_null()
        && let Some(operation) = operation.as_object_mut()
    {
        operation.remove("parameters");
    }
    let codes = codes(path, operation);
    if !operation["requestBody"].is_null() {
        operation["requestBody"]["required"] = json!(needs_body(operation, schemas));
    }
    operation["security"] = security(path, operation);
    let repeatable = has_parameter(operation, "header", "Idempotency-Key");
    let map = operation["responses"].as_object_mut();
    for (_, answer) in map.into_iter().flatten() {
        answer["headers"]["X-Request-Id"] = json!({"$ref": REQUEST_ID});
        if repeatable {
            answer["headers"]["Idempotency-Replayed"] = json!({"$ref": REPLAYED});
        }
        if path.starts_with("/v1/") {
            add_rate_limit(&mut answer["headers"]);
        }
    }
    for (status, codes) in codes {
        let name: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
        let name = name.join(".");
        operation["responses"][status.to_string()] =
            json!({"$ref": format!("#/components/responses/{name}")});
        refusals.entry(name).or_insert_with(|| refusal(&codes));
    }
    if let Some(operation) = operation.as_object_mut() {
        operation.remove("x-errors");
    }
}

/// An empty body is an empty object.
fn needs_body(operation: &Value, schemas: &Value) -> bool {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let name = schema["$ref"].as_str().and_then(|link| link.rsplit('/').next());
    let schema = name.map_or(schema, |name| &schemas[name]);
    schema["required"]
        .as_array()
        .is_some_and(|names| !names.is_empty())
}

/// Comments are wrapped in the code; in the document a paragraph is a line.
fn one_line_each(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "description" => *text = unwrapped(text),
                    value => one_line_each(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(one_line_each),
        _ => {}
    }
}

fn unwrapped(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n").trim().to_owned()
}

/// The codes that an operation can give, by status.
fn codes(path: &str, operation: &Value) -> BTreeMap<u16, BTreeSet<ErrorCode>> {
    use ErrorCode as E;
    let mut codes = BTreeSet::from([E::Internal, E::Timeout]);
    if path.starts_with("/v1/") {
        codes.extend([
            E::Unauthorized,
            E::Forbidden,
            E::RateLimited,
            E::Overloaded,
            E::Unavailable,
            E::ValidationFailed,
        ]);
        if !path.starts_with("/v1/operator/") {
            codes.insert(E::TenantSuspended);
        }
    }
    if path.contains('{') {
        codes.insert(E::NotFound);
    }
    if has_parameter(operation, "query", "cursor") {
        codes.insert(E::InvalidCursor);
    }
    if !operation["requestBody"].is_null() {
        codes.extend([
            E::InvalidBody,
            E::UnsupportedMediaType,
            E::PayloadTooLarge,
            E::BodyTimeout,
        ]);
    }
    if has_parameter(operation, "header", "Idempotency-Key") {
        codes.insert(E::IdempotencyKeyReused);
    }
    let own: Vec<ErrorCode> = serde_json::from_value(operation["x-errors"].clone()).unwrap_or_default();
    codes.extend(own);
    let mut by_status = BTreeMap::<u16, BTreeSet<ErrorCode>>::new();
    for code in codes {
        let status = Problem::new(code, "").status().as_u16();
        by_status.entry(status).or_default().insert(code);
    }
    by_status
}

fn has_parameter(operation: &Value, place: &str, name: &str) -> bool {
    let mut parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.any(|parameter| parameter["in"] == place && parameter["name"] == name)
}

/// Where the limits stand that the call was held against.
fn add_rate_limit(headers: &mut Value) {
    for name in RATE_LIMIT {
        headers[name] = json!({"$ref": format!("#/components/headers/{name}")});
    }
}

/// The answer with one of these codes, all of the same status.
fn refusal(codes: &BTreeSet<ErrorCode>) -> Value {
    let lines: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.as_str(), code.meaning()))
        .collect();
    let mut headers = json!({"X-Request-Id": {"$ref": REQUEST_ID}});
    add_rate_limit(&mut headers);
    if codes.iter().any(|code| code.is_retryable()) {
        headers["Retry-After"] = json!({"$ref": RETRY_AFTER});
    }
    if codes.contains(&ErrorCode::Unauthorized) {
        headers["WWW-Authenticate"] = json!({"$ref": CHALLENGE});
    }
    json!({
        "description": lines.join("\n\n"),
        "headers": headers,
        "content": {"application/problem+json": {"schema": {
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "properties": {"code": {"enum": codes}},
        }}},
        "x-error-codes": codes,
    })
}

/// What opens an operation: an operator's key, a tenant's key with a scope, or nothing.
fn security(path: &str, operation: &Value) -> Value {
    if path.starts_with("/v1/operator/") {
        return json!([{"operator_key": []}, {"api_key_header": []}]);
    }
    if !path.starts_with("/v1/") {
        return json!([]);
    }
    let scopes: Vec<&Value> = Some(&operation["x-scope"])
        .filter(|scope| !scope.is_null())
        .into_iter()
        .collect();
    let mut ways = vec![json!({"api_key": scopes}), json!({"api_key_header": scopes})];
    if operation["x-stream-token"] == true {
        ways.push(json!({"stream_token": scopes}));
    }
    ways.into()
}

fn security_schemes() -> Value {
    json!({
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A tenant's API key: `Authorization: Bearer rst_…`. The roles of a requirement are the scopes that the key needs.",
        },
        "api_key_header": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "The same key, a tenant's or an operator's, in a header of its own. Not together with `Authorization`.",
        },
        "operator_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of whoever runs the nodes: `Authorization: Bearer rst_…`. It reaches `/v1/operator` and nothing else.",
        },
        "stream_token": {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "A token that opens event streams for a short time, where a browser cannot set a header: see `POST /v1/stream-tokens`.",
        },
    })
}

fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "Id of the request: yours, or a new one.",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        },
        "Retry-After": {
            "description": "Seconds to wait before the next try. There for every code that is retryable.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "RateLimit-Limit": {
            "description": "How many calls at once the tightest limit lets through that this call was held against. This and the other `RateLimit-*` headers are there when there is such a limit.",
            "schema": {"type": "integer", "minimum": 1},
        },
        "RateLimit-Remaining": {
            "description": "How many of them are left.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "RateLimit-Reset": {
            "description": "Seconds until all of them are there again, if no more calls are made.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "RateLimit-Policy": {
            "description": "The limit, its window in seconds and its name, for example `1000;w=3600;name=\"calls_per_hour\"`.",
            "schema": {"type": "string"},
        },
        "Idempotency-Replayed": {
            "description": "There when this is the answer to an earlier request with the same `Idempotency-Key`.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "WWW-Authenticate": {
            "description": "How to authenticate.",
            "required": true,
            "schema": {"type": "string"},
        },
    })
}

/// A parameter is there or not: it is never null.
fn not_null(parameter: &mut Value) {
    let schema = &mut parameter["schema"];
    if let Some(types) = schema["type"].as_array() {
        let kept: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
        schema["type"] = match kept.as_slice() {
            [one] => one.clone(),
            _ => kept.into(),
        };
    }
    let only = schema["oneOf"].as_array().and_then(|ways| {
        let mut ways = ways.iter().filter(|way| way["type"] != "null");
        ways.next().filter(|_| ways.next().is_none()).cloned()
    });
    if let Some(only) = only {
        *schema = only;
    } else if schema["type"].is_null()
        && let Some(schema) = schema.as_object_mut()
    {
        schema.remove("type");
    }
    if schema.get("oneOf").is_some_and(Value::is_null)
        && let Some(schema) = schema.as_object_mut()
    {
        schema.remove("oneOf");
    }
}

/// Answers show a field without a value as null. So a property that may be null is always there, in
/// schemas of which no body is made.
fn require_what_is_always_there(document: &mut Value) {
    let mut taken = BTreeSet::new();
    let operations = document["paths"].as_object().into_iter().flatten();
    for (_, operation) in operations.flat_map(|(_, item)| item.as_object().into_iter().flatten()) {
        reach(document, &operation["requestBody"], &mut taken);
    }
    for (name, schema) in document["components"]["schemas"]
        .as_object_mut()
        .into_iter()
        .flatten()
    {
        if !taken.contains(name) {
            require_nullable(schema);
        }
    }
}

fn reach(document: &Value, value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|link| link.strip_prefix("#/components/schemas/"))
                && names.insert(name.to_owned())
            {
                reach(document, &document["components"]["schemas"][name], names);
            }
            map.values().for_each(|value| reach(document, value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| reach(document, value, names)),
        _ => {}
    }
}

fn require_nullable(schema: &mut Value) {
    let nullable: Vec<Value> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(Map::iter)
        .into_iter()
        .flatten()
        .filter(|(_, property)| admits_null(property))
        .map(|(name, _)| json!(name))
        .collect();
    if !nullable.is_empty() {
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        required.extend(nullable);
        required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        required.dedup();
        schema["required"] = required.into();
    }
    for part in ["allOf", "oneOf", "anyOf"] {
        for schema in schema
            .get_mut(part)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            require_nullable(schema);
        }
    }
}

fn admits_null(schema: &Value) -> bool {
    schema["type"]
        .as_array()
        .is_some_and(|types| types.iter().any(|kind| kind == "null"))
        || schema["oneOf"]
            .as_array()
            .is_some_and(|ways| ways.iter().any(|way| way["type"] == "null"))
}
