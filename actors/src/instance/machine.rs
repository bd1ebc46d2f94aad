//! The life of a session as a pure state machine: inputs and the time in, effects out.
//!
//! What a caller is promised is written before it is done: an order takes effect once its row is
//! committed, and a link is dialled only when every earlier step is durable. Facts of links and timers
//! carry the generation that made them; whatever comes from an earlier one is dropped.

use std::collections::VecDeque;
use std::time::Duration;

use roost_domain::instance::{DesiredState, Instance, InstanceState, PairingMethod};
use roost_domain::time::Entropy;
use tokio::time::Instant;

use crate::Settings;

mod input;
mod link;
mod step;

pub(crate) use self::input::{CodeKind, Effect, Exit, Generation, Input, Order, Refusal, Step, Ticket};

/// Reason of the step that a restart of the node or of the session makes.
const RESTARTED: &str = "the session is being restarted";

/// What follows once the link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Rest,
    Dial,
    Wait(Option<Duration>),
    Logout(Ticket),
    Delete(Ticket),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Loading,
    Idle,
    /// Dials as soon as every step is written.
    Waiting,
    Gate(Generation),
    Dialing(Generation),
    Pairing(Generation),
    Up(Generation, Instant),
    Backoff(Generation),
    LoggingOut(Generation, Then),
    Closing(Generation, Then),
    Deleting,
    /// Exits as soon as every step is written.
    Ending,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Start,
    Stop,
    Nothing,
}

#[derive(Debug, Clone)]
struct Pairing {
    method: PairingMethod,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    desired: DesiredState,
    paired: bool,
    /// The state of the latest step, written or about to be.
    state: InstanceState,
    generation: Generation,
    failures: u32,
    pairing: Option<Pairing>,
    unwritten: u32,
    committing: Option<(Ticket, Plan)>,
    shutting_down: bool,
    deferred: VecDeque<Input>,
}

/// What the machine needs besides its input.
pub(crate) struct Surroundings<'a> {
    pub now: Instant,
    pub settings: &'a Settings,
    pub entropy: &'a dyn Entropy,
}

type Effects = Vec<Effect>;

impl Machine {
    pub fn new() -> Self {
        Self {
            phase: Phase::Loading,
            desired: DesiredState::Stopped,
            paired: false,
            state: InstanceState::Created,
            generation: 0,
            failures: 0,
            pairing: None,
            unwritten: 0,
            committing: None,
            shutting_down: false,
            deferred: VecDeque::new(),
        }
    }

    /// What a freshly read row tells the machine.
    pub fn loaded(instance: &Instance) -> Input {
        Input::Loaded {
            state: instance.state,
            desired: instance.desired_state,
            paired: instance.is_paired(),
        }
    }

    /// Takes an input; what is to be done is added to `effects`, in order.
    pub fn take(&mut self, input: Input, around: &Surroundings<'_>, effects: &mut Effects) {
        if self.defers(&input) {
            self.deferred.push_back(input);
            return;
        }
        self.step(input, around, effects);
        while let Some(at) = self.deferred.iter().position(|input| !self.defers(input)) {
            let Some(input) = self.deferred.remove(at) else {
                break;
            };
            self.step(input, around, effects);
        }
    }

    /// Whether the session does nothing and waits for orders.
    pub fn rests(&self) -> bool {
        self.phase == Phase::Idle && self.unwritten == 0 && self.deferred.is_empty()
    }

    /// The link whose gate pass is still wanted.
    pub fn wants_gate(&self, generation: Generation) -> bool {
        self.phase == Phase::Gate(generation)
    }

    /// The link that messages can go through.
    pub fn up(&self) -> Option<Generation> {
        if let Phase::Up(generation, _) = self.phase {
            Some(generation)
        } else {
            None
        }
    }

