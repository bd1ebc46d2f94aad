//! The state behind a session actor, and how orders and facts change it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use roost_domain::Owner;
use roost_domain::engine::{Link, LinkFact};
use roost_domain::instance::{Instance, InstanceState};
use roost_domain::message::{Direction, Message, StatusChange};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::effect::Journal;
use super::machine::{CodeKind, Exit, Generation, Input, Machine, Refusal, Surroundings, Ticket};
use super::message::{
    ChangedCall, CodeCall, Fact, OrderCall, Reply, Reporter, SendCall, SessionMessage, ShownCode, Tasks,
    Written,
};
use super::outbox::{Change, Limits, Moment, Outbox, TypingTimes};
use super::status::StatusQueue;
use crate::CallError;
use crate::backoff::Backoff;
use crate::gate::GatePass;
use crate::node::NodeContext;
use crate::node::connected::Connected;
use crate::permit::Permits;

/// The link of a session. Dropped without [`LiveLink::take`] it is closed by the node.
pub(super) struct LiveLink {
    pub generation: Generation,
    link: Option<Arc<dyn Link>>,
    over: CancellationToken,
    node: Arc<NodeContext>,
    owner: Owner,
}

impl LiveLink {
    pub fn new(
        generation: Generation,
        link: Arc<dyn Link>,
        over: CancellationToken,
        node: Arc<NodeContext>,
        owner: Owner,
    ) -> Self {
        Self {
            generation,
            link: Some(link),
            over,
            node,
            owner,
        }
    }

    pub fn link(&self) -> Option<&Arc<dyn Link>> {
        self.link.as_ref()
    }

    /// The link, to be closed by the caller.
    pub fn take(mut self) -> Option<Arc<dyn Link>> {
        self.over.cancel();
        self.link.take()
    }
}

impl Drop for LiveLink {
    fn drop(&mut self) {
        self.over.cancel();
        if let Some(link) = self.link.take() {
            self.node.close_link(self.owner.instance, link);
        }
    }
}

/// A link that is being opened.
pub(super) struct Opening {
    pub generation: Generation,
    pub over: CancellationToken,
    /// To be closed as soon as it is open.
    pub unwanted: bool,
}

pub(super) struct PendingReply {
    pub reply: Reply<Instance>,
    _permit: OwnedSemaphorePermit,
}

/// How far a session has come with stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// Nothing new begins; what is under way may end.
    Waiting {
        succeeded: bool,
    },
    Done,
}

/// See the module.
pub(crate) struct Session {
    pub(super) node: Arc<NodeContext>,
    pub(super) owner: Owner,
    pub(super) permits: Arc<Permits>,
    pub(super) reporter: Reporter,
    pub(super) machine: Machine,
    pub(super) outbox: Outbox,
    pub(super) status: StatusQueue,
    pub(super) journal: Journal,
    pub(super) row: Option<Box<Instance>>,
    /// Counts the time as long as the row says that it is connected.
    pub(super) connected: Option<Connected>,
    pub(super) opening: Option<Opening>,
    pub(super) link: Option<LiveLink>,
    pub(super) pass: Option<GatePass>,
    pub(super) code: Option<(CodeKind, ShownCode)>,
    pub(super) code_calls: Vec<CodeCall>,
    pub(super) replies: HashMap<Ticket, PendingReply>,
    pub(super) next_ticket: Ticket,
    /// Changes of the row that came before it was read.
    pub(super) held_changes: Vec<ChangedCall>,
    /// Sends that came before the row was read.
    pub(super) held_sends: VecDeque<Box<SendCall>>,
    /// Callers that wait for the outcome of a message, by its WhatsApp id.
    pub(super) settling: HashMap<String, Vec<oneshot::Sender<Message>>>,
    pub(super) tasks: Tasks,
    /// Tasks that answer a caller.
    pub(super) calls: Tasks,
    /// The wait for the start gate.
    pub(super) gate_task: Option<AbortHandle>,
    pub(super) life_timer: Option<AbortHandle>,
    pub(super) outbox_timer: Option<(Instant, AbortHandle)>,
    pub(super) idle_timer: bool,
    pub(super) timer_generation: Generation,
    /// Accepted and unsent messages, here and in the store.
    pub(super) unsent: u64,
    pub(super) accepting: u64,
    pub(super) last_message_id: u128,
    pub(super) drain: Drain,
    pub(super) exit: Option<Exit>,
}

