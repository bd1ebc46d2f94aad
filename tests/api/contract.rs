//! Every answer that a test gets is held against the API's description: its status, its type and its
//! body, in which nothing may stand that the description does not name; and every body that was taken
//! against what the description says may be sent.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use roost::config::{self, Layers};
use serde_json::{Map, Value, json};

/// The document under the default configuration.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let config = config::load(&Layers::default()).unwrap();
    roost::http::openapi::document(&config.http, &config.webhooks)
});

/// What is answered by HTTP itself, before there is a route.
const BELOW_ROUTES: [u16; 4] = [400, 405, 414, 431];

type Key = (String, String, u16, String);

/// What a client sent and got.
pub struct Exchange<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub sent: Option<&'a [u8]>,
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    pub text: &'a str,
}

/// Fails unless the exchange is as the description says.
#[track_caller]
pub fn check(exchange: &Exchange<'_>) {
    let path = exchange.path.split('?').next().unwrap();
    let Some((route, operation)) = operation(exchange.method, path) else {
        return;
    };
    let id = operation["operationId"].as_str().unwrap();
    let status = exchange.status.as_u16();
    let media = exchange
        .headers
        .get("content-type")
        .map_or("", |value| value.to_str().unwrap())
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let Some(answer) = operation["responses"].get(status.to_string()) else {
        let bare = BELOW_ROUTES.contains(&status) && exchange.text.is_empty();
        assert!(bare, "{id} is not said to answer {status}: {}", exchange.text);
        return;
    };
    let answer = resolved(answer);
    for (name, header) in answer["headers"].as_object().into_iter().flatten() {
        let needed = resolved(header)["required"] == true;
        assert!(
            !needed || exchange.headers.contains_key(name.as_str()),
            "{id} answered {status} without {name}"
        );
    }
    let Some(content) = answer["content"].as_object() else {
        assert!(
            exchange.text.is_empty(),
            "{id} answered {status} with a body: {}",
            exchange.text
        );
        return;
    };
    let Some(content) = content.get(&media) else {
        panic!(
            "{id} is not said to answer {status} in {media:?}: {}",
            exchange.text
        );
    };
    if media.ends_with("json") {
        let key = (route.to_owned(), id.to_owned(), status, media);
        let validator = validator(key, || strict(&content["schema"]));
        let body: Value = serde_json::from_str(exchange.text).unwrap();
        hold(&validator, &body, &format!("{id} answered {status}"));
    }
    if exchange.status.is_success()
        && let Some(sent) = exchange.sent
        && !sent.is_empty()
    {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{id} took a body, and is not said to");
        let key = (route.to_owned(), id.to_owned(), 0, String::new());
        let validator = validator(key, || inlined(schema));
        // What is too deep for this reader may be right: the gateway keeps the data of an event as text.
        if let Ok(sent) = serde_json::from_slice(sent) {
            hold(&validator, &sent, &format!("{id} took"));
        }
    }
}

#[track_caller]
fn hold(validator: &Validator, value: &Value, what: &str) {
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(
        faults.is_empty(),
        "{what} what is not described:\n{}\n{value}",
        faults.join("\n")
    );
}

fn validator(key: Key, schema: impl FnOnce() -> Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<Key, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = made.entry(key).or_insert_with(|| {
        let options = jsonschema::options().should_validate_formats(true);
        Arc::new(options.build(&schema()).unwrap())
    });
    Arc::clone(validator)
}

/// The route and the operation behind a path.
pub fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let method = method.as_str().to_ascii_lowercase();
    let mut routes: Vec<_> = DOCUMENT["paths"].as_object().unwrap().iter().collect();
    // A route with fewer parameters is the closer one.
    routes.sort_by_key(|(route, _)| route.matches('{').count());
    routes
        .into_iter()
        .find(|(route, item)| item.get(&method).is_some() && fits(route, path))
        .map(|(route, item)| (route.as_str(), &item[&method]))
}

