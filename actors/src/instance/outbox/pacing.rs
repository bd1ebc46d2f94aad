//! When the next attempt of a paced session may begin.
//!
//! One message at a time is handed to the link, and the pause runs from its end: so at least the pause
//! lies between any two messages on the wire, whatever becomes of either. An attempt that begins with
//! typing begins so much earlier that its text is due when the pause is over.

use std::time::Duration;

use roost_domain::engine::Outgoing;
use roost_domain::instance::Pacing;
use roost_domain::message::Content;
use roost_domain::time::Entropy;
use tokio::time::Instant;

use super::Outbox;
use crate::instance::machine::Generation;
use crate::pace::Pace;

/// For how long a chat is shown typing before it gets a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypingTimes {
    pub per_char: Duration,
    pub min: Duration,
    pub max: Duration,
}

impl TypingTimes {
    /// The time that suits a message.
    pub fn of(&self, content: &Content) -> Duration {
        let chars = match content {
            Content::Text { text } => text.body.chars().count(),
            Content::Unsupported { .. } => 0,
        };
        let chars = u32::try_from(chars).unwrap_or(u32::MAX);
        self.per_char.saturating_mul(chars).max(self.min).min(self.max)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pacer {
    rules: Pacing,
    /// Times of `pace` count from here.
    origin: Instant,
    pace: Pace,
    /// The pause after the attempt that was begun last.
    pause: Duration,
    /// The attempt that is with the link.
    handing: Option<(Generation, String)>,
    /// When it is worth asking again.
    wake: Option<Instant>,
}

/// What is asked of a [`Pacer`].
pub(super) struct Candidate<'a> {
    pub generation: Generation,
    pub outgoing: &'a Outgoing,
    /// For how long typing is shown before.
    pub typing: Duration,
    pub deadline: Instant,
}

impl Pacer {
    /// `sent_before` says that a message may have been sent just now.
    fn new(rules: Pacing, now: Instant, sent_before: bool) -> Self {
        let mut pace = Pace::new(Some(rules.pause()), Duration::ZERO);
        if sent_before {
            pace.not_before(rules.pause());
        }
        Self {
            rules,
            origin: now,
            pace,
            pause: Duration::ZERO,
            handing: None,
            wake: None,
        }
    }

    fn change(&mut self, rules: Pacing, now: Instant) {
        if self.rules == rules {
            return;
        }
        self.rules = rules;
        self.pace.set(Some(rules.pause()));
        // What waits under a slower pace does not wait for it.
        self.pace.not_after(self.since(now) + rules.pause());
        self.pause = self.pause.min(rules.pause());
    }

    pub fn types(&self) -> bool {
        self.rules.typing
    }

    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }

    pub fn woke(&mut self, now: Instant) {
        self.wake = self.wake.filter(|&wake| wake > now);
    }

    pub fn link_down(&mut self) {
        self.handing = None;
        self.wake = None;
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.origin)
    }

    /// When the next text may go.
    pub fn ready_at(&self) -> Instant {
        self.origin + self.pace.ready_at()
    }

    /// Begins an attempt and says when its text may go, unless it has to wait.
    pub fn begin(
        &mut self,
        candidate: &Candidate<'_>,
        now: Instant,
        entropy: &dyn Entropy,
    ) -> Option<Instant> {
        self.wake = None;
        if self.handing.is_some() {
            return None;
        }
        let (ready, typing) = (self.ready_at(), candidate.typing);
        let start = ready.checked_sub(typing).unwrap_or(now);
        if start > now {
            self.wake = Some(start);
            return None;
        }
        if ready > candidate.deadline {
            return None;
        }
        let text_at = ready.max((now + typing).min(candidate.deadline));
        let more = longer(self.rules, entropy);
        self.pause = self.pace.took(self.since(text_at), more);
        let whatsapp_id = candidate.outgoing.whatsapp_id.clone();
        self.handing = Some((candidate.generation, whatsapp_id));
        Some(text_at)
    }

    /// An attempt is over.
    pub fn ended(&mut self, generation: Generation, whatsapp_id: &str, now: Instant) {
        let ends = |(current, id): &mut (Generation, String)| *current == generation && id == whatsapp_id;
        if self.handing.take_if(ends).is_some() {
            self.pace.not_before(self.since(now) + self.pause);
        }
    }
}

/// By how much a pause is longer, at random.
fn longer(rules: Pacing, entropy: &dyn Entropy) -> Duration {
    let most = rules.pause() * u32::from(rules.jitter_percent) / 100;
    if most.is_zero() {
        return most;
    }
    let mut random = [0; 4];
    entropy.fill(&mut random);
    let nanos = most.as_nanos() * u128::from(u32::from_le_bytes(random)) / u128::from(u32::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Outbox {
    /// The session's pace from now on; `sent_before` says that a message may have been sent just now
    /// that this outbox does not know of.
    pub fn set_pacing(&mut self, rules: Option<Pacing>, sent_before: bool, now: Instant) {
        match (rules, &mut self.pacer) {
            (None, pacer) => *pacer = None,
            (Some(rules), Some(pacer)) => pacer.change(rules, now),
            (Some(rules), pacer) => *pacer = Some(Box::new(Pacer::new(rules, now, sent_before))),
        }
    }

    /// Whether it is paced, and when the next message may be sent at the earliest.
    pub fn next_send(&self) -> Option<Instant> {
        self.pacer.as_ref().map(|pacer| pacer.ready_at())
    }
}
