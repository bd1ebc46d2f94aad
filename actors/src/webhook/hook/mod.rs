//! The state behind a webhook's actor: its machine, and the tasks that do what the machine asks for.

mod load;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use roost_domain::webhook::{WebhookFilter, WebhookOwner};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::WebhookNode;
use super::deliver::{Endpoint, post};
use super::machine::{Actions, Machine, Now, Post};
use super::message::{Fact, RedriveCall, ReplayCall, Reporter, Tasks, WebhookMessage};
use super::stats::Live;
use crate::CallError;
use crate::permit::Permits;
use crate::persist::Persist;

/// How an actor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Vanished,
    Fenced,
    Retry(String),
    Panic(String),
}

/// What is there while it delivers.
struct Running {
    machine: Machine,
    endpoint: Arc<Endpoint>,
    filter: Arc<WebhookFilter>,
    reader: Option<AbortHandle>,
    reader_number: u64,
    allowance: Arc<Semaphore>,
    /// It takes up the webhook anew once it is drained.
    stops: bool,
}

/// See the module.
pub(super) struct Hook {
    pub shared: Arc<WebhookNode>,
    pub owner: WebhookOwner,
    pub permits: Arc<Permits>,
    pub reporter: Reporter,
    pub end: Option<End>,
    live: Arc<Live>,
    /// `None` while it is being loaded.
    running: Option<Running>,
    /// Its row is being read, and once more after that.
    reading: bool,
    read_again: bool,
    /// Wait for what is being read to be applied, and for what is read after it.
    applying: Vec<oneshot::Sender<()>>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Counts loads, and tells the tasks of one from those of earlier ones.
    load: u64,
    /// What is being loaded may be without something that was written meanwhile.
    load_again: bool,
    shuts_down: bool,
    /// Calls that came before it was loaded; bounded by the permits.
    held: Vec<Held>,
    timer: Option<(Instant, AbortHandle)>,
    tasks: Tasks,
    /// Tasks that answer a caller.
    calls: Tasks,
    deliveries: Tasks,
    begun: Instant,
    readers: u64,
}

enum Held {
    Redrive(RedriveCall),
    Replay(ReplayCall),
}

impl Hook {
    pub fn new(
        shared: Arc<WebhookNode>,
        owner: WebhookOwner,
        permits: Arc<Permits>,
        reporter: Reporter,
        live: Arc<Live>,
    ) -> Self {
        Self {
            shared,
            owner,
            permits,
            end: None,
            live,
            running: None,
            reading: false,
            read_again: false,
            applying: Vec::new(),
            waiting: Vec::new(),
            load: 0,
            load_again: false,
            shuts_down: false,
            held: Vec::new(),
            timer: None,
            tasks: Tasks::new(reporter.clone()),
            calls: Tasks::new(reporter.clone()),
            deliveries: Tasks::new(reporter.clone()),
            reporter,
            begun: Instant::now(),
            readers: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: self.shared.node.clock.now(),
            mono: self.begun.elapsed(),
        }
    }

    pub(super) fn persist(&self) -> Persist<WebhookOwner> {
        Persist::new(Arc::clone(&self.shared.node), self.owner)
    }

    pub fn learn(&mut self, fact: Fact) {
        let now = self.now();
        match fact {
            Fact::Loaded(duty, parked) => self.loaded(*duty, parked, now),
            Fact::Changed(load, duty) if load == self.load => self.changed(&duty),
            Fact::Read(number, events, scanned_to) => {
                if let Some(running) = self.running.as_mut().filter(|it| it.reader_number == number) {
                    running.machine.read(events, scanned_to);
                }
            }
            Fact::Posted(seq, attempt, verdict) => {
                let entropy = Arc::clone(&self.shared.node.entropy);
                if let Some(running) = &mut self.running {
                    running.machine.finished(seq, attempt, verdict, now, &*entropy);
                }
            }
            Fact::Fetched(load, events) if load == self.load => {
                self.machine(|machine| machine.fetched(events, now));
            }
            Fact::Settled => self.machine(|machine| machine.settled(now)),
            Fact::Redriven(load, parked) if load == self.load => {
                self.machine(|machine| machine.redriven(parked));
            }
            Fact::ReplayAdded(load, replay) if load == self.load => {
                self.machine(|machine| machine.replay(replay));
            }
            Fact::Replayed(next, parked) => self.machine(|machine| machine.replayed(next, parked, now)),
            // Another has been read since.
            Fact::Changed(..) | Fact::Fetched(..) => {}
            // What has been read since may be without it.
            Fact::Uncertain | Fact::Redriven(..) | Fact::ReplayAdded(..) => {
                self.load_again = true;
                self.start_over();
            }
            Fact::Vanished => self.end = Some(End::Vanished),
            Fact::Fenced => self.end = Some(End::Fenced),
            Fact::Broken(reason) => self.end = Some(End::Retry(reason)),
            Fact::TaskPanicked => self.end = Some(End::Panic("a task of the webhook panicked".to_owned())),
        }
    }

