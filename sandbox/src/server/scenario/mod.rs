//! Scenarios: lists of steps that replay a conversation, for users' continuous integration.
//!
//! The control API starts them; each runs as one task, one step after the other, and does what a
//! caller of the API could do by hand. It ends at the first step that fails. Scenarios end with the
//! process; the latest are kept to be looked at.

mod call;
mod condition;
mod run;
mod step;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) use step::NewScenario;

use super::service::Service;
use super::sync::{lock, now_s};

/// How a scenario is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScenarioState {
    Running,
    Succeeded,
    Failed,
    Canceled,
}

/// Why a step failed: its place in the scenario, and what was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub pointer: String,
    pub detail: String,
}

/// A scenario as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ScenarioView {
    pub id: String,
    name: Option<String>,
    pub state: ScenarioState,
    /// The step it is at, from 0; when it has succeeded, how many there were.
    step: usize,
    steps: usize,
    error: Option<Failure>,
    /// Ids of messages and parts of answers, by the names the steps gave them.
    saved: BTreeMap<String, String>,
    /// Messages its phones have sent.
    sent: u64,
    /// Unix seconds.
    started_at: u64,
    ended_at: Option<u64>,
}

struct Scenario {
    view: watch::Sender<ScenarioView>,
    cancel: CancellationToken,
}

impl Scenario {
    fn is_running(&self) -> bool {
        self.view.borrow().state == ScenarioState::Running
    }
}

/// There is no room for another scenario.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyScenarios;

/// All scenarios, running or kept.
#[derive(Default)]
pub(super) struct Scenarios(Mutex<Numbered>);

#[derive(Default)]
struct Numbered {
    scenarios: BTreeMap<u64, Arc<Scenario>>,
    last: u64,
}

impl Numbered {
    fn running(&self) -> usize {
        let scenarios = self.scenarios.values();
        scenarios.filter(|scenario| scenario.is_running()).count()
    }
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix("scn_")?.parse().ok()
}

impl Scenarios {
    /// Starts a scenario that was checked.
    pub(super) fn start(
        &self,
        service: &Arc<Service>,
        new: NewScenario,
    ) -> Result<ScenarioView, TooManyScenarios> {
        let config = &service.config;
        let mut numbered = lock(&self.0);
        if numbered.running() >= config.scenarios_running_max {
            return Err(TooManyScenarios);
        }
        if numbered.scenarios.len() >= config.scenarios_max {
            let ended = numbered
                .scenarios
                .iter()
                .find(|(_, scenario)| !scenario.is_running());
            let ended = ended.map(|(number, _)| *number).ok_or(TooManyScenarios)?;
            numbered.scenarios.remove(&ended);
        }
        numbered.last += 1;
        let number = numbered.last;
        let view = ScenarioView {
            id: format!("scn_{number}"),
            name: new.name.clone(),
            state: ScenarioState::Running,
            step: 0,
            steps: new.steps.len(),
            error: None,
            saved: BTreeMap::new(),
            sent: 0,
            started_at: now_s(),
            ended_at: None,
        };
        let scenario = Arc::new(Scenario {
            view: watch::Sender::new(view.clone()),
            cancel: service.stop.child_token(),
        });
        numbered.scenarios.insert(number, scenario.clone());
        drop(numbered);
        service
            .tasks
            .spawn(run::run(service.clone(), scenario, new.steps));
        Ok(view)
    }

    pub(super) fn running(&self) -> u64 {
        lock(&self.0).running() as u64
    }

    pub(super) fn list(&self) -> Vec<ScenarioView> {
        let numbered = lock(&self.0);
        let views = numbered
            .scenarios
            .values()
            .map(|scenario| scenario.view.borrow().clone());
        views.collect()
    }

    /// A view of a scenario that follows it.
    pub(super) fn follow(&self, id: &str) -> Option<watch::Receiver<ScenarioView>> {
        let numbered = lock(&self.0);
        let scenario = numbered.scenarios.get(&number(id)?)?;
        Some(scenario.view.subscribe())
    }

    /// Ends a scenario, if it runs, and forgets it. Returns whether there was one.
    pub(super) fn remove(&self, id: &str) -> bool {
        let removed = number(id).and_then(|number| lock(&self.0).scenarios.remove(&number));
        removed.inspect(|scenario| scenario.cancel.cancel()).is_some()
    }
}
