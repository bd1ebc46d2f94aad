//! Doing the steps of a scenario.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::call;
use super::condition::{Condition, Looked, digits};
use super::step::Step;
use super::{Failure, Scenario, ScenarioState};
use crate::server::account::Account;
use crate::server::control::message::{NewMessage, deliver};
use crate::server::control::problem::Problem;
use crate::server::control::{account as accounts, fault as faults, rule as rules};
use crate::server::phone;
use crate::server::service::Service;
use crate::server::stanza::presence::{phone_types, refresh};
use crate::server::sync::now_s;
use crate::server::template::{fill, fill_text};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Messages sent as fast as possible before other tasks run.
const SENDS_PER_TURN: u64 = 16;

/// Does the steps, one after the other, until one fails or the scenario is ended from elsewhere.
pub(super) async fn run(service: Arc<Service>, scenario: Arc<Scenario>, steps: Vec<Step>) {
    let mut runner = Runner {
        began: began(&service, &steps),
        service,
        scenario: scenario.clone(),
        faults: Vec::new(),
    };
    let (state, error) = tokio::select! {
        outcome = runner.all(&steps) => match outcome {
            Ok(()) => (ScenarioState::Succeeded, None),
            Err(failure) => (ScenarioState::Failed, Some(failure)),
        },
        () = scenario.cancel.cancelled() => (ScenarioState::Canceled, None),
    };
    scenario.view.send_modify(|view| {
        (view.state, view.error) = (state, error);
        view.ended_at = Some(now_s());
    });
}

/// Where the phones that are listened to are in their messages.
fn began(service: &Service, steps: &[Step]) -> HashMap<String, u64> {
    let conditions = steps.iter().filter_map(|step| match step {
        Step::WaitUntil { that, .. } | Step::Expect { that, .. } => Some(that),
        _ => None,
    });
    let phones = conditions.filter_map(Condition::listens_to);
    let known = phones.filter_map(|phone| {
        let account = service.account_by_pn(phone)?;
        Some((phone.to_owned(), account.phone.last_message()))
    });
    known.collect()
}

struct Runner {
    service: Arc<Service>,
    scenario: Arc<Scenario>,
    began: HashMap<String, u64>,
    /// Those it has made.
    faults: Vec<u64>,
}

/// What was wrong with a step.
type Outcome = Result<(), String>;

fn told(problem: &Problem) -> String {
    problem.to_string()
}

impl Runner {
    async fn all(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for (at, step) in steps.iter().enumerate() {
            self.scenario.view.send_modify(|view| view.step = at);
            self.step(step).await.map_err(|detail| Failure {
                pointer: format!("/steps/{at}/{}", step.name()),
                detail,
            })?;
        }
        self.scenario.view.send_modify(|view| view.step = steps.len());
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Account {
                phone_number,
                name,
                echo,
            } => self.account_step(phone_number, name, *echo),
            Step::Send {
                from,
                message,
                count,
                per_second,
                save_as,
            } => {
                let pace = per_second.map(|rate| Duration::from_secs_f64(1.0 / rate));
                self.send(from, message, *count, pace, save_as).await
            }
            Step::Read { phone, whatsapp_id } => self.read(phone, whatsapp_id),
            Step::Typing { from, to, state } => {
                let account = self.account(from)?;
                match phone_types(&self.service, &account, to, *state) {
                    true => Ok(()),
                    false => Err(format!("{to} is no chat")),
                }
            }
            Step::Presence { phone, available } => {
                let account = self.account(phone)?;
                account.phone.set_available(*available);
                refresh(&self.service, &account);
                Ok(())
            }
            Step::Rules { phone, rules: bodies } => {
                let account = self.account(phone)?;
                let rules = rules::check(&self.service, bodies.clone(), "/rules");
                account.phone.set_rules(rules.map_err(|problem| told(&problem))?);
                Ok(())
            }
            Step::DisconnectDevices { phone } => {
                accounts::disconnect(&*self.account(phone)?);
                Ok(())
            }
            Step::Call(call) => {
                let parts = call::make(&self.service, call, &|name: &str| self.value_of(name)).await?;
                for (name, part) in parts {
                    self.save(&Some(name), Some(part));
                }
                Ok(())
            }
            Step::Fault(fault) => {
                let fault = faults::parse(&self.service, fault.clone());
                let added = fault.and_then(|fault| faults::add(&self.service, fault));
                self.faults.push(added.map_err(|problem| told(&problem))?);
                Ok(())
            }
            Step::ClearFaults {} => {
                self.service
                    .faults
                    .remove_if(|number| self.faults.contains(&number));
                self.faults.clear();
                Ok(())
            }
            Step::Wait { ms } => {
                sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
            Step::WaitUntil {
                that,
                timeout_ms,
                save_as,
            } => self.hold(that, *timeout_ms, false, save_as).await,
            Step::Expect {
                that,
                within_ms,
                not,
                save_as,
            } => self.hold(that, *within_ms, *not, save_as).await,
        }
    }

