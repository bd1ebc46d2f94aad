//! How a phone answers by itself: its rules, and the answers it has begun and not yet given.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, RwLock};

use super::VirtualPhone;
use crate::server::persist::{PersistError, Row, Table};
use crate::server::rule::{Due, RuleBody, Rules};
use crate::server::sync::{lock, read, write};

/// Names of the settings that are kept; rules are kept in JSON: a reply has a shape of its own.
const RULES: &str = "rules";
const DUE: &str = "answer.";

#[derive(Default)]
pub(super) struct Answering {
    rules: RwLock<Rules>,
    due: Mutex<DueAnswers>,
}

#[derive(Default)]
struct DueAnswers {
    by_number: BTreeMap<u64, Due>,
    last: u64,
}

impl Answering {
    pub(super) fn restore(settings: &HashMap<Box<str>, Row>) -> Result<Self, PersistError> {
        let answering = Self::default();
        if let Some(row) = settings.get(RULES) {
            let text: String = row.value()?;
            let bodies: Vec<RuleBody> = serde_json::from_str(&text).map_err(|error| row.corrupt(error))?;
            let rules = Rules::new(bodies).map_err(|(_, detail)| row.corrupt(detail))?;
            *write(&answering.rules) = rules;
        }
        let mut due = lock(&answering.due);
        for (name, row) in settings {
            if let Some(number) = name.strip_prefix(DUE).and_then(|number| number.parse().ok()) {
                due.by_number.insert(number, row.value()?);
                due.last = due.last.max(number);
            }
        }
        drop(due);
        Ok(answering)
    }
}

impl VirtualPhone {
    pub(in crate::server) fn rules(&self) -> Rules {
        read(&self.answering.rules).clone()
    }

    pub(in crate::server) fn set_rules(&self, rules: Rules) {
        // Locked, so that what is kept is what was set last.
        let mut current = write(&self.answering.rules);
        let text = serde_json::to_string(&rules.bodies()).unwrap_or_default();
        let shelf = lock(&self.state).shelf.clone();
        shelf.keep(|rows| match rules.is_empty() {
            true => rows.delete(Table::Setting, 0, RULES),
            false => rows.put(Table::Setting, 0, RULES, &text),
        });
        *current = rules;
    }

    /// Whether it answers without being told to.
    pub(in crate::server) fn answers_by_itself(&self) -> bool {
        self.echoes() || !read(&self.answering.rules).is_empty()
    }

    /// Notes that an answer is due and returns its number, unless there are too many.
    pub(in crate::server) fn begin_answer(&self, answer: Due, due_max: usize) -> Option<u64> {
        let shelf = lock(&self.state).shelf.clone();
        let mut due = lock(&self.answering.due);
        if due.by_number.len() >= due_max {
            return None;
        }
        due.last += 1;
        let number = due.last;
        shelf.keep(|rows| rows.put(Table::Setting, 0, &format!("{DUE}{number}"), &answer));
        due.by_number.insert(number, answer);
        Some(number)
    }

    pub(in crate::server) fn end_answer(&self, number: u64) {
        let shelf = lock(&self.state).shelf.clone();
        if lock(&self.answering.due).by_number.remove(&number).is_some() {
            shelf.keep(|rows| rows.delete(Table::Setting, 0, &format!("{DUE}{number}")));
        }
    }

    pub(in crate::server) fn answers_due(&self) -> Vec<(u64, Due)> {
        let due = lock(&self.answering.due);
        due.by_number
            .iter()
            .map(|(number, answer)| (*number, answer.clone()))
            .collect()
    }
}
