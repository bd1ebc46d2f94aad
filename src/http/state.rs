//! What every handler works with.
//!
//! The listener answers before the rest of the node has started: until [`Http::open`] is called,
//! calls are answered 503, and `/healthz` alone is 200.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures::FutureExt;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use roost_actors::instance::Instances;
use roost_actors::webhook::Webhooks;
use roost_actors::{Runtime, Streams};
use roost_domain::store::{Idempotency, Stamp, Store};
use roost_domain::time::Entropy;
use roost_domain::{Clock, ErrorCode};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::Audit;
use super::idempotency::{InProgress, Repeatable};
use super::limit::Limiter;
use super::place::Places;
use super::problem::{Answer, Problem};
use super::stream::StreamSlots;
use super::usage::CallCounter;
use crate::access::Access;
use crate::config::{self, Config};

/// State of the router.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    config: config::Http,
    webhooks: config::Webhooks,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: PrometheusHandle,
    places: Places,
    gateway: OnceLock<Gateway>,
    draining: AtomicBool,
    closing: CancellationToken,
    streams: TaskTracker,
    /// Tasks that write the audit log and counted calls.
    writers: TaskTracker,
}

/// The parts of the running node that handlers call.
pub struct Gateway {
    /// Repositories.
    pub store: Arc<dyn Store>,
    /// Handle to the sessions.
    pub instances: Instances,
    /// Handle to the webhooks.
    pub webhooks: Webhooks,
    /// Fan-out of new events.
    pub streams: Streams,
    /// The actors' runtime.
    pub runtime: Arc<Runtime>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// How long answers to idempotent requests are kept.
    pub idempotency_ttl: Duration,
    /// Keys and tenants, and every change of them.
    pub access: Access,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Holds calls against their limits.
    pub limiter: Limiter,
    /// Writes the audit log.
    pub audit: Audit,
    /// Counts calls for bills.
    pub calls: CallCounter,
    /// Idempotent requests at work.
    pub in_progress: InProgress,
    /// When the database was last proven to be writable, or what was wrong then.
    pub store_check: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
    /// Open streams of each tenant.
    pub stream_slots: StreamSlots,
}

impl Http {
    /// State of a node that is starting.
    pub fn new(
        config: config::Http,
        webhooks: config::Webhooks,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: PrometheusHandle,
    ) -> Self {
        Self(Arc::new(Inner {
            places: Places::new(config.requests_max, config.uploads_max),
            config,
            webhooks,
            clock,
            entropy,
            metrics,
            gateway: OnceLock::new(),
            draining: AtomicBool::new(false),
            closing: CancellationToken::new(),
            streams: TaskTracker::new(),
            writers: TaskTracker::new(),
        }))
    }

    /// The node has started: calls are taken from now on.
    pub fn open(&self, config: &Config, store: Arc<dyn Store>, runtime: Arc<Runtime>, access: Access) {
        let gateway = Gateway {
            limiter: Limiter::new(
                &config.limits,
                &config.plans,
                runtime.buckets(),
                Arc::clone(&store),
            ),
            audit: Audit::new(&config.audit, Arc::clone(&store)),
            calls: CallCounter::new(Arc::clone(&store)),
            entropy: Arc::clone(&self.0.entropy),
            store,
            instances: runtime.instances(),
            webhooks: runtime.webhooks(),
            streams: runtime.streams(),
            runtime,
            clock: Arc::clone(&self.0.clock),
            idempotency_ttl: self.0.config.idempotency_ttl,
            access,
            in_progress: InProgress::default(),
            store_check: tokio::sync::Mutex::default(),
            stream_slots: StreamSlots::new(self.0.config.streams_per_tenant_max),
        };
        // A second call would be a second node in this process; the first one stays.
        if self.0.gateway.set(gateway).is_ok() {
            self.write_every(config.audit.fold_for, |gateway| gateway.audit.write().boxed());
            self.write_every(config.usage.flush_every, |gateway| gateway.calls.write().boxed());
            let http = self.clone();
            self.0.writers.spawn(async move {
                let Some(gateway) = http.started() else { return };
                tokio::select! {
                    () = http.closing().cancelled() => {}
                    () = gateway.limiter.plans().tell_missing(gateway.store.as_ref()) => {}
                }
            });
        }
    }

    /// Writes what is held in memory, time and again until the node is about to stop.
    fn write_every(&self, every: Duration, write: fn(&Gateway) -> BoxFuture<'_, ()>) {
        let http = self.clone();
        self.0.writers.spawn(async move {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = http.closing().cancelled() => return,
                    _ = ticks.tick() => {}
                }
                if let Some(gateway) = http.started() {
                    write(gateway).await;
                }
            }
        });
    }

    /// Writes what is held in memory and waits until it is durable; for a node that takes no more calls.
    pub async fn write_all(&self) {
        self.0.writers.close();
        self.0.writers.wait().await;
        if let Some(gateway) = self.started() {
            gateway.audit.write().await;
            gateway.calls.write().await;
        }
    }

    /// The node is about to stop: it is not ready any more, and open streams end.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        self.0.closing.cancel();
    }

    /// Whether the node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Runs a stream's task; [`Http::streams_ended`] waits for all of them.
    pub fn track(&self, stream: impl Future<Output = ()> + Send + 'static) {
        // Each has a slot of its tenant and of the node, so that their number is bounded.
        self.0.streams.spawn(stream);
    }

    /// Waits until no stream runs any more.
    pub async fn streams_ended(&self) {
        self.0.streams.close();
        self.0.streams.wait().await;
    }

    /// Ends when the node is about to stop.
    pub fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// The running node; 503 while it starts.
    pub fn gateway(&self) -> Answer<&Gateway> {
        self.started()
            .ok_or_else(|| Problem::new(ErrorCode::Unavailable, "the gateway is starting"))
    }

    /// The running node, once it has started.
    pub fn started(&self) -> Option<&Gateway> {
        self.0.gateway.get()
    }

    /// Limits and time-outs.
    pub fn config(&self) -> &config::Http {
        &self.0.config
    }

    /// Limits of webhooks.
    pub fn webhooks(&self) -> &config::Webhooks {
        &self.0.webhooks
    }

    /// Places for requests at work.
    pub fn places(&self) -> &Places {
        &self.0.places
    }

    /// Wall clock.
    pub fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    /// Randomness.
    pub fn entropy(&self) -> &dyn Entropy {
        self.0.entropy.as_ref()
    }

    /// What `/metrics` renders.
    pub fn metrics(&self) -> &PrometheusHandle {
        &self.0.metrics
    }
}

impl Gateway {
    /// What is made durable with a write.
    pub fn stamp(&self, repeatable: Option<Repeatable>, status: StatusCode) -> Stamp {
        Stamp {
            idempotency: repeatable.map(|repeatable| self.record(repeatable, status)),
            audit: None,
        }
    }

    /// What the store keeps of a request that has an idempotency key.
    pub fn record(&self, repeatable: Repeatable, status: StatusCode) -> Idempotency {
        repeatable.record(status, self.clock.now(), self.idempotency_ttl)
    }
}
