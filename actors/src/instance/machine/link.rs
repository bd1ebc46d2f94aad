//! The part of a session's life that its link decides: what a fact changes, and what follows the end.

use roost_domain::engine::{LinkEnd, LinkFact, OpenError};
use roost_domain::instance::InstanceState;
use tokio::time::Instant;

use super::{CodeKind, Effect, Effects, Exit, Generation, Machine, Phase, Plan, Surroundings, Then};
use crate::backoff::Backoff;

impl Machine {
    pub(super) fn open_failed(&mut self, error: OpenError, around: &Surroundings<'_>, effects: &mut Effects) {
        let reason = error.to_string();
        match error {
            OpenError::Unavailable(_) => {
                if let Some(then) = self.lost(None, reason, around, effects) {
                    self.proceed(then, around, effects);
                }
            }
            OpenError::Proxy(_) | OpenError::Endpoint(_) | OpenError::State(_) => {
                self.give_up(InstanceState::Failed, reason, effects);
            }
        }
    }

    pub(super) fn link_says(
        &mut self,
        generation: Generation,
        fact: LinkFact,
        around: &Surroundings<'_>,
        effects: &mut Effects,
    ) {
        match fact {
            LinkFact::Qr { code, valid_for } => {
                self.begin_pairing(generation, effects);
                effects.push(Effect::ShowCode {
                    kind: CodeKind::Qr,
                    code,
                    valid_for,
                });
            }
            LinkFact::PairingCode { code, valid_for } => {
                self.begin_pairing(generation, effects);
                effects.push(Effect::ShowCode {
                    kind: CodeKind::PairingCode,
                    code,
                    valid_for,
                });
            }
            LinkFact::Paired(account) => {
                (self.paired, self.pairing) = (true, None);
                self.write_account(InstanceState::Connecting, account, effects);
                effects.push(Effect::HideCode);
                self.phase = Phase::Dialing(generation);
                effects.push(Effect::Arm {
                    generation,
                    at: around.now + around.settings.dial_timeout,
                });
            }
            LinkFact::Connected(account) if self.up().is_none() => {
                (self.paired, self.pairing) = (true, None);
                self.write_account(InstanceState::Connected, account, effects);
                self.phase = Phase::Up(generation, around.now);
                effects.extend([Effect::HideCode, Effect::LeaveGate, Effect::LinkUp { generation }]);
            }
            LinkFact::Ended(end) => self.link_ended(generation, end, around, effects),
            LinkFact::Connected(_)
            | LinkFact::ServerAck { .. }
            | LinkFact::Receipt { .. }
            | LinkFact::Undecryptable { .. } => {}
        }
    }

    pub(super) fn begin_pairing(&mut self, generation: Generation, effects: &mut Effects) {
        if self.phase != Phase::Dialing(generation) {
            return;
        }
        self.phase = Phase::Pairing(generation);
        self.write(InstanceState::Pairing, None, effects);
        effects.push(Effect::LeaveGate);
        if let Some(pairing) = &self.pairing {
            effects.push(Effect::Arm {
                generation,
                at: pairing.until,
            });
        }
    }

    pub(super) fn link_ended(
        &mut self,
        generation: Generation,
        end: LinkEnd,
        around: &Surroundings<'_>,
        effects: &mut Effects,
    ) {
        let up_since = if let Phase::Up(_, since) = self.phase {
            Some(since)
        } else {
            None
        };
        effects.extend([Effect::LinkDown, Effect::HideCode, Effect::LeaveGate]);
        let then = match end {
            LinkEnd::Closed => self.lost(up_since, "the connection was closed".to_owned(), around, effects),
            LinkEnd::Lost { reason } | LinkEnd::Broken { reason } => {
                self.lost(up_since, reason, around, effects)
            }
            LinkEnd::NotPaired if !self.paired => {
                self.give_up(
                    InstanceState::Disconnected,
                    "no phone is paired; connect again".to_owned(),
                    effects,
                );
                None
            }
            LinkEnd::NotPaired => self.unpair("the stored pairing is gone".to_owned(), effects),
            LinkEnd::LoggedOut { reason } => self.unpair(reason, effects),
            LinkEnd::PairingTimedOut => {
                let reason = "the pairing codes ran out before a phone used one; connect again";
                self.give_up(InstanceState::Disconnected, reason.to_owned(), effects);
                None
            }
            LinkEnd::PairingFailed { reason } => {
                self.give_up(
                    InstanceState::Disconnected,
                    format!("pairing failed: {reason}"),
                    effects,
                );
                None
            }
            LinkEnd::Replaced => {
                // Coming back would throw the other client out, and so on for ever.
                let reason = "another client took over the connection of this device";
                self.give_up(InstanceState::Disconnected, reason.to_owned(), effects);
                None
            }
            LinkEnd::Banned {
                reason,
                lasts: Some(lasts),
            } => {
                self.write(InstanceState::Restricted, Some(&reason), effects);
                Some(Then::Wait(Some(lasts)))
            }
            LinkEnd::Banned { reason, lasts: None } => {
                self.give_up(InstanceState::Restricted, reason, effects);
                effects.push(Effect::FailPending);
                None
            }
            LinkEnd::Outdated => {
                // It stays wanted: the first start of a newer release brings it back.
                let reason = "WhatsApp refuses this version of the client; upgrade Roost";
                self.write(InstanceState::Failed, Some(reason), effects);
                None
            }
            LinkEnd::Fenced => {
                effects.push(Effect::Exit(Exit::Fenced));
                self.phase = Phase::Gone;
                return;
            }
        };
        self.phase = Phase::Closing(generation, then.unwrap_or(Then::Rest));
        effects.push(Effect::Close { generation });
    }

