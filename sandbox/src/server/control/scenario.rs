//! Scenarios: start, look at, wait for, end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::body::{Body, Params, parse};
use super::message::NewMessage;
use super::problem::{Problem, ProblemCode};
use crate::server::scenario::{NewScenario, ScenarioState, ScenarioView, TooManyScenarios};
use crate::server::service::Service;

/// Longest time a call waits for a scenario to end.
const WAIT_MS_MAX: u64 = 60_000;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/scenarios", get(list).post(create))
        .route("/scenarios/{id}", get(show).delete(remove))
}

pub(super) async fn create(
    State(service): Shared,
    Body(new): Body<NewScenario>,
) -> Result<(StatusCode, Json<ScenarioView>), Problem> {
    let is_message = |message: &serde_json::Value| {
        let parsed = parse::<NewMessage>(message.clone(), "");
        parsed.map(|_| ()).map_err(Problem::into_field)
    };
    new.check(service.config.scenario_steps_max, is_message)
        .map_err(|(pointer, detail)| Problem::new(ProblemCode::InvalidField, detail).at(pointer))?;
    let view = service.scenarios.start(&service, new);
    let view = view.map_err(|TooManyScenarios| {
        Problem::new(
            ProblemCode::TooManyScenarios,
            "the sandbox runs its limit of scenarios",
        )
    })?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

#[derive(Serialize)]
pub(super) struct Scenarios {
    data: Vec<ScenarioView>,
}

pub(super) async fn list(State(service): Shared) -> Json<Scenarios> {
    Json(Scenarios {
        data: service.scenarios.list(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowParams {
    /// Answers when the scenario has ended, or after this time.
    wait_ms: Option<u64>,
}

pub(super) async fn show(
    State(service): Shared,
    Path(id): Path<String>,
    Params(params): Params<ShowParams>,
) -> Result<Json<ScenarioView>, Problem> {
    let mut view = service.scenarios.follow(&id).ok_or_else(not_found)?;
    let wait_ms = params.wait_ms.unwrap_or(0);
    if wait_ms > WAIT_MS_MAX {
        let detail = format!("wait_ms is at most {WAIT_MS_MAX}");
        return Err(Problem::new(ProblemCode::InvalidQuery, detail));
    }
    if wait_ms > 0 {
        let ended = view.wait_for(|view| view.state != ScenarioState::Running);
        // Whether it has ended is in the answer.
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), ended).await;
    }
    let view = view.borrow().clone();
    Ok(Json(view))
}

pub(super) async fn remove(State(service): Shared, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if service.scenarios.remove(&id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_found())
    }
}

fn not_found() -> Problem {
    Problem::new(ProblemCode::ScenarioNotFound, "there is no scenario with this id")
}