    fn account(&self, phone: &str) -> Result<Arc<Account>, String> {
        let account = self.service.account_by_pn(digits(phone));
        account.ok_or_else(|| format!("{phone} has no account"))
    }

    /// What a name in braces stands for.
    fn value_of(&self, name: &str) -> Option<String> {
        self.scenario.view.borrow().saved.get(name).cloned()
    }

    fn save(&self, save_as: &Option<String>, whatsapp_id: Option<String>) {
        if let Some((name, id)) = save_as.clone().zip(whatsapp_id) {
            self.scenario.view.send_modify(|view| {
                view.saved.insert(name, id);
            });
        }
    }

    fn account_step(&self, phone_number: &str, name: &str, echo: bool) -> Outcome {
        if self.service.account_by_pn(digits(phone_number)).is_some() {
            return Ok(());
        }
        let created = accounts::make(&self.service, phone_number, name, echo);
        created.map(|_| ()).map_err(|problem| told(&problem))
    }

    async fn send(
        &self,
        from: &str,
        message: &Value,
        count: u64,
        pace: Option<Duration>,
        save_as: &Option<String>,
    ) -> Outcome {
        let account = self.account(from)?;
        let mut next = Instant::now();
        for number in 1..=count {
            let value_of = |name: &str| match name {
                "n" => Some(number.to_string()),
                name => self.value_of(name),
            };
            let message = fill(message, &value_of);
            let message: NewMessage = serde_json::from_value(message).map_err(|error| error.to_string())?;
            let sent = deliver(&self.service, &account, message).await;
            let id = sent.map_err(|problem| match count {
                1 => told(&problem),
                _ => format!("message {number}: {problem}"),
            })?;
            self.scenario.view.send_modify(|view| view.sent += 1);
            self.save(save_as, Some(id));
            match pace {
                Some(pace) if number < count => {
                    next += pace;
                    sleep_until(next).await;
                }
                None if number % SENDS_PER_TURN == 0 => tokio::task::yield_now().await,
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&self, phone: &str, whatsapp_id: &str) -> Outcome {
        let account = self.account(phone)?;
        let id = fill_text(whatsapp_id, &|name| self.value_of(name));
        let _unit = self.service.journal.unit();
        match phone::mark_read(&self.service, &account, &id) {
            true => Ok(()),
            false => Err(format!("{phone} received no message {id}")),
        }
    }

    /// Looks at a condition until it holds or the time is over.
    async fn hold(&self, that: &Condition, ms: u64, not: bool, save_as: &Option<String>) -> Outcome {
        let deadline = Instant::now() + Duration::from_millis(ms);
        loop {
            // Read first: what held before the deadline is seen however late this task runs.
            let is_over = Instant::now() >= deadline;
            let standing = {
                let looked = Looked {
                    service: &self.service,
                    began: &self.began,
                    value_of: &|name| self.value_of(name),
                    strikes: self.strikes(),
                };
                that.look(&looked)
            };
            match (standing.holds, not) {
                (true, true) => return Err(format!("it holds: {}", standing.detail)),
                (true, false) => {
                    self.save(save_as, standing.whatsapp_id);
                    return Ok(());
                }
                (false, true) if is_over => return Ok(()),
                (false, false) if is_over => return Err(standing.detail),
                (false, _) => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn strikes(&self) -> u64 {
        let faults = self
            .faults
            .iter()
            .filter_map(|number| self.service.faults.view(*number));
        faults.map(|fault| fault.strikes).sum()
    }
}