    /// The link is lost: says what follows, or gives up.
    pub(super) fn lost(
        &mut self,
        up_since: Option<Instant>,
        reason: String,
        around: &Surroundings<'_>,
        effects: &mut Effects,
    ) -> Option<Then> {
        if up_since.is_some_and(|since| around.now - since >= around.settings.backoff_reset_after) {
            self.failures = 0;
        }
        if !self.paired
            && self
                .pairing
                .as_ref()
                .is_none_or(|pairing| around.now >= pairing.until)
        {
            let reason = format!("pairing was given up, the connection was lost again: {reason}");
            self.give_up(InstanceState::Disconnected, reason, effects);
            return None;
        }
        self.write(InstanceState::Reconnecting, Some(&reason), effects);
        Some(Then::Wait(None))
    }

    pub(super) fn unpair(&mut self, reason: String, effects: &mut Effects) -> Option<Then> {
        self.unpaired(reason, None, effects);
        None
    }

    pub(super) fn close(&mut self, generation: Generation, then: Then, effects: &mut Effects) {
        effects.extend([
            Effect::LinkDown,
            Effect::HideCode,
            Effect::LeaveGate,
            Effect::Close { generation },
        ]);
        self.phase = Phase::Closing(generation, then);
    }

    pub(super) fn stop_link(&mut self, then: Then, effects: &mut Effects) {
        match self.phase {
            Phase::Dialing(generation) | Phase::Pairing(generation) | Phase::Up(generation, _) => {
                self.close(generation, then, effects);
            }
            _ => {
                effects.push(Effect::LeaveGate);
                self.settle(then, effects);
            }
        }
    }

    pub(super) fn proceed(&mut self, then: Then, around: &Surroundings<'_>, effects: &mut Effects) {
        if let Then::Wait(wait) = then
            && !self.shutting_down
        {
            self.failures += 1;
            let settings = around.settings;
            let backoff = Backoff {
                first: settings.backoff_first,
                max: settings.backoff_max,
            };
            // Even a wait of a known length gets some jitter: bans come in waves.
            let wait = wait.unwrap_or_default() + backoff.wait(self.failures, around.entropy);
            self.generation += 1;
            self.phase = Phase::Backoff(self.generation);
            effects.push(Effect::Arm {
                generation: self.generation,
                at: around.now + wait,
            });
        } else {
            self.settle(then, effects);
        }
    }

    /// What follows once no link is left. A wait is for [`Self::proceed`].
    pub(super) fn settle(&mut self, then: Then, effects: &mut Effects) {
        match then {
            Then::Dial if !self.shutting_down => self.phase = Phase::Waiting,
            Then::Rest if !self.shutting_down => self.phase = Phase::Idle,
            Then::Logout(ticket) => {
                self.phase = if self.shutting_down {
                    Phase::Ending
                } else {
                    Phase::Idle
                };
                self.committing = Some((ticket, Plan::Nothing));
                self.unpaired("logged out by its owner".to_owned(), Some(ticket), effects);
            }
            Then::Delete(ticket) => {
                self.phase = Phase::Deleting;
                effects.push(Effect::DeleteRow { ticket });
            }
            Then::Dial | Then::Rest | Then::Wait(_) | Then::End => self.phase = Phase::Ending,
        }
    }

    pub(super) fn timer(&mut self, generation: Generation, around: &Surroundings<'_>, effects: &mut Effects) {
        match self.phase {
            Phase::Backoff(current) if current == generation => self.phase = Phase::Waiting,
            Phase::Dialing(current) if current == generation => {
                let seconds = around.settings.dial_timeout.as_secs();
                let reason = format!("WhatsApp did not let the session in within {seconds} s");
                let then = self.lost(None, reason, around, effects);
                self.close(generation, then.unwrap_or(Then::Rest), effects);
            }
            Phase::Pairing(current) if current == generation => {
                let reason = "no phone used a pairing code in time; connect again";
                self.give_up(InstanceState::Disconnected, reason.to_owned(), effects);
                self.close(generation, Then::Rest, effects);
            }
            _ => {}
        }
    }
}
