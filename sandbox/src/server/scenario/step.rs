//! What a scenario is made of, as the control API takes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::condition::Condition;
use crate::server::fault::NewFault;
use crate::server::rule::RuleBody;
use crate::server::stanza::presence::ChatState;

/// Messages of one step.
const COUNT_MAX: u64 = 1_000_000;
const PER_SECOND_MAX: f64 = 100_000.0;
const WAIT_MS_MAX: u64 = 3_600_000;
const NAME_BYTES_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct NewScenario {
    pub name: Option<String>,
    pub steps: Vec<Step>,
}

/// One step: an object with one field, named after what is done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::server) enum Step {
    /// Creates an account; one that is there already is left as it is.
    Account {
        phone_number: String,
        name: String,
        #[serde(default)]
        echo: bool,
    },
    /// Has a phone send a message, or many. `{n}` in its texts counts from 1.
    Send {
        from: String,
        message: Value,
        #[serde(default = "one")]
        count: u64,
        /// As fast as possible without it.
        per_second: Option<f64>,
        /// Later steps write the id of the message as this name in braces.
        save_as: Option<String>,
    },
    Read {
        phone: String,
        whatsapp_id: String,
    },
    Typing {
        from: String,
        to: String,
        state: ChatState,
    },
    Presence {
        phone: String,
        available: bool,
    },
    Rules {
        phone: String,
        rules: Vec<RuleBody>,
    },
    DisconnectDevices {
        phone: String,
    },
    /// Any other call of the control API.
    Call(Call),
    Fault(Value),
    /// Removes the faults this scenario has made.
    ClearFaults {},
    Wait {
        ms: u64,
    },
    /// Goes on as soon as the condition holds; fails when it does not in time.
    WaitUntil {
        that: Condition,
        #[serde(default = "half_a_minute")]
        timeout_ms: u64,
        save_as: Option<String>,
    },
    /// Fails when the condition does not hold, now or within a time; with `not`, when it does.
    Expect {
        that: Condition,
        #[serde(default)]
        within_ms: u64,
        #[serde(default)]
        not: bool,
        save_as: Option<String>,
    },
}

/// A call of the control API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Call {
    #[serde(default)]
    pub method: CallMethod,
    /// What follows `/sandbox/v1`.
    pub path: String,
    pub body: Option<Value>,
    /// Any that tells of success without it.
    pub status: Option<u16>,
    /// Names for parts of the answer, each with the JSON pointer to it.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::server) enum CallMethod {
    Get,
    #[default]
    Post,
    Put,
    Patch,
    Delete,
}

impl Call {
    fn check(&self) -> Result<(), Wrong> {
        if !self.path.starts_with('/') {
            let detail = "it begins with / and follows /sandbox/v1";
            return Err(("/path".to_owned(), detail.to_owned()));
        }
        for name in self.save.keys() {
            named(&Some(name.clone())).map_err(|(_, detail)| ("/save".to_owned(), detail))?;
        }
        Ok(())
    }
}

fn one() -> u64 {
    1
}

fn half_a_minute() -> u64 {
    30_000
}

/// A field that is wrong, as a JSON pointer, and why.
pub(in crate::server) type Wrong = (String, String);

impl NewScenario {
    /// Checks what the types do not say. `is_message` checks a message by the rules of the API.
    pub(in crate::server) fn check(
        &self,
        steps_max: usize,
        is_message: impl Fn(&Value) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        if self.name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            return Err((
                "/name".to_owned(),
                format!("a name has at most {NAME_BYTES_MAX} bytes"),
            ));
        }
        if self.steps.is_empty() || self.steps.len() > steps_max {
            return Err((
                "/steps".to_owned(),
                format!("a scenario has 1 to {steps_max} steps"),
            ));
        }
        for (at, step) in self.steps.iter().enumerate() {
            let place = format!("/steps/{at}/{}", step.name());
            step.check(&is_message)
                .map_err(|(pointer, detail)| (format!("{place}{pointer}"), detail))?;
        }
        Ok(())
    }
}

impl Step {
    /// The field a step is written as.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Account { .. } => "account",
            Self::Send { .. } => "send",
            Self::Read { .. } => "read",
            Self::Typing { .. } => "typing",
            Self::Presence { .. } => "presence",
            Self::Rules { .. } => "rules",
            Self::DisconnectDevices { .. } => "disconnect_devices",
            Self::Call(_) => "call",
            Self::Fault(_) => "fault",
            Self::ClearFaults {} => "clear_faults",
            Self::Wait { .. } => "wait",
            Self::WaitUntil { .. } => "wait_until",
            Self::Expect { .. } => "expect",
        }
    }

    fn check(&self, is_message: &impl Fn(&Value) -> Result<(), Wrong>) -> Result<(), Wrong> {
        let wrong = |pointer: &str, detail: String| Err((pointer.to_owned(), detail));
        let short = |pointer: &str, ms: u64| match ms {
            0..=WAIT_MS_MAX => Ok(()),
            _ => wrong(pointer, format!("it is at most {WAIT_MS_MAX}")),
        };
        match self {
            Self::Send {
                message,
                count,
                per_second,
                save_as,
                ..
            } => {
                if !(1..=COUNT_MAX).contains(count) {
                    return wrong("/count", format!("it is from 1 to {COUNT_MAX}"));
                }
                if per_second.is_some_and(|rate| !(rate > 0.0 && rate <= PER_SECOND_MAX)) {
                    return wrong(
                        "/per_second",
                        format!("it is over 0 and at most {PER_SECOND_MAX}"),
                    );
                }
                named(save_as)?;
                is_message(message).map_err(|(pointer, detail)| (format!("/message{pointer}"), detail))
            }
            Self::Call(call) => call.check(),
            Self::Fault(fault) => NewFault::parse(fault.clone()).map(|_| ()),
            Self::Wait { ms } => short("/ms", *ms),
            Self::WaitUntil {
                timeout_ms, save_as, ..
            } => {
                named(save_as)?;
                short("/timeout_ms", *timeout_ms)
            }
            Self::Expect {
                within_ms, save_as, ..
            } => {
                named(save_as)?;
                short("/within_ms", *within_ms)
            }
            _ => Ok(()),
        }
    }
}

/// A name that later steps can write in braces.
fn named(name: &Option<String>) -> Result<(), Wrong> {
    let is_name = |name: &String| {
        (1..=40).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name != "n"
    };
    if name.as_ref().is_none_or(is_name) {
        return Ok(());
    }
    let detail = "a name has 1 to 40 letters, digits and underscores, and is not n";
    Err(("/save_as".to_owned(), detail.to_owned()))
}
