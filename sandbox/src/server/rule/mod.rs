//! Rules by which a phone answers by itself: what a message has to be, and what is done then.
//!
//! The first rule that fits is followed. Two phones that answer by themselves do not answer each
//! other, or they would never stop. Rules survive a restart, and so do answers that were due: one
//! that a crash interrupted may be given twice.

mod answer;

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use answer::{Due, respond, resume};

use super::phone::{Kind, Recorded};

/// Longest time an answer waits, and longest time a phone types.
const WAIT_MS_MAX: u64 = 600_000;
const EMOJI_BYTES_MAX: usize = 64;
/// Memory one regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A rule as it is given, shown and kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleBody {
    r#match: Match,
    /// Only messages from this phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// A message without its receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub react: Option<String>,
    #[serde(default)]
    pub read: bool,
    /// How long it types before it answers.
    #[serde(default)]
    pub typing_ms: u64,
    /// How long it waits before it does anything but read.
    #[serde(default)]
    pub delay_ms: u64,
}

/// What a message has to be; case does not matter, but for regular expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Match {
    Any,
    Equals(String),
    Contains(String),
    Regex(String),
}

/// The rules of one phone, ready to be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Arc<[Rule]>);

#[derive(Debug)]
struct Rule {
    body: RuleBody,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Any,
    Equals(String),
    Contains(String),
    Regex(Regex),
}

/// A field that is wrong, as a JSON pointer, and why.
pub(super) type Wrong = (String, String);

impl Rules {
    pub(super) fn new(bodies: Vec<RuleBody>) -> Result<Self, Wrong> {
        let rules = bodies.into_iter().enumerate().map(|(at, body)| {
            let wrong = |field: &str, detail: String| (format!("/{at}/{field}"), detail);
            for (field, ms) in [("typing_ms", body.typing_ms), ("delay_ms", body.delay_ms)] {
                if ms > WAIT_MS_MAX {
                    return Err(wrong(field, format!("it is at most {WAIT_MS_MAX}")));
                }
            }
            if body
                .react
                .as_ref()
                .is_some_and(|emoji| emoji.len() > EMOJI_BYTES_MAX)
            {
                return Err(wrong(
                    "react",
                    format!("an emoji has at most {EMOJI_BYTES_MAX} bytes"),
                ));
            }
            let test = match &body.r#match {
                Match::Any => Test::Any,
                Match::Equals(text) => Test::Equals(text.to_lowercase()),
                Match::Contains(text) => Test::Contains(text.to_lowercase()),
                Match::Regex(text) => {
                    let built = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
                    Test::Regex(built.map_err(|error| wrong("match/regex", error.to_string()))?)
                }
            };
            Ok(Rule { body, test })
        });
        rules.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn bodies(&self) -> Vec<&RuleBody> {
        self.0.iter().map(|rule| &rule.body).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first rule that fits a received message.
    fn find(&self, message: &Recorded) -> Option<&RuleBody> {
        let is_message = !matches!(message.kind, Kind::Edit | Kind::Revoke | Kind::Reaction);
        let text = message.text.as_deref().unwrap_or_default();
        let mut rules = self.0.iter().filter(|_| is_message);
        rules.find(|rule| rule.fits(message, text)).map(|rule| &rule.body)
    }
}

impl Rule {
    fn fits(&self, message: &Recorded, text: &str) -> bool {
        let from = self.body.from.as_deref().map(|from| from.trim_start_matches('+'));
        if from.is_some_and(|from| from != message.from) {
            return false;
        }
        match &self.test {
            Test::Any => true,
            Test::Equals(wanted) => text.trim().to_lowercase() == *wanted,
            Test::Contains(wanted) => text.to_lowercase().contains(wanted),
            Test::Regex(wanted) => wanted.is_match(text),
        }
    }
}
