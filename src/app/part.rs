//! The node's parts, as the configuration describes them.

use std::sync::Arc;

use anyhow::Context;
use roost_actors::webhook::WebhookSettings;
use roost_actors::{BucketSettings, Settings, Streams};
use roost_domain::cluster::Lease;
use roost_domain::event::Event;
use roost_domain::store::CommitObserver;
use roost_domain::time::Entropy;
use roost_domain::{Clock, TenantId};
use roost_engine::{WebEngine, WebEngineConfig};
use roost_store::{
    Guard, KeySource, MasterKey, MasterKeys, OpenError, SqlStore, StoreConfig, Synchronous, WriterLimits,
};

use crate::config::{self, Config};
use crate::http::metrics;
use crate::webhook::{OutgoingClient, SystemLookup};

const DATABASE_FILE: &str = "roost.db";
const MASTER_KEY_FILE: &str = "master.key";

/// Tells the streams of commits, and counts them.
pub struct Committed(pub Streams);

impl CommitObserver for Committed {
    fn committed(&self, tenant: TenantId, events: &[Arc<Event>]) {
        metrics::events(events);
        self.0.committed(tenant, events);
    }
}

/// Opens the database; it is brought to this version's shape when it is older. Owners write under `guard`.
pub async fn open_store(
    config: &Config,
    guard: Guard,
    observer: Arc<dyn CommitObserver>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> anyhow::Result<Arc<SqlStore>> {
    let store_config = StoreConfig {
        guard,
        ..store_config(config)?
    };
    SqlStore::open(store_config, clock, entropy, observer)
        .await
        .map(Arc::new)
        .map_err(open_error)
}

/// Says what to do about it.
pub fn open_error(error: OpenError) -> anyhow::Error {
    let hint = match &error {
        OpenError::InUse { .. } => Some(
            "stop the other one first, choose another folder with --data-dir, or use PostgreSQL (store.url)",
        ),
        OpenError::WrongMasterKey => {
            Some("set store.master_key or store.master_key_file to the key that it was made with")
        }
        OpenError::MissingMasterKey { .. } => Some(
            "put it back as a further line of the key file, or into store.previous_master_keys, until a rotation is done",
        ),
        OpenError::NoMasterKey { .. } => Some(
            "put the file back from where you keep it apart from the database, or set store.master_key or store.master_key_file",
        ),
        OpenError::MasterKey(_) => {
            Some("set store.master_key, or store.master_key_file to a file that can be read and made")
        }
        OpenError::Folder { .. } => Some("choose another folder with --data-dir, or change its permissions"),
        OpenError::Url(_)
        | OpenError::Custody(_)
        | OpenError::Unreadable { .. }
        | OpenError::NewerSchema { .. }
        | OpenError::Migration(_)
        | OpenError::Database(_)
        | OpenError::Writer(_)
        | OpenError::Thread(_) => None,
    };
    let error = anyhow::Error::new(error).context("the database cannot be opened");
    match hint {
        Some(hint) => anyhow::anyhow!("{error:#}; {hint}"),
        None => error,
    }
}

/// How the database is opened.
pub fn store_config(config: &Config) -> anyhow::Result<StoreConfig> {
    let store = &config.store;
    let url = match &store.url {
        Some(url) => url.reveal().to_owned(),
        None => format!("sqlite:{}", config.data.path(DATABASE_FILE).display()),
    };
    Ok(StoreConfig {
        shared: config.cluster.node.is_some(),
        encrypt_messages: store.encrypt_messages,
        synchronous: match store.synchronous {
            config::Synchronous::Full => Synchronous::Full,
            config::Synchronous::Normal => Synchronous::Normal,
        },
        writer: WriterLimits {
            queue_max: store.queue_max,
            batch_max_ops: store.batch_max_ops,
            status_max_wait: store.status_max_wait,
            retry_for: store.retry_for,
        },
        readers_max: store.readers_max.get(),
        acquire_timeout: store.acquire_timeout,
        busy_timeout: store.busy_timeout,
        // A size always fits.
        disk_floor: store.disk_floor as u64,
        transaction_timeout: store.transaction_timeout,
        page_bytes_max: store.page_bytes_max,
        idle_transaction_timeout: store.idle_transaction_timeout,
        delivery_retention: store.delivery_retention,
        ..StoreConfig::with_keys(url, key_source(config)?)
    })
}

/// Where the master keys come from.
fn key_source(config: &Config) -> anyhow::Result<KeySource> {
    let store = &config.store;
    let Some(first) = &store.master_key else {
        let file = store.master_key_file.clone();
        return Ok(KeySource::File(
            file.unwrap_or_else(|| config.data.path(MASTER_KEY_FILE)),
        ));
    };
    let further: Result<Vec<_>, _> = store
        .previous_master_keys
        .iter()
        .map(|key| MasterKey::from_text(key.reveal()))
        .collect();
    Ok(KeySource::Given(MasterKeys {
        first: MasterKey::from_text(first.reveal()).context("store.master_key")?,
        further: further.context("store.previous_master_keys")?,
    }))
}

/// The engine. It trusts `trusted_pem` beside what the configuration names.
pub fn engine(
    config: &Config,
    trusted_pem: &str,
    store: &Arc<SqlStore>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<WebEngine> {
    let whatsapp = &config.whatsapp;
    let mut extra_roots_pem = match &whatsapp.extra_roots_file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("whatsapp.extra_roots_file {} cannot be read", path.display()))?,
        None => String::new(),
    };
    // A file may end without a line break.
    extra_roots_pem.push('\n');
    extra_roots_pem.push_str(trusted_pem);
    let defaults = WebEngineConfig::default();
    let settings = WebEngineConfig {
        endpoint: whatsapp.url.to_string(),
        client_version: whatsapp
            .client_version
            .map_or(defaults.client_version, |version| {
                (version.0, version.1, version.2)
            }),
        device_name: whatsapp.device_name.clone(),
        extra_roots_pem,
        connect_timeout: whatsapp.connect_timeout,
        pairing_timeout: whatsapp.pairing_timeout,
        probe_interval: whatsapp.probe_interval,
        probe_timeout: whatsapp.probe_timeout,
        send_timeout: config.session.send_attempt_timeout,
        ..defaults
    };
    WebEngine::new(settings, store.clone(), Arc::clone(clock), Arc::clone(entropy))
        .context("section [whatsapp]")
}

