//! Webhooks: each a filter and a cursor over its tenant's event log, run by an actor of its own.
//!
//! ```text
//!   HTTP ──> Webhooks ──permit──> WebhookActor ──> Machine ──effects──> WebhookClient (one POST)
//!            (handle)             (shell, Hook)                ├──────> Store (settlements, parked rows)
//!   log ──> Reader ───inbox───────────┘                        └──────> Reader (how much to read)
//! ```
//!
//! [`Webhooks`] is what callers hold. The actor is a shell around a pure machine (`machine`): it never
//! waits in a handler, but runs tasks which report back. The reader tails the log over the tenant's shared
//! ring and stops when the machine says so: the log is the backlog, and memory stays flat behind a slow
//! endpoint.
//!
//! What the machine promises has ids: D1, D2 and D3, in its header.
//!
//! After a crash: the cursor and the parked rows are in the store, and everything beyond the cursor is
//! read again. Outcomes are written up to `settle_every` after their POSTs, so a crash repeats the POSTs
//! whose outcomes it lost, under the same `webhook-id`, and loses none. A deliverer that another owner has
//! fenced writes nothing and ends.

mod actor;
pub(crate) mod ask;
mod breaker;
mod call;
mod deliver;
mod drive;
mod handle;
mod hook;
mod hosts;
mod kind;
mod machine;
mod message;
mod pace;
mod payload;
mod reader;
mod schedule;
mod settings;
mod signature;
mod stats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use roost_domain::event::Event;
use roost_domain::webhook::client::WebhookClient;

pub use call::{
    BreakerState, CreateWebhook, Latency, PublishEvent, RedriveRequest, ReplayRequest, ReplayStarted,
    TestResult, WebhookNumbers, WebhookStats,
};
pub use handle::Webhooks;
pub(crate) use handle::WebhooksParts;
pub(crate) use kind::WebhookKind;
pub(crate) use reader::coarse;
pub use settings::WebhookSettings;
#[cfg(test)]
pub(crate) use tests::endpoint::{Says, ScriptedEndpoint};

use self::hosts::Hosts;
use self::stats::Counters;
use crate::Streams;
use crate::node::NodeContext;

/// What all webhooks of a node share.
pub(crate) struct WebhookNode {
    pub(crate) node: Arc<NodeContext>,
    client: Arc<dyn WebhookClient>,
    streams: Streams,
    hosts: Hosts,
    counters: Counters,
    settings: Arc<WebhookSettings>,
}

impl WebhookNode {
    pub(crate) fn new(node: Arc<NodeContext>, client: Arc<dyn WebhookClient>, streams: Streams) -> Self {
        let settings = Arc::new(node.settings.webhooks.clone());
        Self {
            hosts: Hosts::new(settings.host_in_flight_max, settings.in_flight_max),
            counters: Counters::default(),
            node,
            client,
            streams,
            settings,
        }
    }
}

/// What an event is in order with: its chat, or else its instance, or else its tenant.
fn order_key(event: &Event) -> Arc<str> {
    match (&event.chat, event.instance_id) {
        (Some(chat), _) => chat.to_string().into(),
        (None, Some(instance)) => instance.to_string().into(),
        (None, None) => "".into(),
    }
}
