//! Driving deliveries again, trying a webhook, and how it does.

use std::time::Duration;

use roost_domain::event::{EventFilter, EventType};
use roost_domain::webhook::store::{Replay, ReplayScope};
use roost_domain::webhook::{Delivery, DeliveryId, Webhook, WebhookState};
use roost_domain::{EventId, TenantId, Timestamp, WebhookId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask::{DriveAsk, ReplayAsk, StatsAsk, TestAsk};
use super::call::{BreakerState, RedriveRequest, ReplayRequest, ReplayStarted, TestResult, WebhookStats};
use super::deliver::{Endpoint, post};
use super::handle::Webhooks;
use super::kind::WebhookHandle;
use super::message::{RedriveCall, ReplayCall, WebhookMessage};
use crate::CallError;
use crate::cluster::route::{self, Desk as _};
use crate::permit::Class;

impl Webhooks {
    /// Drives one delivery again, now and in a new round of attempts.
    pub async fn retry(&self, tenant: TenantId, id: DeliveryId) -> Result<Delivery, CallError> {
        let detail = self.delivery(tenant, id).await?;
        if detail.event.is_none() {
            let detail = "the event is gone: its retention has ended".to_owned();
            return Err(CallError::WrongMessage { detail });
        }
        self.drive(tenant, id.webhook, vec![id.seq]).await?;
        Ok(self.delivery(tenant, id).await?.delivery)
    }

    /// Drives deliveries again, whatever became of them. Events that are gone are passed over.
    pub async fn redrive(
        &self,
        tenant: TenantId,
        id: WebhookId,
        request: RedriveRequest,
    ) -> Result<ReplayStarted, CallError> {
        let (field, count) = match &request {
            RedriveRequest::Seqs(seqs) => ("seqs", seqs.len()),
            RedriveRequest::Events(ids) => ("event_ids", ids.len()),
        };
        self.check_count(field, count)?;
        let seqs = match request {
            RedriveRequest::Seqs(seqs) => seqs,
            RedriveRequest::Events(ids) => self.node().store.event_seqs(tenant, &ids).await?,
        };
        self.drive(tenant, id, seqs).await
    }

    /// Drives dead letters again: those named, or all of them.
    pub async fn redrive_dead(
        &self,
        tenant: TenantId,
        id: WebhookId,
        dead: Option<Vec<DeliveryId>>,
    ) -> Result<ReplayStarted, CallError> {
        let Some(dead) = dead else {
            let last = self.node().store.last_seq(tenant).await?;
            return self
                .go_through(tenant, id, Some((1, last)), ReplayScope::Dead)
                .await;
        };
        self.check_count("delivery_ids", dead.len())?;
        if dead.iter().any(|delivery| delivery.webhook != id) {
            return Err(CallError::Invalid {
                field: "delivery_ids",
                detail: "a delivery is not of this webhook".to_owned(),
            });
        }
        let seqs = dead.iter().map(|delivery| delivery.seq).collect();
        self.drive(tenant, id, seqs).await
    }

    /// Gives a webhook a part of the log again.
    pub async fn replay(
        &self,
        tenant: TenantId,
        id: WebhookId,
        request: ReplayRequest,
    ) -> Result<ReplayStarted, CallError> {
        let store = &self.node().store;
        match request {
            ReplayRequest::Events(ids) => self.redrive(tenant, id, RedriveRequest::Events(ids)).await,
            ReplayRequest::Range { from, to } => {
                let range = store.event_range(tenant, from, to).await?;
                self.go_through(tenant, id, range, ReplayScope::Events).await
            }
            ReplayRequest::FailedSince(from) => {
                let end = Timestamp::from_unix_ms(i64::MAX);
                let range = store.event_range(tenant, from, end).await?;
                self.go_through(tenant, id, range, ReplayScope::Dead).await
            }
        }
    }

    /// Posts one event of type `webhook.test` to the endpoint, which is not in the log, and tells what
    /// came of it. Works on a paused webhook too.
    pub async fn test(&self, tenant: TenantId, id: WebhookId) -> Result<TestResult, CallError> {
        let ask = TestAsk { tenant, webhook: id };
        let wait = self.shared().settings.timeout + self.node().settings.control_timeout;
        route::owner(self, ask, Instant::now() + wait).await
    }

    pub(super) async fn test_here(&self, tenant: TenantId, id: WebhookId) -> Result<TestResult, CallError> {
        let (node, shared) = (self.node(), self.shared());
        let webhook = self.get(tenant, id).await?;
        self.owner(tenant, id)?;
        let secrets = node.store.webhook_secrets(tenant, id).await?;
        let endpoint = Endpoint::new(shared, &webhook, &secrets);
        let now = node.clock.now();
        let unix_ms = u64::try_from(now.unix_ms()).unwrap_or(0);
        let event = roost_domain::event::Event {
            id: EventId::from_parts(unix_ms, node.entropy.bits()),
            kind: EventType::WebhookTest,
            seq: 0,
            timestamp: now,
            tenant_id: tenant,
            instance_id: None,
            chat: None,
            data: test_data(&webhook),
        };
        let posted = post(shared, &endpoint, &event, 1).await;
        let Some((attempt, verdict, _)) = posted else {
            return Err(CallError::Moved);
        };
        Ok(TestResult {
            event_id: event.id,
            delivered: verdict == super::machine::Verdict::Delivered,
            attempt,
        })
    }

    /// How a webhook does.
    pub async fn stats(&self, tenant: TenantId, id: WebhookId) -> Result<WebhookStats, CallError> {
        let ask = StatsAsk { tenant, webhook: id };
        let deadline = Instant::now() + self.node().settings.query_timeout;
        route::owner(self, ask, deadline).await
    }

    pub(super) async fn stats_here(
        &self,
        tenant: TenantId,
        id: WebhookId,
    ) -> Result<WebhookStats, CallError> {
        let (node, now) = (self.node(), self.node().clock.now());
        let webhook = self.get(tenant, id).await?;
        let counts = node.store.delivery_counts(tenant, id).await?;
        let last_seq = node.store.last_seq(tenant).await?;
        let live = self.live(tenant, id)?.map(|handle| handle.live);
        let seen = live.as_ref().and_then(|live| live.view());
        let (cursor, failing_since, replays) = match &seen {
            Some((view, _)) => (view.cursor, view.failing_since, view.replays),
            None => {
                let duty = node.store.webhook_duty(self.owner(tenant, id)?).await?;
                (duty.cursor, duty.failing_since, duty.replays.len())
            }
        };
        let lag = self.lag(&webhook, cursor, last_seq, now).await?;
        let recent = live.and_then(|live| live.recent());
        let view = seen.map(|(view, _)| view);
        let next_probe =
            seen.and_then(|(view, at)| Some(at.wall.plus(view.next_probe?.saturating_sub(at.mono))));
        Ok(WebhookStats {
            cursor,
            last_seq,
            lag_events: u64::try_from(last_seq - cursor).unwrap_or(0),
            lag_seconds: lag.as_secs_f64(),
            pending: counts.pending,
            oldest_pending: counts.oldest_pending,
            dead: counts.dead,
            in_flight: view.map_or(0, |view| view.in_flight as u64),
            success_rate: recent.map(|recent| recent.success_rate),
            recent_attempts: recent.map_or(0, |recent| recent.attempts),
            latency_ms: recent.map(|recent| recent.latency),
            breaker: view.map_or(BreakerState::Closed, |view| view.breaker),
            next_probe_at: next_probe,
            paused_until: view
                .and_then(|view| view.paused_until)
                .filter(|&until| until > now),
            failing_since,
            replays: replays as u64,
        })
    }

    /// How long the first event after the cursor that is for the webhook has waited.
    async fn lag(
        &self,
        webhook: &Webhook,
        cursor: i64,
        last_seq: i64,
        now: Timestamp,
    ) -> Result<Duration, CallError> {
        if last_seq <= cursor {
            return Ok(Duration::ZERO);
        }
        let filter: EventFilter = super::reader::coarse(&webhook.filter);
        let store = &self.node().store;
        let batch = store.events(webhook.tenant_id, cursor, 100, &filter).await?;
        let first = batch.events.iter().find(|event| webhook.filter.matches(event));
        Ok(first.map_or(Duration::ZERO, |event| now.since(event.timestamp)))
    }

    async fn drive(
        &self,
        tenant: TenantId,
        id: WebhookId,
        mut seqs: Vec<i64>,
    ) -> Result<ReplayStarted, CallError> {
        seqs.sort_unstable();
        seqs.dedup();
        let deadline = Instant::now() + self.node().settings.control_timeout;
        let ask = DriveAsk {
            tenant,
            webhook: id,
            seqs,
        };
        route::owner(self, ask, deadline).await
    }

    /// The numbers are in order, and each is there once.
    pub(super) async fn drive_here(
        &self,
        tenant: TenantId,
        id: WebhookId,
        seqs: Vec<i64>,
        deadline: Instant,
    ) -> Result<ReplayStarted, CallError> {
        let (from_seq, to_seq) = (seqs.first().copied(), seqs.last().copied());
        let webhook = self.get(tenant, id).await?;
        let deliveries = if seqs.is_empty() {
            0
        } else if webhook.state == WebhookState::Enabled {
            self.redrive_live(tenant, id, seqs, deadline).await?
        } else {
            // Nobody runs it: the rows wait until it is resumed.
            let (owner, now) = (self.owner(tenant, id)?, self.node().clock.now());
            self.node().store.redrive(owner, seqs, now).await?.len() as u64
        };
        Ok(ReplayStarted {
            from_seq,
            to_seq,
            deliveries: Some(deliveries),
        })
    }

    async fn redrive_live(
        &self,
        tenant: TenantId,
        id: WebhookId,
        seqs: Vec<i64>,
        deadline: Instant,
    ) -> Result<u64, CallError> {
        let handle = self.running(tenant, id, deadline).await?;
        let parked = handle.live.view().map_or(0, |(view, _)| view.parked);
        if parked + seqs.len() > 2 * self.shared().settings.parked_max {
            return Err(CallError::overloaded());
        }
        let permit = handle.line.take(Class::Control)?;
        let (reply, answer) = oneshot::channel();
        let call = RedriveCall { seqs, permit, reply };
        handle.line.tell(WebhookMessage::Redrive(call))?;
        handle.line.answer(deadline, answer).await
    }

    /// Adds a replay over a range.
    async fn go_through(
        &self,
        tenant: TenantId,
        id: WebhookId,
        range: Option<(i64, i64)>,
        scope: ReplayScope,
    ) -> Result<ReplayStarted, CallError> {
        let deadline = Instant::now() + self.node().settings.control_timeout;
        let ask = ReplayAsk {
            tenant,
            webhook: id,
            range,
            scope,
        };
        route::owner(self, ask, deadline).await
    }

    pub(super) async fn go_through_here(
        &self,
        tenant: TenantId,
        id: WebhookId,
        range: Option<(i64, i64)>,
        scope: ReplayScope,
        deadline: Instant,
    ) -> Result<ReplayStarted, CallError> {
        let webhook = self.get(tenant, id).await?;
        let Some((from_seq, to_seq)) = range.filter(|(from, to)| from <= to) else {
            return Ok(ReplayStarted {
                from_seq: None,
                to_seq: None,
                deliveries: Some(0),
            });
        };
        let replay = if webhook.state == WebhookState::Enabled {
            let handle = self.running(tenant, id, deadline).await?;
            self.check_replays(handle.live.view().map_or(0, |(view, _)| view.replays))?;
            let permit = handle.line.take(Class::Control)?;
            let (reply, answer) = oneshot::channel();
            let call = ReplayCall {
                from_seq,
                to_seq,
                scope,
                permit,
                reply,
            };
            handle.line.tell(WebhookMessage::Replay(call))?;
            handle.line.answer(deadline, answer).await?
        } else {
            self.add_resting_replay(tenant, id, from_seq, to_seq, scope)
                .await?
        };
        Ok(ReplayStarted {
            from_seq: Some(replay.next_seq),
            to_seq: Some(replay.to_seq),
            deliveries: None,
        })
    }

    /// Adds a replay to a webhook that nobody runs: it waits until it is resumed.
    async fn add_resting_replay(
        &self,
        tenant: TenantId,
        id: WebhookId,
        from_seq: i64,
        to_seq: i64,
        scope: ReplayScope,
    ) -> Result<Replay, CallError> {
        let (owner, store) = (self.owner(tenant, id)?, &self.node().store);
        self.check_replays(store.webhook_duty(owner).await?.replays.len())?;
        Ok(store.add_replay(owner, from_seq, to_seq, scope).await?)
    }

    /// The deliverer of an enabled webhook, started if it does not run.
    async fn running(
        &self,
        tenant: TenantId,
        id: WebhookId,
        deadline: Instant,
    ) -> Result<WebhookHandle, CallError> {
        match self.live(tenant, id)? {
            Some(handle) => Ok(handle),
            None => self.children().ensure(id, tenant, deadline).await,
        }
    }

    fn check_replays(&self, count: usize) -> Result<(), CallError> {
        let max = self.shared().settings.replays_max;
        if count < max {
            return Ok(());
        }
        Err(CallError::LimitReached {
            detail: format!("a webhook has at most {max} replays that are not done"),
        })
    }

    fn check_count(&self, field: &'static str, count: usize) -> Result<(), CallError> {
        let max = self.shared().settings.redrive_max;
        if (1..=max).contains(&count) {
            return Ok(());
        }
        Err(CallError::Invalid {
            field,
            detail: format!("one call names from 1 to {max} deliveries"),
        })
    }
}

fn test_data(webhook: &Webhook) -> Box<serde_json::value::RawValue> {
    let data = serde_json::json!({ "webhook_id": webhook.id, "message": "This is a test." });
    // A map with text keys: JSON can always write it.
    serde_json::value::to_raw_value(&data).unwrap_or_default()
}
