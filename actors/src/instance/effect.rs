//! Carries out what the machine asks for. Everything that takes time is a task of the session, aborted
//! with it, that reports back.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::Owner;
use roost_domain::engine::{Link, LinkSpec, OpenError};
use roost_domain::event::{EventType, NewEvent};
use roost_domain::instance::{Instance, PairingMethod, StateChange};
use roost_domain::message::FailureReason;
use roost_domain::store::{Store, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::machine::{CodeKind, Effect, Generation, Input, Step, Ticket};
use super::message::{ChangedCall, Fact, SessionMessage, ShownCode, Unsent, Written};
use super::observer::SessionObserver;
use super::outbox::FETCH_MAX;
use super::session::{LiveLink, Opening, Session};
use crate::node::NodeContext;
use crate::persist::{Fatal, Persist, Setback};

/// Longest wait for a link to be closed; the port promises less.
const CLOSE_MAX: Duration = Duration::from_secs(35);
/// Longest wait for WhatsApp to hear of a logout.
const LOGOUT_MAX: Duration = Duration::from_secs(5);
/// What a session writes about itself, one at a time and in order.
#[derive(Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    writing: bool,
}

enum Entry {
    Step {
        change: StateChange,
        ticket: Option<Ticket>,
        once: bool,
    },
    Event(NewEvent),
    FailPending,
    /// Reads the row again. In here so that it is never overtaken by what was read before.
    Reread(ChangedCall),
}

impl Journal {
    pub fn is_idle(&self) -> bool {
        !self.writing && self.entries.is_empty()
    }

    pub fn written(&mut self) {
        self.writing = false;
    }

    fn next(&mut self) -> Option<Entry> {
        if self.writing {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.writing = true;
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        Some(entry)
    }
}

impl Session {
    pub(super) fn persist(&self) -> Persist<Owner> {
        Persist::new(Arc::clone(&self.node), self.owner)
    }

