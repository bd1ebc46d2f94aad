//! The steps that a session writes.

use roost_domain::instance::{Account, AccountChange, DesiredState, InstanceState};

use super::{Effect, Effects, Machine, Phase, Plan, Step, Ticket};

impl Machine {
    pub(super) fn write(&mut self, state: InstanceState, reason: Option<&str>, effects: &mut Effects) {
        self.state = state;
        let reason = reason.map(str::to_owned);
        let step = Step {
            state,
            reason,
            desired: None,
            account: AccountChange::Keep,
        };
        self.unwritten += 1;
        effects.push(Effect::Write {
            step,
            ticket: None,
            once: false,
        });
    }

    pub(super) fn write_account(&mut self, state: InstanceState, account: Account, effects: &mut Effects) {
        self.state = state;
        let step = Step {
            state,
            reason: None,
            desired: None,
            account: AccountChange::Paired(account),
        };
        self.unwritten += 1;
        effects.push(Effect::Write {
            step,
            ticket: None,
            once: false,
        });
    }

    pub(super) fn commit(
        &mut self,
        ticket: Ticket,
        plan: Plan,
        state: InstanceState,
        reason: Option<&str>,
        desired: DesiredState,
        effects: &mut Effects,
    ) {
        let reason = reason.map(str::to_owned);
        let step = Step {
            state,
            reason,
            desired: Some(desired),
            account: AccountChange::Keep,
        };
        self.unwritten += 1;
        self.committing = Some((ticket, plan));
        effects.push(Effect::Write {
            step,
            ticket: Some(ticket),
            once: true,
        });
    }

    pub(super) fn unpaired(&mut self, reason: String, ticket: Option<Ticket>, effects: &mut Effects) {
        (self.desired, self.paired, self.pairing) = (DesiredState::Stopped, false, None);
        self.state = InstanceState::LoggedOut;
        let step = Step {
            state: InstanceState::LoggedOut,
            reason: Some(reason),
            desired: Some(DesiredState::Stopped),
            account: AccountChange::Unpaired,
        };
        self.unwritten += 1;
        effects.push(Effect::Write {
            step,
            ticket,
            once: false,
        });
        effects.push(Effect::FailPending);
    }

    /// Stops wanting to run, and rests.
    pub(super) fn give_up(&mut self, state: InstanceState, reason: String, effects: &mut Effects) {
        (self.desired, self.state, self.pairing) = (DesiredState::Stopped, state, None);
        let account = AccountChange::Keep;
        let step = Step {
            state,
            reason: Some(reason),
            desired: Some(DesiredState::Stopped),
            account,
        };
        self.unwritten += 1;
        effects.push(Effect::Write {
            step,
            ticket: None,
            once: false,
        });
        self.phase = Phase::Idle;
    }
}
