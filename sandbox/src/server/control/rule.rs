//! The rules by which a phone answers by itself.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value};

use super::Shared;
use super::body::{Body, parse};
use super::message::NewMessage;
use super::problem::{Problem, ProblemCode};
use crate::server::rule::{RuleBody, Rules};
use crate::server::service::Service;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/accounts/{phone}/rules", get(list).put(replace))
}

/// Replaces all rules; an empty list ends them.
pub(super) async fn replace(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(bodies): Body<Vec<RuleBody>>,
) -> Result<Json<Value>, Problem> {
    let account = super::account(&service, &phone)?;
    let rules = check(&service, bodies, "")?;
    account.phone.set_rules(rules);
    Ok(Json(view(&account.phone.rules())))
}

pub(super) async fn list(State(service): Shared, Path(phone): Path<String>) -> Result<Json<Value>, Problem> {
    let account = super::account(&service, &phone)?;
    Ok(Json(view(&account.phone.rules())))
}

fn view(rules: &Rules) -> Value {
    let bodies = rules.bodies();
    let bodies = bodies
        .into_iter()
        .filter_map(|body| serde_json::to_value(body).ok());
    let data = Value::Array(bodies.collect());
    Value::Object(Map::from_iter([("data".to_owned(), data)]))
}

/// Checks rules; `at` is where they are in the body.
pub(in crate::server) fn check(service: &Service, bodies: Vec<RuleBody>, at: &str) -> Result<Rules, Problem> {
    let wrong = |pointer: String, detail: String| {
        Problem::new(ProblemCode::InvalidField, detail).at(format!("{at}{pointer}"))
    };
    if bodies.len() > service.config.rules_max {
        let detail = format!("a phone has at most {} rules", service.config.rules_max);
        return Err(wrong(String::new(), detail));
    }
    for (number, body) in bodies.iter().enumerate() {
        let pointer = format!("/{number}/reply");
        match &body.reply {
            None => {}
            Some(Value::Object(fields)) if !fields.contains_key("to") => {
                // The receiver is known when a message has come; any will do to check the rest.
                let mut message = fields.clone();
                message.insert("to".to_owned(), "10000000".into());
                parse::<NewMessage>(Value::Object(message), &format!("{at}{pointer}"))?;
            }
            Some(_) => {
                return Err(wrong(pointer, "a reply is a message without \"to\"".to_owned()));
            }
        }
    }
    Rules::new(bodies).map_err(|(pointer, detail)| wrong(pointer, detail))
}
