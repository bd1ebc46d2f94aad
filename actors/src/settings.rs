//! Every limit and time-out of the runtime, with its default. The configuration fills it.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::bucket::BucketSettings;
use crate::webhook::WebhookSettings;

/// Limits and time-outs of the runtime.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Dials at most at the same time, over all sessions of the node. Default 64.
    pub dials_max: usize,
    /// Dials at most in each second. Default 250.
    pub dials_per_second: NonZeroU32,
    /// How long a link may take to be connected, or to show its first pairing code. Default 60 s.
    pub dial_timeout: Duration,
    /// How long one call to connect may keep trying to pair over lost links. Default 10 min.
    pub pairing_max: Duration,
    /// First wait after a failure; doubles with each further one. Default 1 s.
    pub backoff_first: Duration,
    /// Longest wait after a failure. Default 5 min.
    pub backoff_max: Duration,
    /// Health after which a failure counts as the first again. Default 60 s.
    pub backoff_reset_after: Duration,
    /// Panics within [`Self::quarantine_window`] that put an actor into quarantine. Default 5.
    pub quarantine_panics: u32,
    /// Window in which panics are counted. Default 10 min.
    pub quarantine_window: Duration,
    /// How long a stopped session's actor stays in memory without a call. Default 60 s.
    pub passivate_after: Duration,

    /// Send calls at most in progress per session. Default 64.
    pub send_permits: usize,
    /// Queries at most in progress per session. Default 16.
    pub query_permits: usize,
    /// Control calls (connect, disconnect, …) at most in progress per session. Default 4.
    pub control_permits: usize,
    /// Longest a send call takes, without the wait for the server's ack. Default 10 s.
    pub send_timeout: Duration,
    /// Longest a query takes; a query for a code waits so long for the first one. Default 5 s.
    pub query_timeout: Duration,
    /// Longest a control call takes. Default 15 s.
    pub control_timeout: Duration,
    /// Longest a call may wait for the server's ack. Default 60 s.
    pub ack_wait_max: Duration,

    /// Accepted and unsent messages at most per session. Default 10,000.
    pub outbox_max: u64,
    /// How many of these a session holds in memory; the others wait in the store. Default 256.
    pub outbox_memory_max: usize,
    /// Chats of one session that are sent to at the same time. Default 8.
    pub chats_in_parallel: usize,
    /// How long one attempt to hand a message to the link may take. Default 30 s.
    pub send_attempt_timeout: Duration,
    /// How long a message on the wire waits for the server's ack before it is sent again. Default 20 s.
    pub ack_timeout: Duration,
    /// How long a chat is shown typing before it gets a text from an instance that is to show it, for each
    /// character. Default 30 ms.
    pub typing_per_char: Duration,
    /// Shortest typing. Default 500 ms.
    pub typing_min: Duration,
    /// Longest typing. Default 6 s.
    pub typing_max: Duration,
    /// How long after its acceptance an unsent message is given up. Default 24 h.
    pub message_ttl: Duration,
    /// Facts of one link that wait to be handled at most; more are dropped and counted. Default 65,536.
    pub facts_max: usize,
    /// Status changes written at most in one step. Default 512.
    pub status_batch_max: usize,
    /// Status changes of one session that wait to be written at most; beyond it receipts are dropped
    /// and counted, never acks and failures. Default 16,384.
    pub status_queue_max: usize,

    /// Instances a tenant may have. Default 10,000.
    pub instances_per_tenant_max: u64,

    /// Recent events kept in memory per followed tenant, by number. Default 4,096.
    pub ring_events_max: usize,
    /// Recent events kept in memory per followed tenant, by size. Default 4 MiB.
    pub ring_bytes_max: usize,
    /// Recent events kept in memory over all tenants, by size. Default 64 MiB.
    pub rings_bytes_max: usize,
    /// Subscriptions at most on this node. Default 10,000.
    pub subscriptions_max: usize,
    /// How often a subscription looks into the log without having been woken. Default 15 s.
    pub subscription_poll: Duration,
    /// How often a node of a cluster looks what others have changed without having been told. Default 1 s.
    pub peers_poll: Duration,

    /// How often overdue messages are expired. Default 5 s.
    pub expire_every: Duration,
    /// Overdue messages expired at most in one step. Default 1,000.
    pub expire_batch: u32,
    /// How often old rows are swept out. Default 60 s.
    pub sweep_every: Duration,
    /// How long events and messages are kept. Default 30 days.
    pub retention: Duration,

    /// How often the time that instances were connected is written. Default 60 s.
    pub connected_time_every: Duration,

    /// Limits and time-outs of webhooks.
    pub webhooks: WebhookSettings,
    /// Limits and time-outs of buckets.
    pub buckets: BucketSettings,

    /// Sessions stopped at the same time. Default 64.
    pub stop_wave: usize,
    /// How long a session that stops waits for acks of what is on the wire. Default 1 s.
    pub drain_timeout: Duration,
    /// Longest a session may take to close its link on a stop; then it is killed. Default 5 s.
    pub stop_session_timeout: Duration,
    /// Longest the whole stop may take. Default 25 s.
    pub stop_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        let seconds = Duration::from_secs;
        Self {
            dials_max: 64,
            dials_per_second: const { NonZeroU32::new(250).unwrap() },
            dial_timeout: seconds(60),
            pairing_max: seconds(600),
            backoff_first: seconds(1),
            backoff_max: seconds(300),
            backoff_reset_after: seconds(60),
            quarantine_panics: 5,
            quarantine_window: seconds(600),
            passivate_after: seconds(60),
            send_permits: 64,
            query_permits: 16,
            control_permits: 4,
            send_timeout: seconds(10),
            query_timeout: seconds(5),
            control_timeout: seconds(15),
            ack_wait_max: seconds(60),
            outbox_max: 10_000,
            outbox_memory_max: 256,
            chats_in_parallel: 8,
            send_attempt_timeout: seconds(30),
            ack_timeout: seconds(20),
            typing_per_char: Duration::from_millis(30),
            typing_min: Duration::from_millis(500),
            typing_max: seconds(6),
            message_ttl: seconds(24 * 3600),
            facts_max: 65_536,
            status_batch_max: 512,
            status_queue_max: 16_384,
            instances_per_tenant_max: 10_000,
            ring_events_max: 4_096,
            ring_bytes_max: 4 * MIB,
            rings_bytes_max: 64 * MIB,
            subscriptions_max: 10_000,
            subscription_poll: seconds(15),
            peers_poll: seconds(1),
            expire_every: seconds(5),
            expire_batch: 1_000,
            sweep_every: seconds(60),
            retention: seconds(30 * 24 * 3600),
            connected_time_every: seconds(60),
            webhooks: WebhookSettings::default(),
            buckets: BucketSettings::default(),
            stop_wave: 64,
            drain_timeout: seconds(1),
            stop_session_timeout: seconds(5),
            stop_timeout: seconds(25),
        }
    }
}
