//! What a sandbox may use, and for how long it waits.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::node::Limits;

/// Settings of one sandbox. [`SandboxConfig::default`] suits tests: loopback, a free port.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where the WebSocket and the control API listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where state is kept across restarts; without it everything ends with the process.
    pub data_dir: Option<PathBuf>,
    /// Open WebSocket connections.
    pub links_max: usize,
    /// Those among them whose client has not logged in: handshakes and pairings.
    pub unauthenticated_links_max: usize,
    /// Open HTTP connections, those about to become a WebSocket included. When there are more, those
    /// go first whose clients have kept the sandbox waiting longest.
    pub http_connections_max: usize,
    pub accounts_max: usize,
    pub companions_per_account_max: usize,
    /// From the TCP connection to the end of the Noise handshake, each of both halves.
    pub handshake_timeout: Duration,
    /// Without a byte from the client for this long, the connection is closed.
    pub idle_timeout: Duration,
    /// How long a client may take to accept what is written to it.
    pub write_timeout: Duration,
    /// How long a scan or a link code waits for the companion to finish.
    pub pairing_timeout: Duration,
    /// Longest frame of an established connection.
    pub frame_bytes_max: usize,
    /// Longest frame before the handshake is complete.
    pub handshake_frame_bytes_max: usize,
    pub stanza_limits: Limits,
    /// Answers waiting to be written to one client.
    pub outbox_frames_max: usize,
    pub outbox_bytes_max: usize,
    /// Stanzas kept for one companion until it settles them.
    pub queue_entries_max: usize,
    pub queue_bytes_max: usize,
    /// Stanzas waiting for one virtual phone.
    pub phone_inbox_max: usize,
    pub phone_inbox_bytes_max: usize,
    /// Decrypted messages one virtual phone remembers; the oldest are forgotten.
    pub phone_messages_max: usize,
    /// What they may take together, and again those it sent, and the files it knows; the latest one is
    /// remembered whatever it takes.
    pub phone_messages_bytes_max: usize,
    /// Groups in the sandbox, ended ones not counted.
    pub groups_max: usize,
    pub groups_per_account_max: usize,
    pub group_members_max: usize,
    /// Accounts that wait for an admin to let them into one group.
    pub group_requests_max: usize,
    pub group_subject_chars_max: usize,
    pub group_description_chars_max: usize,
    /// Messages a new companion gets from its phone.
    pub history_messages_max: usize,
    /// Up to here, deflated, a part of the history travels inside the message that announces it;
    /// longer ones are uploaded as media. 0 uploads all.
    pub history_inline_bytes_max: usize,
    /// App-state patches kept per collection.
    pub patches_max: usize,
    /// All app-state patches of one account.
    pub app_state_bytes_max: usize,
    /// From so many patches on, a companion that has nothing of a collection gets a snapshot of it.
    pub app_state_snapshot_min: usize,
    /// Rules of one virtual phone.
    pub rules_max: usize,
    /// Answers by rule that one virtual phone has yet to give.
    pub answers_due_max: usize,
    /// Steps of one scenario.
    pub scenario_steps_max: usize,
    /// Scenarios that run at the same time.
    pub scenarios_running_max: usize,
    /// Scenarios that are kept, those that have ended included until there is no room.
    pub scenarios_max: usize,
    /// Faults that are kept, those that have ended included until there is no room.
    pub faults_max: usize,
    /// What chance faults start from: with the same seed, the same chances strike.
    pub fault_seed: u64,
    /// How long a fault may keep one connection silent.
    pub silence_timeout: Duration,
    /// Logins kept for each device as evidence.
    pub ledger_logins_max: usize,
    /// Frames kept for each device as evidence; 0 keeps none.
    pub ledger_frames_max: usize,
    /// Body of a control call.
    pub body_bytes_max: usize,
    /// Where media is served over TLS; port 0 picks a free one.
    pub media_listen: SocketAddr,
    /// Names and addresses the media certificate is valid for, besides this machine's own and
    /// WhatsApp's. Clients are told the first one; without any, they are told the address.
    pub media_names: Vec<String>,
    /// Where the certificate that clients have to trust is written to, besides the data folder.
    pub ca_file: Option<PathBuf>,
    pub media_connections_max: usize,
    /// Body of a control call that carries a medium.
    pub media_body_bytes_max: usize,
    /// Longest uploaded file, encrypted.
    pub media_blob_bytes_max: u64,
    /// All stored files, with a data folder and without one.
    pub media_disk_bytes_max: u64,
    pub media_memory_bytes_max: u64,
    /// Addresses of stored files.
    pub media_files_max: usize,
    /// How long the address of an uploaded file is good for.
    pub media_ttl: Duration,
    /// How long a token for uploads is good for.
    pub media_auth_ttl: Duration,
    /// Longest profile picture.
    pub picture_bytes_max: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: None,
            links_max: 20_000,
            unauthenticated_links_max: 4_096,
            http_connections_max: 1_024,
            accounts_max: 50_000,
            companions_per_account_max: 16,
            handshake_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(20),
            pairing_timeout: Duration::from_secs(20),
            frame_bytes_max: 1 << 20,
            handshake_frame_bytes_max: 16 << 10,
            stanza_limits: Limits::default(),
            outbox_frames_max: 8_192,
            outbox_bytes_max: 8 << 20,
            queue_entries_max: 10_000,
            queue_bytes_max: 16 << 20,
            phone_inbox_max: 10_000,
            phone_inbox_bytes_max: 16 << 20,
            phone_messages_max: 10_000,
            phone_messages_bytes_max: 64 << 20,
            groups_max: 20_000,
            groups_per_account_max: 2_000,
            group_members_max: 1_024,
            group_requests_max: 1_024,
            group_subject_chars_max: 100,
            group_description_chars_max: 2_048,
            history_messages_max: 5_000,
            history_inline_bytes_max: 64 << 10,
            patches_max: 10_000,
            app_state_bytes_max: 32 << 20,
            app_state_snapshot_min: 500,
            rules_max: 100,
            answers_due_max: 1_000,
            scenario_steps_max: 1_000,
            scenarios_running_max: 32,
            scenarios_max: 100,
            faults_max: 1_000,
            fault_seed: 1,
            silence_timeout: Duration::from_secs(600),
            ledger_logins_max: 1_000,
            ledger_frames_max: 200,
            body_bytes_max: 128 << 10,
            media_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            media_names: Vec::new(),
            ca_file: None,
            media_connections_max: 1_024,
            media_body_bytes_max: 24 << 20,
            media_blob_bytes_max: 128 << 20,
            media_disk_bytes_max: 16 << 30,
            media_memory_bytes_max: 512 << 20,
            media_files_max: 200_000,
            media_ttl: Duration::from_secs(14 * 24 * 3_600),
            media_auth_ttl: Duration::from_secs(6 * 3_600),
            picture_bytes_max: 512 << 10,
        }
    }
}
