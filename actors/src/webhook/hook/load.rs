//! How a webhook's actor takes up its webhook, and the changes of its tenant.

use std::sync::Arc;

use roost_domain::webhook::store::{Parked, WebhookDuty};
use roost_domain::webhook::{DeliveryMode, Webhook, WebhookState};
use tokio::sync::{Semaphore, oneshot};

use super::super::deliver::Endpoint;
use super::super::machine::{Beginning, Machine, Now, Rules};
use super::super::message::Fact;
use super::super::reader::Reader;
use super::{End, Held, Hook, Running};

/// Parked deliveries read in one go.
const PARKED_PAGE: u32 = 1_000;

impl Hook {
    /// Takes ownership, and reads what waits; for as long as it takes.
    pub fn load(&mut self) {
        self.reporter.post().meta().enter("starting");
        (self.reading, self.read_again, self.load_again) = (true, false, false);
        self.load += 1;
        self.applying.append(&mut self.waiting);
        let (persist, reporter, node) = (
            self.persist(),
            self.reporter.clone(),
            Arc::clone(&self.shared.node),
        );
        self.tasks.spawn(async move {
            let Ok(_turn) = node.loads.acquire().await else {
                return;
            };
            let loaded = persist.until_done(|store, owner| async move {
                let duty = store.activate_webhook(owner).await?;
                let mut parked: Vec<Parked> = Vec::new();
                let mut more = duty.webhook.state == WebhookState::Enabled;
                while more {
                    let after = parked.last().map_or(0, |last| last.seq);
                    let page = store.parked(owner, after, PARKED_PAGE).await?;
                    more = page.len() >= PARKED_PAGE as usize;
                    parked.extend(page);
                }
                Ok((duty, parked))
            });
            reporter.report(match loaded.await {
                Ok((duty, parked)) => Fact::Loaded(Box::new(duty), parked),
                Err(fatal) => fatal.into(),
            });
        });
    }

    /// Its row has changed.
    pub fn reload(&mut self, applied: oneshot::Sender<()>) {
        self.waiting.push(applied);
        if self.reading {
            self.read_again = true;
        } else if self.running.as_ref().is_some_and(|running| !running.stops) {
            self.read_changes();
        }
        // Otherwise it is drained, and then read anew.
    }

    fn read_changes(&mut self) {
        (self.reading, self.read_again) = (true, false);
        self.applying.append(&mut self.waiting);
        let (persist, reporter, load) = (self.persist(), self.reporter.clone(), self.load);
        self.tasks.spawn(async move {
            let read = persist.until_done(|store, owner| async move { store.webhook_duty(owner).await });
            reporter.report(match read.await {
                Ok(duty) => Fact::Changed(load, Box::new(duty)),
                Err(fatal) => fatal.into(),
            });
        });
    }

    pub(super) fn loaded(&mut self, duty: WebhookDuty, parked: Vec<Parked>, now: Now) {
        self.reading = false;
        if self.shuts_down {
            self.end = Some(End::Done);
            return;
        }
        let enabled = duty.webhook.state == WebhookState::Enabled;
        if self.load_again || (self.read_again && !enabled) {
            return self.load();
        }
        self.applied();
        if !enabled {
            self.end = Some(End::Done);
            return;
        }
        let endpoint = Endpoint::new(&self.shared, &duty.webhook, &duty.secrets);
        let cursor = duty.cursor;
        let beginning = Beginning {
            rules: rules(&duty.webhook),
            cursor,
            parked,
            failing_since: duty.failing_since,
            replays: duty.replays,
        };
        self.running = Some(Running {
            machine: Machine::new(Arc::clone(&self.shared.settings), beginning, now),
            endpoint: Arc::new(endpoint),
            filter: Arc::new(duty.webhook.filter),
            reader: None,
            reader_number: 0,
            allowance: Arc::new(Semaphore::new(0)),
            stops: false,
        });
        self.read_from_here();
        self.reporter.post().meta().enter("running");
        for call in std::mem::take(&mut self.held) {
            match call {
                Held::Redrive(call) => self.redrive(call),
                Held::Replay(call) => self.replay(call),
            }
        }
        if self.read_again {
            self.read_changes();
        }
    }

    /// From here on nothing goes by what was before.
    fn applied(&mut self) {
        for applied in self.applying.drain(..) {
            // Whoever told may have gone.
            let _ = applied.send(());
        }
    }

    pub(super) fn changed(&mut self, duty: &WebhookDuty) {
        self.reading = false;
        self.apply(duty);
        self.applied();
        if self.read_again && self.running.as_ref().is_some_and(|running| !running.stops) {
            self.read_changes();
        }
    }

    fn apply(&mut self, duty: &WebhookDuty) {
        let (shared, webhook) = (Arc::clone(&self.shared), &duty.webhook);
        let Some(running) = &mut self.running else {
            return;
        };
        let rules = rules(webhook);
        if webhook.state != WebhookState::Enabled || rules.ordered != running.machine.rules().ordered {
            return self.start_over();
        }
        running.machine.change_rules(rules);
        running.endpoint = Arc::new(Endpoint::new(&shared, webhook, &duty.secrets));
        if *running.filter != webhook.filter {
            running.filter = Arc::new(webhook.filter.clone());
            running.machine.change_reader();
            self.read_from_here();
        }
    }

    /// Starts a reader where the machine's knowledge ends, in place of the one there is.
    fn read_from_here(&mut self) {
        self.readers += 1;
        let number = self.readers;
        let Some(running) = &mut self.running else {
            return;
        };
        if let Some(reader) = running.reader.take() {
            reader.abort();
        }
        running.allowance = Arc::new(Semaphore::new(0));
        running.reader_number = number;
        let reader = Reader {
            shared: Arc::clone(&self.shared),
            owner: self.owner,
            filter: Arc::clone(&running.filter),
            after: running.machine.read_to(),
            allowance: Arc::clone(&running.allowance),
            reporter: self.reporter.clone(),
            number,
        };
        let task = self.tasks.spawn(reader.run());
        if let Some(running) = &mut self.running {
            running.reader = Some(task);
        }
    }
}

fn rules(webhook: &Webhook) -> Rules {
    Rules {
        ordered: webhook.mode == DeliveryMode::Ordered,
        concurrency: usize::from(webhook.max_concurrency.max(1)),
        rate_per_second: webhook.rate_per_second,
    }
}
