use std::path::Path;

use super::*;
use crate::config::{self, Layers};

fn default_document() -> Value {
    let config = config::load(&Layers::default()).unwrap();
    document(&config.http, &config.webhooks)
}

/// Compares with a file of the repository.
fn compare(name: &str, made: &str, command: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let first = kept
        .lines()
        .zip(made.lines())
        .position(|(kept, made)| kept != made)
        .unwrap_or(kept.lines().count().min(made.lines().count()));
    assert!(
        kept == made,
        "docs/{name} is not what the code says, from line {} on. Look at the difference of\n    \
         cargo run -q -- {command} > docs/{name}",
        first + 1
    );
}

#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    compare("openapi.json", &text(&default_document()), "openapi");
}

#[test]
fn the_list_of_errors_in_the_repository_is_the_one_that_holds() {
    compare("errors.md", &reference(), "errors");
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let items = document["paths"].as_object().unwrap().iter();
    items.flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .values()
            .map(move |operation| (path, operation))
    })
}

#[test]
fn every_operation_says_who_may_do_it_what_it_takes_and_what_it_answers() {
    let document = default_document();
    let mut ids = std::collections::BTreeSet::new();
    for (path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is there twice");
        assert!(
            id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{id}"
        );
        let tag = &operation["tags"][0];
        let tags = document["tags"].as_array().unwrap();
        assert!(
            tags.iter().any(|known| known["name"] == *tag),
            "{id}: tag {tag} is not explained"
        );
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{id}"
        );
        let scope = operation["x-scope"]
            .as_str()
            .map(roost_domain::api_key::Scope::from_name);
        let is_tenants = path.starts_with("/v1/") && !path.starts_with("/v1/operator/");
        assert_eq!(scope.is_some(), is_tenants, "{id}: x-scope");
        assert_ne!(scope, Some(None), "{id}: x-scope is no scope");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(
                parameter["description"].is_string(),
                "{id}: {}",
                parameter["name"]
            );
            assert!(parameter["schema"].is_object(), "{id}: {}", parameter["name"]);
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let described = answer["description"].is_string() || answer["$ref"].is_string();
            assert!(described, "{id}: {status}");
        }
    }
}

#[test]
fn a_body_in_which_unknown_fields_are_refused_says_so() {
    let document = default_document();
    for (_, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let Some(link) = schema["$ref"].as_str() {
            let schema = document.pointer(link.trim_start_matches('#')).unwrap();
            assert_eq!(schema["additionalProperties"], false, "{link}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, part: &Value, count: &mut usize) {
        match part {
            Value::Object(fields) => {
                if let Some(link) = fields.get("$ref").and_then(Value::as_str) {
                    let target = document.pointer(link.trim_start_matches('#'));
                    assert!(target.is_some(), "{link} leads nowhere");
                    *count += 1;
                }
                fields.values().for_each(|part| walk(document, part, count));
            }
            Value::Array(parts) => parts.iter().for_each(|part| walk(document, part, count)),
            _ => {}
        }
    }
    let (document, mut count) = (default_document(), 0);
    walk(&document, &document, &mut count);
    assert!(count > 100, "{count}");
}

#[test]
fn every_example_is_true() {
    let document = default_document();
    let mut count = 0;
    examples(&document, &document, "", &mut count);
    assert!(count > 40, "{count}");
}

/// Validates each example against the schema beside it, or the schema that it is in.
fn examples(document: &Value, value: &Value, place: &str, count: &mut usize) {
    let map = match value {
        Value::Object(map) => map,
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                examples(document, value, &format!("{place}/{at}"), count);
            }
            return;
        }
        _ => return,
    };
    // Below `properties` a name is a name, whatever it is.
    if !place.ends_with("/properties") {
        let schema = map.get("schema").unwrap_or(value);
        let listed = map
            .get("examples")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for example in map.get("example").into_iter().chain(listed) {
            let whole = json!({"allOf": [schema], "components": document["components"]});
            let options = jsonschema::options().should_validate_formats(true);
            let validator = options.build(&whole).unwrap();
            let fault = validator
                .iter_errors(example)
                .next()
                .map(|fault| fault.to_string());
            assert_eq!(fault, None, "{place}: {example}");
            *count += 1;
        }
    }
    for (key, inner) in map
        .iter()
        .filter(|(key, _)| !["example", "examples"].contains(&key.as_str()))
    {
        examples(document, inner, &format!("{place}/{key}"), count);
    }
}

#[test]
fn the_texts_are_for_users_of_the_api() {
    let text = text(&default_document());
    for inside in ["[`", "::", "None`"] {
        let line = text.lines().find(|line| line.contains(inside));
        assert_eq!(line, None, "{inside} is a word of the code");
    }
}

#[test]
fn a_route_leads_to_its_operation() {
    for (method, route, id) in [
        (Method::POST, "/v1/instances/{id}/messages", "send_message"),
        (Method::POST, "/v1/operator/actors/{*path}", "order_actor"),
        (Method::GET, "/healthz", "get_liveness"),
    ] {
        assert_eq!(operation_id(&method, route), Some(id));
    }
    assert_eq!(operation_id(&Method::PUT, "/healthz"), None);
}