    /// Why messages cannot be accepted now; `None` when they can.
    pub fn refuses_messages(&self) -> Option<&'static str> {
        if self.shutting_down {
            Some("the session is being moved or stopped")
        } else if self.desired != DesiredState::Running {
            Some("the instance is stopped; connect it first")
        } else if !self.paired {
            Some("no phone is paired yet")
        } else if matches!(self.state, InstanceState::Restricted | InstanceState::Failed) {
            Some("the instance cannot send in this state")
        } else {
            None
        }
    }

    /// Whether accepted messages have nobody to be sent by, and fail.
    pub fn fails_messages(&self) -> bool {
        let banned = self.state == InstanceState::Restricted && self.desired == DesiredState::Stopped;
        self.phase != Phase::Loading && (!self.paired || banned)
    }

    /// Why no code can be expected; `None` while one is shown or on its way.
    pub fn refuses_code(&self, kind: CodeKind) -> Option<&'static str> {
        if self.phase == Phase::Loading || matches!(self.committing, Some((_, Plan::Start))) {
            return None;
        }
        let Some(pairing) = &self.pairing else {
            return Some("the instance is not being paired; call connect first");
        };
        match (&pairing.method, kind) {
            (PairingMethod::Qr, CodeKind::Qr) | (PairingMethod::Code { .. }, CodeKind::PairingCode) => None,
            (PairingMethod::Qr, CodeKind::PairingCode) => Some("the instance is being paired by QR code"),
            (PairingMethod::Code { .. }, CodeKind::Qr) => {
                Some("the instance is being paired by pairing code")
            }
        }
    }

    fn defers(&self, input: &Input) -> bool {
        match input {
            Input::Written { .. } | Input::Loaded { .. } | Input::Deleted { .. } => false,
            _ if self.committing.is_some() => true,
            Input::Order { .. } => {
                !self.shutting_down
                    && matches!(
                        self.phase,
                        Phase::Loading | Phase::LoggingOut(..) | Phase::Closing(..) | Phase::Deleting
                    )
            }
            _ => false,
        }
    }

    fn step(&mut self, input: Input, around: &Surroundings<'_>, effects: &mut Effects) {
        match input {
            Input::Loaded {
                state,
                desired,
                paired,
            } => self.begin(state, desired, paired, effects),
            Input::Order { ticket, order } => self.order(ticket, order, around, effects),
            Input::Shutdown { succeeded } => self.shut_down(succeeded, effects),
            Input::Written { ticket, result } => self.written(ticket, result, around, effects),
            Input::GatePassed { generation } if self.phase == Phase::Gate(generation) => {
                self.phase = Phase::Dialing(generation);
                let pairing = self.pairing.as_ref().filter(|_| !self.paired);
                let pairing = pairing.map(|pairing| pairing.method.clone());
                effects.push(Effect::Open { generation, pairing });
                effects.push(Effect::Arm {
                    generation,
                    at: around.now + around.settings.dial_timeout,
                });
            }
            Input::OpenFailed { generation, error } if self.phase == Phase::Dialing(generation) => {
                effects.push(Effect::LeaveGate);
                self.open_failed(error, around, effects);
            }
            Input::Link { generation, fact } if self.listens_to(generation) => {
                self.link_says(generation, fact, around, effects);
            }
            Input::LogoutTold { generation } => {
                if let Phase::LoggingOut(current, then) = self.phase
                    && current == generation
                {
                    effects.push(Effect::Close { generation });
                    self.phase = Phase::Closing(generation, then);
                }
            }
            Input::Closed { generation } => {
                if let Phase::Closing(current, then) = self.phase
                    && current == generation
                {
                    self.proceed(then, around, effects);
                }
            }
            Input::Timer { generation } => self.timer(generation, around, effects),
            Input::Deleted { ticket, result } => {
                self.phase = Phase::Gone;
                let exit = result.clone().err().map_or(Exit::Done, Exit::Retry);
                effects.push(Effect::Answer {
                    ticket,
                    result: result.map_err(Refusal::Unavailable),
                });
                effects.push(Effect::Exit(exit));
            }
            Input::GatePassed { .. } | Input::OpenFailed { .. } | Input::Link { .. } => {}
        }
        self.go_on(effects);
    }

    fn listens_to(&self, generation: Generation) -> bool {
        match self.phase {
            Phase::Dialing(current) | Phase::Pairing(current) | Phase::Up(current, _) => {
                current == generation
            }
            _ => false,
        }
    }

    fn go_on(&mut self, effects: &mut Effects) {
        if self.unwritten > 0 || self.committing.is_some() {
            return;
        }
        match self.phase {
            Phase::Waiting => {
                self.generation += 1;
                self.phase = Phase::Gate(self.generation);
                effects.push(Effect::EnterGate {
                    generation: self.generation,
                });
            }
            Phase::Ending => {
                self.phase = Phase::Gone;
                effects.push(Effect::Exit(Exit::Done));
            }
            _ => {}
        }
    }

    fn begin(&mut self, state: InstanceState, desired: DesiredState, paired: bool, effects: &mut Effects) {
        (self.state, self.desired, self.paired) = (state, desired, paired);
        if self.shutting_down {
            self.phase = Phase::Ending;
        } else if desired == DesiredState::Stopped {
            self.phase = Phase::Idle;
        } else if paired {
            if state != InstanceState::Reconnecting {
                self.write(InstanceState::Reconnecting, Some(RESTARTED), effects);
            }
            self.phase = Phase::Waiting;
        } else {
            let reason = "pairing was interrupted by a restart of the session; connect again";
            self.give_up(InstanceState::Disconnected, reason.to_owned(), effects);
        }
    }

    fn order(&mut self, ticket: Ticket, order: Order, around: &Surroundings<'_>, effects: &mut Effects) {
        if self.shutting_down || self.phase == Phase::Gone {
            let result = Err(Refusal::Moving);
            effects.push(Effect::Answer { ticket, result });
            return;
        }
        match order {
            Order::Connect(method) => self.connect(ticket, method, around, effects),
            Order::Disconnect => self.disconnect(ticket, effects),
            Order::Logout => self.logout(ticket, effects),
            Order::Delete => match self.phase {
                Phase::Up(generation, _) => self.tell_logout(generation, Then::Delete(ticket), effects),
                _ => self.stop_link(Then::Delete(ticket), effects),
            },
        }
    }

    fn connect(
        &mut self,
        ticket: Ticket,
        method: Option<PairingMethod>,
        around: &Surroundings<'_>,
        effects: &mut Effects,
    ) {
        let until = around.now + around.settings.pairing_max;
        let asked = method.unwrap_or(PairingMethod::Qr);
        let other = !self.paired
            && self
                .pairing
                .as_ref()
                .is_none_or(|pairing| pairing.method != asked);
        if !self.paired {
            self.pairing = Some(Pairing { method: asked, until });
        }
        let done = Effect::Answer {
            ticket,
            result: Ok(()),
        };
        match self.phase {
            Phase::Idle => {
                self.failures = 0;
                self.commit(
                    ticket,
                    Plan::Start,
                    InstanceState::Connecting,
                    None,
                    DesiredState::Running,
                    effects,
                );
            }
            Phase::Backoff(_) => {
                self.failures = 0;
                self.phase = Phase::Waiting;
                effects.push(done);
            }
            Phase::Dialing(generation) | Phase::Pairing(generation) if other => {
                self.write(InstanceState::Connecting, None, effects);
                self.close(generation, Then::Dial, effects);
                effects.push(done);
            }
            _ => effects.push(done),
        }
    }

    fn disconnect(&mut self, ticket: Ticket, effects: &mut Effects) {
        if self.phase == Phase::Idle && self.desired == DesiredState::Stopped {
            effects.push(Effect::Answer {
                ticket,
                result: Ok(()),
            });
            return;
        }
        let reason = Some("stopped by its owner");
        let (state, desired) = (InstanceState::Disconnected, DesiredState::Stopped);
        self.commit(ticket, Plan::Stop, state, reason, desired, effects);
    }

    fn logout(&mut self, ticket: Ticket, effects: &mut Effects) {
        if !self.paired {
            let result = Err(Refusal::WrongState("no phone is paired"));
            effects.push(Effect::Answer { ticket, result });
            return;
        }
        match self.phase {
            Phase::Up(generation, _) => self.tell_logout(generation, Then::Logout(ticket), effects),
            _ => self.stop_link(Then::Logout(ticket), effects),
        }
    }

    fn tell_logout(&mut self, generation: Generation, then: Then, effects: &mut Effects) {
        effects.push(Effect::LinkDown);
        effects.push(Effect::TellLogout { generation });
        self.phase = Phase::LoggingOut(generation, then);
    }

    fn shut_down(&mut self, succeeded: bool, effects: &mut Effects) {
        if self.shutting_down {
            return;
        }
        self.shutting_down = true;
        let lives = matches!(self.phase, Phase::Dialing(_) | Phase::Pairing(_) | Phase::Up(..));
        if succeeded && lives && self.desired == DesiredState::Running && self.paired {
            self.write(InstanceState::Reconnecting, Some(RESTARTED), effects);
        }
        match self.phase {
            Phase::Loading => self.phase = Phase::Ending,
            Phase::LoggingOut(..) | Phase::Deleting | Phase::Gone => {}
            Phase::Closing(generation, then) if !matches!(then, Then::Logout(_) | Then::Delete(_)) => {
                self.phase = Phase::Closing(generation, Then::End);
            }
            Phase::Closing(..) => {}
            _ => self.stop_link(Then::End, effects),
        }
    }

    fn written(
        &mut self,
        ticket: Option<Ticket>,
        result: Result<(), String>,
        around: &Surroundings<'_>,
        effects: &mut Effects,
    ) {
        self.unwritten = self.unwritten.saturating_sub(1);
        let Some(ticket) = ticket else { return };
        let plan = match self.committing.take() {
            Some((current, plan)) if current == ticket => plan,
            other => {
                self.committing = other;
                return;
            }
        };
        if let Err(detail) = result {
            if plan == Plan::Start {
                self.pairing = None;
            }
            effects.push(Effect::Answer {
                ticket,
                result: Err(Refusal::Unavailable(detail)),
            });
            return;
        }
        effects.push(Effect::Answer {
            ticket,
            result: Ok(()),
        });
        match plan {
            Plan::Start => {
                self.desired = DesiredState::Running;
                self.state = InstanceState::Connecting;
                self.proceed(Then::Dial, around, effects);
            }
            Plan::Stop => {
                self.desired = DesiredState::Stopped;
                self.state = InstanceState::Disconnected;
                self.pairing = None;
                effects.push(Effect::HideCode);
                self.stop_link(Then::Rest, effects);
            }
            Plan::Nothing => {}
        }
    }
}
