//! The sections of the configuration. `config/default.toml` says what each key means.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::value::{Secret, SecretUrl, duration, optional, size};

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder of everything on disk.
    pub dir: PathBuf,
}

/// When SQLite counts a commit as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// After an fsync.
    Full,
    /// Without one.
    Normal,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The database; none is a file in the data folder.
    #[serde(with = "optional")]
    pub url: Option<SecretUrl>,
    /// The master key; none is one from a file.
    #[serde(with = "optional")]
    pub master_key: Option<Secret>,
    /// Earlier master keys, under which values may still be encrypted.
    pub previous_master_keys: Vec<Secret>,
    /// The master key's file; none is one in the data folder.
    #[serde(with = "optional")]
    pub master_key_file: Option<PathBuf>,
    /// Whether what messages say is encrypted in the database too.
    pub encrypt_messages: bool,
    /// When SQLite counts a commit as durable.
    pub synchronous: Synchronous,
    /// Writes that may wait.
    pub queue_max: usize,
    /// Writes in one transaction.
    pub batch_max_ops: usize,
    /// How long a status of a message waits for other writes to commit with.
    #[serde(with = "duration")]
    pub status_max_wait: Duration,
    /// For how long a write is tried again.
    #[serde(with = "duration")]
    pub retry_for: Duration,
    /// Connections for reading.
    pub readers_max: NonZeroU32,
    /// How long a read waits for a connection.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// How long SQLite waits for a lock.
    #[serde(with = "duration")]
    pub busy_timeout: Duration,
    /// Bytes of the disk that SQLite leaves free.
    #[serde(with = "size")]
    pub disk_floor: usize,
    /// How long a transaction on PostgreSQL may take.
    #[serde(with = "duration")]
    pub transaction_timeout: Duration,
    /// Bytes of one page of the event log.
    #[serde(with = "size")]
    pub page_bytes_max: usize,
    /// How long PostgreSQL waits within a transaction for its next statement.
    #[serde(with = "duration")]
    pub idle_transaction_timeout: Duration,
    /// How long a delivered row of a webhook's list is kept.
    #[serde(with = "duration")]
    pub delivery_retention: Duration,
}

/// `[whatsapp]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whatsapp {
    /// WebSocket address.
    pub url: url::Url,
    /// Certificates to trust beside the usual roots.
    #[serde(with = "optional")]
    pub extra_roots_file: Option<PathBuf>,
    /// Version of WhatsApp Web to present.
    #[serde(with = "optional")]
    pub client_version: Option<ClientVersion>,
    /// Name of this device on the phone.
    pub device_name: String,
    /// Time for a TCP connection.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Time for a phone to use a code.
    #[serde(with = "duration")]
    pub pairing_timeout: Duration,
    /// How often a silent link is probed.
    #[serde(with = "duration")]
    pub probe_interval: Duration,
    /// Time for the answer to a probe.
    #[serde(with = "duration")]
    pub probe_timeout: Duration,
}

/// A version of WhatsApp Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientVersion(pub u32, pub u32, pub u32);

impl FromStr for ClientVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(first)), Some(Ok(second)), Some(Ok(third)), None) => Ok(Self(first, second, third)),
            _ => Err("expected a version such as \"2.3000.1234567890\""),
        }
    }
}

impl Serialize for ClientVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{}.{}", self.0, self.1, self.2))
    }
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Instances of one tenant.
    pub instances_per_tenant_max: u64,
    /// Sends in progress for one instance.
    pub send_permits: usize,
    /// Queries in progress for one instance.
    pub query_permits: usize,
    /// Orders in progress for one instance.
    pub control_permits: usize,
    /// Time for a send.
    #[serde(with = "duration")]
    pub send_timeout: Duration,
    /// Time for a query.
    #[serde(with = "duration")]
    pub query_timeout: Duration,
    /// Time for an order.
    #[serde(with = "duration")]
    pub control_timeout: Duration,
    /// Messages waiting to be sent for one instance.
    pub outbox_max: u64,
    /// How many of those are in memory.
    pub outbox_memory_max: usize,
    /// Chats sent to at the same time.
    pub chats_in_parallel: usize,
    /// Time to write a message.
    #[serde(with = "duration")]
    pub send_attempt_timeout: Duration,
    /// Time for its acknowledgement.
    #[serde(with = "duration")]
    pub ack_timeout: Duration,
    /// Typing shown before a text, for each of its characters.
    #[serde(with = "duration")]
    pub typing_per_char: Duration,
    /// Shortest typing.
    #[serde(with = "duration")]
    pub typing_min: Duration,
    /// Longest typing.
    #[serde(with = "duration")]
    pub typing_max: Duration,
    /// When an unsent message is given up.
    #[serde(with = "duration")]
    pub message_ttl: Duration,
    /// Time for a link to come up.
    #[serde(with = "duration")]
    pub dial_timeout: Duration,
    /// Time to pair.
    #[serde(with = "duration")]
    pub pairing_max: Duration,
    /// How long a stopped session stays in memory.
    #[serde(with = "duration")]
    pub passivate_after: Duration,
    /// How often the time that instances were connected is written.
    #[serde(with = "duration")]
    pub connected_time_every: Duration,
}

/// `[start_gate]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartGate {
    /// Dials at once.
    pub dials_max: usize,
    /// Dials per second.
    pub dials_per_second: NonZeroU32,
}

/// `[backoff]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// First wait.
    #[serde(with = "duration")]
    pub first: Duration,
    /// Longest wait.
    #[serde(with = "duration")]
    pub longest: Duration,
    /// Health after which it starts over.
    #[serde(with = "duration")]
    pub reset_after: Duration,
    /// Panics that lead to quarantine.
    pub quarantine_panics: u32,
    /// Within this time.
    #[serde(with = "duration")]
    pub quarantine_window: Duration,
}

/// `[events]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// How long events and messages are kept.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// Recent events in memory, per tenant.
    pub ring_events_max: usize,
    /// Their size, per tenant.
    #[serde(with = "size")]
    pub ring_bytes_max: usize,
    /// Their size in all.
    #[serde(with = "size")]
    pub rings_bytes_max: usize,
    /// Open streams of all tenants.
    pub subscriptions_max: usize,
}

/// `[stop]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Time for requests at work.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// Time for one session.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// Time for all sessions.
    #[serde(with = "duration")]
    pub sessions_timeout: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged.
    pub filter: String,
}

/// `[sandbox]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it serves media.
    pub media_listen: SocketAddr,
}

impl Data {
    /// A path in the data folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }
}