    pub(super) fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Write { step, ticket, once } => self.note(step, ticket, once),
            Effect::FailPending => self.journal.entries.push_back(Entry::FailPending),
            Effect::ShowCode {
                kind,
                code,
                valid_for,
            } => self.show_code(kind, code, valid_for),
            Effect::HideCode => self.code = None,
            Effect::EnterGate { generation } => self.enter_gate(generation),
            Effect::LeaveGate => self.leave_gate(),
            Effect::Open { generation, pairing } => self.open(generation, pairing),
            Effect::Close { generation } => self.close(generation),
            Effect::TellLogout { generation } => self.tell_logout(generation),
            Effect::LinkUp { generation } => self.outbox.link_up(generation),
            Effect::LinkDown => self.outbox.link_down(),
            Effect::Arm { generation, at } => self.arm_life_timer(generation, at),
            Effect::Answer { ticket, result } => self.answer(ticket, result),
            Effect::DeleteRow { ticket } => self.delete_row(ticket),
            Effect::Exit(exit) => self.exit = Some(exit),
        }
    }

    /// Reads what the session needs to begin, for as long as it takes.
    pub(super) fn load(&mut self) {
        let (node, owner, reporter, persist) = (
            Arc::clone(&self.node),
            self.owner,
            self.reporter.clone(),
            self.persist(),
        );
        self.tasks.spawn(async move {
            node.links_closed(owner.instance).await;
            let Ok(_turn) = node.loads.acquire().await else {
                return;
            };
            let rows = u32::try_from(node.settings.outbox_memory_max.min(FETCH_MAX)).unwrap_or(u32::MAX);
            let loaded = persist.until_done(|store, owner| async move {
                let row = store.activate(owner).await?;
                let pending = store.pending(owner, None, rows).await?;
                let read = pending.len() as u64;
                let (count, last) = if read < u64::from(rows) {
                    (read, pending.last().map(|message| message.id))
                } else {
                    (
                        store.pending_count(owner).await?,
                        store.last_pending(owner).await?,
                    )
                };
                let first = pending;
                Ok((row, Unsent { count, last, first }))
            });
            match loaded.await {
                Ok((row, unsent)) => reporter.report(Fact::Loaded(Box::new(row), unsent)),
                Err(fatal) => reporter.report(fatal.into()),
            }
        });
    }

    fn note(&mut self, step: Step, ticket: Option<Ticket>, once: bool) {
        let Step {
            state,
            reason,
            desired,
            account,
        } = step;
        let change = StateChange {
            state,
            reason,
            desired,
            account,
            at: self.node.clock.now(),
        };
        self.journal
            .entries
            .push_back(Entry::Step { change, ticket, once });
    }

    /// Writes the next entry of the journal, unless one is being written.
    pub(super) fn write_journal(&mut self) {
        let Some(entry) = self.journal.next() else { return };
        let (persist, reporter) = (self.persist(), self.reporter.clone());
        let at = self.node.clock.now();
        self.tasks.spawn(async move {
            let written = match entry {
                Entry::Step { change, ticket, once } => {
                    let write = |store: Arc<dyn Store>, owner| {
                        let change = change.clone();
                        async move { store.change_state(owner, change).await }
                    };
                    step(&persist, write, ticket, once).await
                }
                Entry::Event(event) => persist
                    .until_done(|store, owner| {
                        let event = event.clone();
                        async move { store.append(owner, vec![event]).await }
                    })
                    .await
                    .map(|_| Fact::Written(None, Written::Event)),
                Entry::FailPending => persist
                    .until_done(|store, owner| async move {
                        store.fail_pending(owner, FailureReason::InstanceGone, at).await
                    })
                    .await
                    .map(|_| Fact::Written(None, Written::PendingFailed)),
                Entry::Reread(call) => persist
                    .until_done(
                        |store, owner| async move { store.instance(owner.tenant, owner.instance).await },
                    )
                    .await
                    .map(|row| Fact::Written(None, Written::Reread(Box::new(row), call))),
            };
            reporter.report(written.unwrap_or_else(Fact::from));
        });
    }

    pub(super) fn reread(&mut self, call: ChangedCall) {
        self.journal.entries.push_back(Entry::Reread(call));
    }

    fn show_code(&mut self, kind: CodeKind, code: String, valid_for: Duration) {
        let expires_at = self.node.clock.now().plus(valid_for);
        let event = match kind {
            CodeKind::Qr => EventType::InstanceQr,
            CodeKind::PairingCode => EventType::InstancePairingCode,
        };
        let event = NewEvent::code(event, self.owner.instance, &code, expires_at);
        self.journal.entries.push_back(Entry::Event(event));
        self.code = Some((kind, ShownCode { code, expires_at }));
    }

    fn enter_gate(&mut self, generation: Generation) {
        let (node, reporter) = (Arc::clone(&self.node), self.reporter.clone());
        let task = self.tasks.spawn(async move {
            // A closed gate means that the node stops: the session is told so in another way.
            if let Some(pass) = node.gate.pass().await {
                reporter.report(Fact::GatePassed(generation, pass));
            }
        });
        self.gate_task = Some(task);
    }

    fn leave_gate(&mut self) {
        self.pass = None;
        let waits = [self.gate_task.take(), self.life_timer.take()];
        waits.into_iter().flatten().for_each(|wait| wait.abort());
    }

    fn open(&mut self, generation: Generation, pairing: Option<PairingMethod>) {
        let over = CancellationToken::new();
        self.opening = Some(Opening {
            generation,
            over: over.clone(),
            unwanted: false,
        });
        let (node, owner, reporter) = (Arc::clone(&self.node), self.owner, self.reporter.clone());
        self.tasks.spawn(async move {
            if !node.placement.holds_lease() {
                return reporter.report(Fact::Fenced);
            }
            let observer = SessionObserver {
                node: Arc::clone(&node),
                owner,
                generation,
                reporter: reporter.clone(),
                over,
            };
            let opened = tokio::time::timeout(
                node.settings.dial_timeout,
                open_link(&node, owner, pairing, observer),
            );
            let opened = opened.await.unwrap_or_else(|_| {
                Err(OpenError::Unavailable(
                    "the link did not begin to dial in time".to_owned(),
                ))
            });
            reporter.report(Fact::Opened(generation, opened));
        });
    }

    pub(super) fn opened(&mut self, generation: Generation, result: Result<Arc<dyn Link>, OpenError>) {
        let Some(opening) = self.opening.take_if(|opening| opening.generation == generation) else {
            return;
        };
        match result {
            Ok(link) => {
                let node = Arc::clone(&self.node);
                self.link = Some(LiveLink::new(generation, link, opening.over, node, self.owner));
                if opening.unwanted {
                    self.close(generation);
                }
            }
            Err(_) if opening.unwanted => self.feed(Input::Closed { generation }),
            Err(error) => self.feed(Input::OpenFailed { generation, error }),
        }
    }

    fn close(&mut self, generation: Generation) {
        if let Some(opening) = self
            .opening
            .as_mut()
            .filter(|opening| opening.generation == generation)
        {
            opening.over.cancel();
            opening.unwanted = true;
            return;
        }
        let link = self
            .link
            .take_if(|live| live.generation == generation)
            .and_then(LiveLink::take);
        let reporter = self.reporter.clone();
        // Not a task of the session: a link must be closed to its end even when the session is killed
        // meanwhile, and a successor waits for it.
        let Some(link) = link else {
            return reporter.report(Fact::Closed(generation));
        };
        let closed = self.node.close_link(self.owner.instance, link);
        self.tasks.spawn(async move {
            let _ = tokio::time::timeout(CLOSE_MAX, closed.cancelled()).await;
            reporter.report(Fact::Closed(generation));
        });
    }

    fn tell_logout(&mut self, generation: Generation) {
        let link = self.link.as_ref().and_then(|live| live.link().cloned());
        let reporter = self.reporter.clone();
        self.tasks.spawn(async move {
            if let Some(link) = link {
                // Best effort: the pairing ends here whatever WhatsApp says.
                match tokio::time::timeout(LOGOUT_MAX, link.logout()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "WhatsApp could not be told of a logout"),
                    Err(_) => tracing::warn!("WhatsApp did not answer a logout in time"),
                }
            }
            reporter.report(Fact::LogoutTold(generation));
        });
    }

    fn delete_row(&mut self, ticket: Ticket) {
        let (node, reporter, persist) = (Arc::clone(&self.node), self.reporter.clone(), self.persist());
        let at = self.node.clock.now();
        self.tasks.spawn(async move {
            let delete =
                persist.until_done(|store, owner| async move { store.delete_instance(owner, at).await });
            let fact = match tokio::time::timeout(node.settings.control_timeout, delete).await {
                Ok(Ok(())) => Fact::Deleted(ticket, Ok(())),
                Ok(Err(Fatal::Vanished)) => Fact::Deleted(ticket, Ok(())),
                Ok(Err(fatal)) => fatal.into(),
                Err(_) => Fact::Deleted(ticket, Err("the database is unavailable".to_owned())),
            };
            reporter.report(fact);
        });
    }

    fn arm_life_timer(&mut self, generation: Generation, at: Instant) {
        if let Some(timer) = self.life_timer.take() {
            timer.abort();
        }
        let post = self.reporter.post().clone();
        self.life_timer = Some(self.tasks.spawn(async move {
            tokio::time::sleep_until(at).await;
            let _ = post.cast(SessionMessage::LifeDue(generation));
        }));
    }

    pub(super) fn arm_outbox_timer(&mut self) {
        let Some(due) = self.outbox.next_due() else { return };
        match &self.outbox_timer {
            // An early timer only looks and is set again.
            Some((at, _)) if *at <= due => return,
            Some((_, timer)) => timer.abort(),
            None => {}
        }
        self.timer_generation += 1;
        let (generation, post) = (self.timer_generation, self.reporter.post().clone());
        let timer = self.tasks.spawn(async move {
            tokio::time::sleep_until(due).await;
            let _ = post.cast(SessionMessage::OutboxDue(generation));
        });
        self.outbox_timer = Some((due, timer));
    }

    pub(super) fn arm_idle_timer(&mut self) {
        if self.idle_timer || !self.machine.rests() {
            return;
        }
        self.idle_timer = true;
        let (wait, post) = (self.node.settings.passivate_after, self.reporter.post().clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = post.cast(SessionMessage::IdleDue);
        });
    }

    /// Whether the session may leave memory; it takes no more commands then.
    pub(super) fn may_leave(&mut self) -> bool {
        self.idle_timer = false;
        self.machine.rests() && self.is_flushed() && self.permits.retire_if_unused()
    }
}