    fn machine(&mut self, change: impl FnOnce(&mut Machine)) {
        if let Some(running) = &mut self.running {
            change(&mut running.machine);
        }
    }

    /// Ends what is under way in good order, and takes up the webhook anew as it then is.
    fn start_over(&mut self) {
        if let Some(running) = &mut self.running {
            running.stops = true;
            running.machine.drain();
            if let Some(reader) = running.reader.take() {
                reader.abort();
            }
            self.reporter.post().meta().enter("draining");
        }
    }

    /// Ends in good order: POSTs that are under way have a moment left.
    pub fn shut_down(&mut self) {
        self.shuts_down = true;
        if self.running.is_none() {
            self.end = Some(End::Done);
            return;
        }
        self.start_over();
        let (wait, reporter) = (self.shared.settings.drain_timeout, self.reporter.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            reporter.tell(WebhookMessage::DrainDue);
        });
    }

    /// Waits for no POST any more.
    pub fn abandon(&mut self) {
        self.deliveries.abort_all();
        self.machine(Machine::abandon);
    }

    pub fn woken(&mut self) {
        self.timer = None;
    }

    /// Does what can go on now; called after everything that was handled.
    pub fn go_on(&mut self) {
        self.tasks.sweep();
        self.calls.sweep();
        self.deliveries.sweep();
        if self.end.is_some() {
            return;
        }
        let now = self.now();
        let Some(running) = &mut self.running else {
            return;
        };
        let actions = running.machine.advance(now);
        if actions.read > 0 {
            running.allowance.add_permits(actions.read);
        }
        self.live.show(running.machine.view(), now);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Actions) {
        let Actions {
            posts,
            fetch,
            settle,
            replay,
            wake,
            drained,
            died,
            read: _,
        } = actions;
        for post in posts {
            self.deliver(post);
        }
        if died > 0 {
            let dead = &self.shared.counters.dead;
            dead.fetch_add(died, std::sync::atomic::Ordering::Relaxed);
        }
        if !fetch.is_empty() {
            self.fetch(fetch);
        }
        if let Some(settlement) = settle {
            self.settle(settlement);
        }
        if let Some(step) = replay {
            self.replay_step(step);
        }
        if let Some(wake) = wake {
            self.arm(wake);
        }
        if drained {
            self.drained();
        }
    }

    fn drained(&mut self) {
        self.running = None;
        if self.shuts_down {
            self.end = Some(End::Done);
        } else {
            self.load();
        }
    }

    fn deliver(&mut self, next: Post) {
        let Some(running) = &self.running else { return };
        let endpoint = Arc::clone(&running.endpoint);
        let (shared, live, reporter) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.live),
            self.reporter.clone(),
        );
        self.deliveries.spawn(async move {
            let posted = post(&shared, &endpoint, &next.event, next.number).await;
            reporter.report(match posted {
                Some((attempt, verdict, took)) => {
                    live.attempt(verdict == super::machine::Verdict::Delivered, took);
                    Fact::Posted(next.event.seq, attempt, verdict)
                }
                None => Fact::Fenced,
            });
        });
    }

    /// One timer; an early one only looks and is set again.
    fn arm(&mut self, wake: Duration) {
        let at = self.begun + wake;
        match &self.timer {
            Some((armed, _)) if *armed <= at => return,
            Some((_, timer)) => timer.abort(),
            None => {}
        }
        let reporter = self.reporter.clone();
        let timer = self.tasks.spawn(async move {
            tokio::time::sleep_until(at).await;
            reporter.tell(WebhookMessage::WakeDue);
        });
        self.timer = Some((at, timer));
    }

    /// Keeps a call for later, or does it now.
    pub fn redrive(&mut self, call: RedriveCall) {
        if self.running.as_ref().is_some_and(|running| !running.stops) {
            self.redrive_now(call);
        } else {
            self.held.push(Held::Redrive(call));
        }
    }

    /// Keeps a call for later, or does it now.
    pub fn replay(&mut self, call: ReplayCall) {
        if self.running.as_ref().is_some_and(|running| !running.stops) {
            self.replay_now(call);
        } else {
            self.held.push(Held::Replay(call));
        }
    }

    /// Another owner has taken over. Calls that are being carried out have their answers still.
    pub fn fence(&mut self) {
        self.permits.fence();
        self.shared.node.finish(self.calls.take());
    }

    /// Nothing that was held will be done.
    pub fn refuse_all(&mut self, error: &CallError) {
        for call in std::mem::take(&mut self.held) {
            // Whoever asked may have gone.
            match call {
                Held::Redrive(call) => drop(call.reply.send(Err(error.clone()))),
                Held::Replay(call) => drop(call.reply.send(Err(error.clone()))),
            }
        }
    }
}