impl Session {
    pub fn new(node: Arc<NodeContext>, owner: Owner, permits: Arc<Permits>, reporter: Reporter) -> Self {
        let settings = &node.settings;
        let limits = Limits {
            memory: settings.outbox_memory_max.max(1),
            chats: settings.chats_in_parallel.max(1),
            ack_timeout: settings.ack_timeout,
            backoff: Backoff {
                first: settings.backoff_first,
                max: settings.backoff_max,
            },
            typing: TypingTimes {
                per_char: settings.typing_per_char,
                min: settings.typing_min,
                max: settings.typing_max,
            },
        };
        Self {
            owner,
            permits,
            machine: Machine::new(),
            outbox: Outbox::new(limits),
            status: StatusQueue::default(),
            journal: Journal::default(),
            row: None,
            connected: None,
            opening: None,
            link: None,
            pass: None,
            code: None,
            code_calls: Vec::new(),
            replies: HashMap::new(),
            next_ticket: 0,
            held_changes: Vec::new(),
            held_sends: VecDeque::new(),
            settling: HashMap::new(),
            tasks: Tasks::new(reporter.clone()),
            calls: Tasks::new(reporter.clone()),
            reporter,
            gate_task: None,
            life_timer: None,
            outbox_timer: None,
            idle_timer: false,
            timer_generation: 0,
            unsent: 0,
            accepting: 0,
            last_message_id: 0,
            drain: Drain::No,
            exit: None,
            node,
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            tick: Instant::now(),
            wall: self.node.clock.now(),
        }
    }

    /// Gives the machine an input and runs what it asks for.
    pub(super) fn feed(&mut self, input: Input) {
        let mut effects = Vec::new();
        let around = Surroundings {
            now: Instant::now(),
            settings: &self.node.settings,
            entropy: &*self.node.entropy,
        };
        self.machine.take(input, &around, &mut effects);
        for effect in effects {
            self.run(effect);
        }
        self.answer_code_calls();
    }

    pub(super) fn order(&mut self, call: OrderCall) {
        if call.ride.deadline <= Instant::now() {
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.replies.insert(
            ticket,
            PendingReply {
                reply: call.reply,
                _permit: call.ride.permit,
            },
        );
        self.feed(Input::Order {
            ticket,
            order: call.order,
        });
    }

    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<(), Refusal>) {
        let Some(pending) = self.replies.remove(&ticket) else {
            return;
        };
        let result = match (result, &self.row) {
            (Ok(()), Some(row)) => Ok((**row).clone()),
            (Ok(()), None) => Err(CallError::unavailable("the session has not started yet")),
            (Err(Refusal::WrongState(detail)), _) => Err(self.wrong_state(detail)),
            (Err(Refusal::Unavailable(detail)), _) => Err(CallError::unavailable(detail)),
            (Err(Refusal::Moving), _) => Err(CallError::moving("the session is being moved or stopped")),
        };
        // A caller that no longer waits has read its deadline.
        let _ = pending.reply.send(result);
    }

    /// Another owner has taken over. Calls that are being carried out have their answers still, for they
    /// may have been in time; all others are told.
    pub(super) fn fence(&mut self) {
        self.permits.fence();
        self.node.finish(self.calls.take());
        let error = CallError::Moved;
        // Callers that no longer wait have read their deadline.
        for call in self.held_sends.drain(..) {
            let _ = call.reply.send(Err(error.clone()));
        }
        for (_, pending) in self.replies.drain() {
            let _ = pending.reply.send(Err(error.clone()));
        }
        for call in self.code_calls.drain(..) {
            let _ = call.reply.send(Err(error.clone()));
        }
    }