/// Whether a path is one of a route. Places in the tree of actors have slashes in them.
fn fits(route: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let mut wanted = route.split('/').peekable();
    while let Some(want) = wanted.next() {
        if want == "{path}" {
            let rest: Vec<_> = parts.collect();
            let tail = wanted.count();
            return rest.len() > tail;
        }
        match parts.next() {
            Some(part) if want == part || (want.starts_with('{') && !part.is_empty()) => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// What a reference leads to.
pub fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(link) => DOCUMENT.pointer(link.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// A schema in which nothing may stand that it does not name.
fn strict(schema: &Value) -> Value {
    closed(inlined(schema))
}

/// A schema with everything it refers to in place of the references.
fn inlined(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut map: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (key.clone(), inlined(value)))
                .collect();
            if let Some(Value::String(link)) = map.remove("$ref") {
                let target = inlined(DOCUMENT.pointer(link.trim_start_matches('#')).unwrap());
                let rest = Value::Object(map);
                return json!({"allOf": [target, rest]});
            }
            map.remove("example");
            map.remove("examples");
            Value::Object(map)
        }
        Value::Array(values) => values.iter().map(inlined).collect(),
        other => other.clone(),
    }
}

/// Closes every object that is a value of its own; parts of one share what they name.
fn closed(mut schema: Value) -> Value {
    each_value_in(&mut schema);
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    let names_something = ["properties", "allOf", "oneOf", "anyOf"]
        .iter()
        .any(|key| map.contains_key(*key));
    if names_something && !map.contains_key("additionalProperties") {
        map.insert("unevaluatedProperties".into(), json!(false));
    }
    schema
}

fn each_value_in(schema: &mut Value) {
    for key in [
        "properties",
        "allOf",
        "oneOf",
        "anyOf",
        "items",
        "additionalProperties",
    ] {
        let Some(part) = schema.get_mut(key) else { continue };
        match (key, part) {
            ("properties", Value::Object(properties)) => {
                for value in properties.values_mut() {
                    *value = closed(value.take());
                }
            }
            ("allOf" | "oneOf" | "anyOf", Value::Array(parts)) => parts.iter_mut().for_each(each_value_in),
            ("items" | "additionalProperties", part @ Value::Object(_)) => *part = closed(part.take()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed(path: &str, status: u16, text: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", "x".parse().unwrap());
        let media = if status < 400 {
            "application/json"
        } else {
            "application/problem+json"
        };
        headers.insert("content-type", media.parse().unwrap());
        let exchange = Exchange {
            method: &Method::GET,
            path,
            sent: None,
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            text,
        };
        std::panic::catch_unwind(|| check(&exchange)).is_err()
    }

    #[test]
    fn what_is_not_described_is_noticed() {
        let path = "/v1/webhooks/whk_01M83J15SSHV9877HVE7NJHCGD/secret";
        let good =
            r#"{"secret":"whsec_x","previous":[{"secret":"a","expires_at":"2026-11-23T06:00:00.000Z"}]}"#;
        assert!(!noticed(path, 200, good));
        for bad in [
            r#"{"secret":"whsec_x","previous":[],"more":1}"#,
            r#"{"secret":"whsec_x","previous":[{"secret":"a","expires_at":null,"more":1}]}"#,
            r#"{"secret":"whsec_x","previous":[{"secret":"a","expires_at":"soon"}]}"#,
            r#"{"secret":"whsec_x"}"#,
            r#"{"secret":7,"previous":[]}"#,
        ] {
            assert!(noticed(path, 200, bad), "{bad}");
        }
        assert!(noticed(path, 202, good));
        let problem = |code: &str| {
            let problem = json!({
                "type": format!("urn:roost:problem:{code}"), "title": "x", "status": 404, "code": code,
                "detail": "x", "request_id": "x", "retryable": false,
            });
            problem.to_string()
        };
        assert!(!noticed(path, 404, &problem("not_found")));
        assert!(noticed(path, 404, &problem("wrong_state")));
        assert!(noticed(path, 409, &problem("wrong_state")));
    }
}
