//! What has to hold between keys.

use std::time::Duration;

use super::{Config, ConfigError, WebhookClient};

/// What `roost` promises to be gone in, whatever happens: below the 30 s that most service managers
/// wait before they kill.
const STOP_MAX: Duration = Duration::from_secs(25);

/// Everything that does not fit together.
pub fn relations(config: &Config) -> Vec<ConfigError> {
    let mut wrong = Vec::new();
    let mut need = |holds: bool, key: &str, problem: &str| {
        if !holds {
            wrong.push(ConfigError {
                source: "configuration".into(),
                key: Some(key.into()),
                problem: problem.into(),
            });
        }
    };
    let Config {
        store,
        whatsapp,
        session,
        backoff,
        stop,
        events,
        ..
    } = config;
    let second = Duration::from_secs(1);
    super::http::relations(config, &mut need);
    need(
        store.master_key.is_some() || store.previous_master_keys.is_empty(),
        "store.previous_master_keys",
        "belongs to store.master_key; a key file has its earlier keys in it",
    );
    need(
        store
            .url
            .as_ref()
            .is_none_or(|url| ["sqlite", "postgres", "postgresql"].contains(&url.scheme())),
        "store.url",
        "must begin with sqlite: or postgres://",
    );
    need(
        store.queue_max >= 1 && store.batch_max_ops >= 1,
        "store.queue_max",
        "this and store.batch_max_ops must be at least 1",
    );
    need(
        store.retry_for < session.send_timeout,
        "store.retry_for",
        "must be shorter than session.send_timeout",
    );
    need(
        store.page_bytes_max >= 64 << 10,
        "store.page_bytes_max",
        "must be at least 64KiB",
    );
    need(
        store.disk_floor >= 1 << 20,
        "store.disk_floor",
        "must be at least 1MiB",
    );
    need(
        store.delivery_retention >= 60 * second,
        "store.delivery_retention",
        "must be at least 1m",
    );
    need(
        session.send_permits >= 1 && session.query_permits >= 1 && session.control_permits >= 1,
        "session.send_permits",
        "this, session.query_permits and session.control_permits must be at least 1",
    );
    need(
        session.chats_in_parallel >= 1 && session.outbox_memory_max >= 1,
        "session.chats_in_parallel",
        "this and session.outbox_memory_max must be at least 1",
    );
    need(
        session.typing_min <= session.typing_max,
        "session.typing_min",
        "must not be longer than session.typing_max",
    );
    need(
        session.typing_max <= 60 * second,
        "session.typing_max",
        "must be at most 1m",
    );
    need(
        session.ack_timeout < session.message_ttl,
        "session.ack_timeout",
        "must be shorter than session.message_ttl",
    );
    need(
        session.dial_timeout <= session.pairing_max,
        "session.dial_timeout",
        "must not be longer than session.pairing_max",
    );
    need(
        !whatsapp.connect_timeout.is_zero()
            && !whatsapp.pairing_timeout.is_zero()
            && !whatsapp.probe_interval.is_zero()
            && !whatsapp.probe_timeout.is_zero(),
        "whatsapp.connect_timeout",
        "this and the other time-outs of the section must be longer than zero",
    );
    need(
        (1..=50).contains(&whatsapp.device_name.chars().count()),
        "whatsapp.device_name",
        "must have 1 to 50 characters",
    );
    need(
        config.start_gate.dials_max >= 1,
        "start_gate.dials_max",
        "must be at least 1",
    );
    need(
        !backoff.first.is_zero() && backoff.first <= backoff.longest,
        "backoff.first",
        "must be longer than zero and not longer than backoff.longest",
    );
    need(
        events.ring_bytes_max <= events.rings_bytes_max,
        "events.ring_bytes_max",
        "must not be larger than events.rings_bytes_max",
    );
    need(
        session.message_ttl < events.retention,
        "events.retention",
        "must be longer than session.message_ttl",
    );
    super::webhooks::relations(config, &mut need);
    super::buckets::relations(config, &mut need);
    need(
        !session.connected_time_every.is_zero(),
        "session.connected_time_every",
        "must be longer than zero",
    );
    super::cluster::relations(config, &mut need);
    super::keys::relations(config, &mut need);
    super::limits::relations(config, &mut need);
    need(
        stop.session_timeout <= stop.sessions_timeout,
        "stop.session_timeout",
        "must not be longer than stop.sessions_timeout",
    );
    need(
        stop.drain + stop.sessions_timeout + 2 * second <= STOP_MAX,
        "stop.drain",
        "with stop.sessions_timeout must leave 2s of 25s",
    );
    need(
        config.sandbox.listen.ip().is_loopback(),
        "sandbox.listen",
        "must be a loopback address: the sandbox has no keys",
    );
    need(
        config.sandbox.media_listen.ip().is_loopback(),
        "sandbox.media_listen",
        "must be a loopback address, as sandbox.listen",
    );
    webhook_client(&config.webhooks.client, need);
    wrong
}

fn webhook_client(client: &WebhookClient, mut need: impl FnMut(bool, &str, &str)) {
    need(
        !client.connect_timeout.is_zero(),
        "webhooks.client.connect_timeout",
        "must be longer than zero",
    );
    need(
        client.lookup_ttl <= Duration::from_secs(300),
        "webhooks.client.lookup_ttl",
        "must not be longer than 5m",
    );
    need(
        (1..=256).contains(&client.lookups_max),
        "webhooks.client.lookups_max",
        "must be 1 to 256: each takes a thread",
    );
    need(
        (1..=1 << 20).contains(&client.pool_max) && client.idle_per_host_max <= client.pool_max,
        "webhooks.client.pool_max",
        "must be 1 to 1048576 and at least webhooks.client.idle_per_host_max",
    );
    need(
        (8192..=1 << 20).contains(&client.head_bytes_max),
        "webhooks.client.head_bytes_max",
        "must be 8KiB to 1MiB",
    );
    need(
        (4096..=1 << 20).contains(&client.body_bytes_max),
        "webhooks.client.body_bytes_max",
        "must be 4KiB to 1MiB",
    );
}
