//! The pace and the policy in the bodies that make and change instances.

use std::num::NonZeroU32;

use roost_domain::instance::{JITTER_PERCENT_MAX, MESSAGES_PER_MINUTE_MAX, Pacing, PacingPatch, Policy};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::body::nullable;
use crate::http::fault::Faults;

/// How fast the instance is to send.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetPacing)]
pub struct PacingBody {
    /// Messages at most in a minute, one after the other with even pauses. Needed in a new pace.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 6000, example = 20)]
    messages_per_minute: Option<Option<i64>>,
    /// By how much a pause may be longer at random, in percent.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = u32, required = false, maximum = 100, example = 30)]
    jitter_percent: Option<Option<i64>>,
    /// Whether the chat is shown that somebody types before it gets a message.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = bool, required = false, example = true)]
    typing: Option<Option<bool>>,
}

/// What the instance is not to do.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetPolicy)]
pub struct PolicyBody {
    /// Whether it may only write to chats in which somebody else has written to it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = bool, required = false, example = true)]
    reply_only: Option<Option<bool>>,
}

impl PacingBody {
    /// The changes it asks for, within their limits.
    pub fn check(self, faults: &mut Faults) -> PacingPatch {
        let messages_per_minute = given(faults, "/pacing/messages_per_minute", self.messages_per_minute);
        let jitter_percent = given(faults, "/pacing/jitter_percent", self.jitter_percent);
        PacingPatch {
            messages_per_minute: messages_per_minute.and_then(|wanted| {
                let wanted = u32::try_from(wanted).ok();
                let within = wanted.filter(|&wanted| wanted <= MESSAGES_PER_MINUTE_MAX);
                within.and_then(NonZeroU32::new).or_else(|| {
                    let detail = format!("from 1 to {MESSAGES_PER_MINUTE_MAX}");
                    faults.add("/pacing/messages_per_minute", "invalid", detail);
                    None
                })
            }),
            jitter_percent: jitter_percent.and_then(|wanted| {
                let wanted = u8::try_from(wanted).ok();
                wanted.filter(|&wanted| wanted <= JITTER_PERCENT_MAX).or_else(|| {
                    let detail = format!("from 0 to {JITTER_PERCENT_MAX}");
                    faults.add("/pacing/jitter_percent", "invalid", detail);
                    None
                })
            }),
            typing: given(faults, "/pacing/typing", self.typing),
        }
    }

    /// The same as a pace of its own.
    pub fn check_new(self, faults: &mut Faults) -> Option<Pacing> {
        if self.messages_per_minute.is_none() {
            faults.add("/pacing/messages_per_minute", "missing", "a pace needs it");
        }
        self.check(faults).of(None)
    }
}

impl PolicyBody {
    /// The policy, unless it stays as it is.
    pub fn check(self, faults: &mut Faults) -> Option<Policy> {
        let reply_only = given(faults, "/policy/reply_only", self.reply_only);
        reply_only.map(|reply_only| Policy { reply_only })
    }
}

/// The value of a field that cannot be null.
pub fn given<T>(faults: &mut Faults, pointer: &str, field: Option<Option<T>>) -> Option<T> {
    let field = field?;
    if field.is_none() {
        faults.add(pointer, "invalid", "this cannot be removed");
    }
    field
}
