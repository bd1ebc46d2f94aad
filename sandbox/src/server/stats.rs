//! Counters of a sandbox, as `GET /sandbox/v1/stats` shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters.
        #[derive(Debug, Default)]
        pub(super) struct Counters { $($(#[$doc])* pub $name: Count,)* }

        /// Counters since the start.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub struct CounterValues { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            pub(super) fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Frames read from clients and frames written to them.
    frames_in,
    frames_out,
    bytes_in,
    bytes_out,
    handshakes,
    /// Handshakes that failed or were not finished in time.
    handshakes_failed,
    logins,
    logins_refused,
    pairings,
    /// Messages accepted from a companion or a phone, once per message.
    messages_accepted,
    /// Messages that were resent under an id already accepted from that device.
    messages_repeated,
    /// Copies put into a companion's queue or a phone's inbox.
    messages_routed,
    messages_refused,
    /// Messages of which no copy reached the receiver, who blocks the sender.
    messages_swallowed,
    /// Decrypted messages that phones forgot to make room for later ones.
    messages_forgotten,
    receipts_routed,
    retry_receipts,
    /// Receipts, notifications, presences and copies of group messages dropped because a queue was full.
    dropped,
    /// Queries without an answer of their own; they got an empty result.
    unknown_queries,
    /// HTTP connections that lost their place to another one while their client kept silent.
    connections_displaced,
    /// Connections closed because of what the client sent.
    protocol_errors,
    /// Media files uploaded to the media service and fetched from it.
    media_uploads,
    media_downloads,
    /// Messages a virtual phone could not decrypt.
    phone_decrypt_failures,
}

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The answer of `GET /sandbox/v1/stats`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {
    pub accounts: u64,
    /// Linked companions.
    pub devices: u64,
    /// Companions that are logged in now.
    pub connected: u64,
    /// Open WebSocket connections, unpaired ones included.
    pub links: u64,
    /// Stanzas companions have not settled yet.
    pub queued: u64,
    pub groups: u64,
    /// Bytes of the files the media service holds.
    pub media_bytes: u64,
    pub uptime_ms: u64,
    /// Faults that can strike now.
    pub faults_active: u64,
    /// How often any fault has struck.
    pub faults_struck: u64,
    /// Scenarios that run.
    pub scenarios_running: u64,
    /// Frames written into the ledgers of devices.
    pub ledger_frames: u64,
    #[serde(flatten)]
    pub counters: CounterValues,
}