/// What posts to webhooks; in a cluster under the node's lease.
pub fn webhook_client(
    config: &Config,
    clock: &Arc<dyn Clock>,
    lease: Option<Arc<dyn Lease>>,
) -> anyhow::Result<OutgoingClient> {
    let client = &config.webhooks.client;
    let lookup = Arc::new(SystemLookup::new(client.lookups_max, client.lookup_ttl));
    OutgoingClient::new(client, lookup, Arc::clone(clock), lease).context("section [webhooks.client]")
}

fn webhook_settings(webhooks: &config::Webhooks) -> WebhookSettings {
    WebhookSettings {
        per_tenant_max: webhooks.per_tenant_max,
        concurrency_default: webhooks.concurrency_default,
        concurrency_max: webhooks.concurrency_max,
        host_in_flight_max: webhooks.host_in_flight_max,
        in_flight_max: webhooks.in_flight_max,
        timeout: webhooks.timeout,
        schedule: webhooks.retry_schedule.clone(),
        jitter_percent: webhooks.jitter_percent,
        retry_after_max: webhooks.retry_after_max,
        disable_after: webhooks.disable_after,
        breaker_failures: webhooks.breaker_failures,
        breaker_window: webhooks.breaker_window,
        breaker_percent: webhooks.breaker_percent,
        probe_first: webhooks.probe_first,
        probe_max: webhooks.probe_max,
        probe_percent: webhooks.probe_percent,
        hurry_attempts_max: webhooks.hurry_attempts_max,
        read_ahead: webhooks.read_ahead,
        parked_max: webhooks.parked_max,
        unsettled_max: webhooks.unsettled_max,
        settle_batch: webhooks.settle_batch,
        settle_every: webhooks.settle_every,
        cursor_every: webhooks.cursor_every,
        bodies_max: webhooks.bodies_max,
        redrive_max: webhooks.redrive_max,
        replays_max: webhooks.replays_max,
        drain_timeout: webhooks.drain_timeout,
        secret_overlap: webhooks.secret_overlap,
        secret_overlap_max: webhooks.secret_overlap_max,
    }
}

fn bucket_settings(buckets: &config::Buckets) -> BucketSettings {
    BucketSettings {
        max: buckets.max,
        deadline: buckets.timeout,
        owner_deadline: buckets.owner_timeout,
        lease_max: buckets.lease_max,
        lease_life: buckets.lease_life,
        passivate_after: buckets.passivate_after,
        sweep_every: buckets.sweep_every,
    }
}

/// Limits and time-outs of the actors.
pub fn settings(config: &Config) -> Settings {
    let Config {
        session,
        start_gate,
        backoff,
        events,
        stop,
        webhooks,
        ..
    } = config;
    Settings {
        webhooks: webhook_settings(webhooks),
        buckets: bucket_settings(&config.buckets),
        connected_time_every: session.connected_time_every,
        dials_max: start_gate.dials_max,
        dials_per_second: start_gate.dials_per_second,
        dial_timeout: session.dial_timeout,
        pairing_max: session.pairing_max,
        backoff_first: backoff.first,
        backoff_max: backoff.longest,
        backoff_reset_after: backoff.reset_after,
        quarantine_panics: backoff.quarantine_panics,
        quarantine_window: backoff.quarantine_window,
        passivate_after: session.passivate_after,
        send_permits: session.send_permits,
        query_permits: session.query_permits,
        control_permits: session.control_permits,
        send_timeout: session.send_timeout,
        query_timeout: session.query_timeout,
        control_timeout: session.control_timeout,
        ack_wait_max: config.http.wait_max,
        outbox_max: session.outbox_max,
        outbox_memory_max: session.outbox_memory_max,
        chats_in_parallel: session.chats_in_parallel,
        send_attempt_timeout: session.send_attempt_timeout,
        ack_timeout: session.ack_timeout,
        typing_per_char: session.typing_per_char,
        typing_min: session.typing_min,
        typing_max: session.typing_max,
        message_ttl: session.message_ttl,
        instances_per_tenant_max: session.instances_per_tenant_max,
        ring_events_max: events.ring_events_max,
        ring_bytes_max: events.ring_bytes_max,
        rings_bytes_max: events.rings_bytes_max,
        subscriptions_max: events.subscriptions_max,
        peers_poll: config.cluster.poll,
        retention: events.retention,
        stop_session_timeout: stop.session_timeout,
        stop_timeout: stop.sessions_timeout,
        ..Settings::default()
    }
}