    pub(super) fn wrong_state(&self, detail: &str) -> CallError {
        let state = self.row.as_ref().map_or(InstanceState::Created, |row| row.state);
        CallError::WrongState {
            state,
            detail: detail.to_owned(),
        }
    }

    pub(super) fn await_code(&mut self, call: CodeCall) {
        self.code_calls.push(call);
        self.answer_code_calls();
    }

    fn answer_code_calls(&mut self) {
        if self.code_calls.is_empty() {
            return;
        }
        let (now, tick) = (self.node.clock.now(), Instant::now());
        for call in std::mem::take(&mut self.code_calls) {
            if call.ride.deadline <= tick {
                continue;
            }
            let shown = self
                .code
                .as_ref()
                .filter(|(kind, code)| *kind == call.kind && code.expires_at > now);
            if let Some((_, code)) = shown {
                let _ = call.reply.send(Ok(code.clone()));
            } else if let Some(detail) = self.machine.refuses_code(call.kind) {
                let _ = call.reply.send(Err(self.wrong_state(detail)));
            } else {
                self.code_calls.push(call);
            }
        }
    }

    /// Takes a fact.
    pub(super) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Loaded(row, unsent) => self.loaded(row, unsent),
            Fact::Link(generation, fact) => self.link_says(generation, fact),
            Fact::GatePassed(generation, pass) => {
                if self.machine.wants_gate(generation) {
                    self.pass = Some(pass);
                    self.feed(Input::GatePassed { generation });
                }
            }
            Fact::Opened(generation, result) => self.opened(generation, result),
            Fact::LogoutTold(generation) => self.feed(Input::LogoutTold { generation }),
            Fact::Closed(generation) => self.feed(Input::Closed { generation }),
            Fact::Written(ticket, written) => self.written(ticket, written),
            Fact::Accepted(accepted) => self.accepted(*accepted),
            Fact::Sent(generation, whatsapp_id, result) => {
                let (now, mut changes) = (self.moment(), Vec::new());
                let entropy = Arc::clone(&self.node.entropy);
                self.outbox
                    .sent(generation, &whatsapp_id, result, now, &*entropy, &mut changes);
                self.report_changes(changes);
            }
            Fact::Advanced(moved, changes) => self.advanced(moved, changes),
            Fact::Fetched(from, limit, messages) => self.fetched(from, limit, messages),
            Fact::Deleted(ticket, result) => self.feed(Input::Deleted { ticket, result }),
            Fact::Fenced => self.exit = Some(Exit::Fenced),
            Fact::Vanished => {
                // Nothing more can be written about it.
                (self.journal, self.status) = (Journal::default(), StatusQueue::default());
                self.exit = Some(Exit::Done);
            }
            Fact::TaskPanicked => self.exit = Some(Exit::Panic("a task of the session panicked".to_owned())),
            Fact::Broken(reason) => self.exit = Some(Exit::Retry(reason)),
        }
    }

    fn link_says(&mut self, generation: Generation, fact: LinkFact) {
        match fact {
            LinkFact::ServerAck {
                whatsapp_id,
                error,
                at,
            } => {
                let mut changes = Vec::new();
                self.outbox.acked(&whatsapp_id, error, at, &mut changes);
                self.report_changes(changes);
            }
            LinkFact::Receipt {
                whatsapp_ids,
                status,
                inbound,
                at,
            } => {
                let direction = if inbound {
                    Direction::Inbound
                } else {
                    Direction::Outbound
                };
                for whatsapp_id in whatsapp_ids {
                    let status = StatusChange {
                        whatsapp_id,
                        direction,
                        status,
                        failure: None,
                        at,
                    };
                    self.status.push(
                        Change {
                            message: None,
                            status,
                        },
                        self.node.settings.status_queue_max,
                    );
                }
            }
            LinkFact::Undecryptable { .. } => {
                tracing::info!(instance.id = %self.owner.instance, "a message could not be decrypted and was asked for again");
            }
            fact => self.feed(Input::Link { generation, fact }),
        }
    }

    /// The row is as it now is in the store.
    pub(super) fn stand(&mut self, row: Box<Instance>) {
        self.reporter.post().meta().enter(row.state.as_str());
        if row.state != InstanceState::Connected {
            self.connected = None;
        } else if self.connected.is_none() {
            self.connected = Some(self.node.connected.begin(self.owner.tenant));
        }
        self.keep(row);
    }

    /// Takes the row as it was read.
    pub(super) fn keep(&mut self, row: Box<Instance>) {
        // What is unsent when the row is first read may be on the wire from an earlier life.
        let sent_before = self.row.is_none() && self.unsent > 0;
        self.outbox.set_pacing(row.pacing, sent_before, Instant::now());
        self.row = Some(row);
    }

    /// The tenant has changed the row.
    pub(super) fn changed(&mut self, call: ChangedCall) {
        if self.row.is_some() {
            self.reread(call);
        } else {
            self.held_changes.push(call);
        }
    }

    fn written(&mut self, ticket: Option<Ticket>, written: Written) {
        self.journal.written();
        match written {
            Written::Step(row) => {
                self.stand(row);
                self.feed(Input::Written {
                    ticket,
                    result: Ok(()),
                });
            }
            Written::NotNow(detail) => self.feed(Input::Written {
                ticket,
                result: Err(detail),
            }),
            Written::Event => {}
            Written::Reread(row, call) => {
                self.keep(row);
                // A caller that no longer waits knows that its change is durable.
                let _ = call.applied.send(());
            }
            Written::PendingFailed => {
                self.outbox.clear();
                // Whoever waits reads the outcome in the store.
                self.settling.clear();
                self.unsent = 0;
            }
        }
    }

    pub(super) fn report_changes(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.status.push(change, self.node.settings.status_queue_max);
        }
    }

    /// Does what can go on now; called after everything that was handled.
    pub(super) fn go_on(&mut self) {
        self.tasks.sweep();
        self.calls.sweep();
        if let Drain::Waiting { succeeded } = self.drain
            && self.accepting == 0
            && self.outbox.under_way() == 0
        {
            self.drained(succeeded);
        }
        self.dispatch();
        self.show_pace();
        self.fetch();
        self.write_status();
        self.write_journal();
        self.arm_outbox_timer();
        self.arm_idle_timer();
    }

    /// Stops: at first only beginning anything new; when told again, or when nothing is under way any
    /// more, for good.
    pub(super) fn shut_down(&mut self, succeeded: bool) {
        self.permits.retire();
        if self.drain == Drain::No {
            self.drain = Drain::Waiting { succeeded };
            for call in std::mem::take(&mut self.held_sends) {
                self.send(call);
            }
            let (wait, post) = (self.node.settings.drain_timeout, self.reporter.post().clone());
            self.tasks.spawn(async move {
                tokio::time::sleep(wait).await;
                // Gone by now, at best.
                let _ = post.cast(SessionMessage::Shutdown { succeeded });
            });
        } else {
            self.drained(succeeded);
        }
    }

    fn drained(&mut self, succeeded: bool) {
        if self.drain != Drain::Done {
            self.drain = Drain::Done;
            self.feed(Input::Shutdown { succeeded });
        }
    }

    /// Whether everything that was learnt is in the store.
    pub(super) fn is_flushed(&self) -> bool {
        self.status.is_idle() && self.journal.is_idle()
    }

    pub(super) fn random_bits(&self) -> u128 {
        self.node.entropy.bits()
    }
}