async fn step<W, F>(
    persist: &Persist<Owner>,
    write: W,
    ticket: Option<Ticket>,
    once: bool,
) -> Result<Fact, Fatal>
where
    W: FnMut(Arc<dyn Store>, Owner) -> F,
    F: Future<Output = Result<Instance, StoreError>>,
{
    let written = if once {
        persist.attempt(write).await
    } else {
        persist.until_done(write).await.map_err(Setback::Fatal)
    };
    match written {
        Ok(row) => Ok(Fact::Written(ticket, Written::Step(Box::new(row)))),
        Err(Setback::NotNow(detail)) => Ok(Fact::Written(ticket, Written::NotNow(detail))),
        Err(Setback::Fatal(fatal)) => Err(fatal),
    }
}

async fn open_link(
    node: &Arc<NodeContext>,
    owner: Owner,
    pairing: Option<PairingMethod>,
    observer: SessionObserver,
) -> Result<Arc<dyn Link>, OpenError> {
    // Read now, as the proxy may have been changed since the last connection.
    let row = node.store.instance(owner.tenant, owner.instance).await;
    let row = row.map_err(|error| OpenError::Unavailable(error.to_string()))?;
    let spec = LinkSpec {
        owner,
        proxy: row.proxy,
        pairing,
    };
    node.engine.open(spec, Arc::new(observer)).await
}
