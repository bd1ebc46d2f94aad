//! What is asked of the owner of a webhook, as nodes of a cluster send it to each other.

use std::sync::Arc;

use bytes::Bytes;
use roost_domain::peer::{Kind, WireError};
use roost_domain::webhook::store::ReplayScope;
use roost_domain::{Slot, TenantId, WebhookId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::call::{ReplayStarted, TestResult, WebhookStats};
use super::handle::Webhooks;
use super::kind::WebhookKind;
use crate::CallError;
use crate::cluster::route::{self, Ask, Desk};
use crate::node::NodeContext;
use crate::registry::Kind as _;

/// Everything that is asked of the owner of a webhook. Names and forms are spoken between releases.
#[derive(Serialize, Deserialize)]
pub(crate) enum WebhookAsk {
    Changed(ChangedAsk),
    Drive(DriveAsk),
    Replay(ReplayAsk),
    Test(TestAsk),
    Stats(StatsAsk),
}

/// The row was made, changed or removed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ChangedAsk {
    pub tenant: TenantId,
    pub webhook: WebhookId,
    /// Whether it is to run from now on.
    pub runs: bool,
}

/// Drive deliveries again.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DriveAsk {
    pub tenant: TenantId,
    pub webhook: WebhookId,
    /// In order, each once.
    pub seqs: Vec<i64>,
}

/// Go through a part of the log again.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ReplayAsk {
    pub tenant: TenantId,
    pub webhook: WebhookId,
    pub range: Option<(i64, i64)>,
    pub scope: ReplayScope,
}

/// Post an event of type `webhook.test`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TestAsk {
    pub tenant: TenantId,
    pub webhook: WebhookId,
}

/// Say how it does.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StatsAsk {
    pub tenant: TenantId,
    pub webhook: WebhookId,
}

impl Desk for Webhooks {
    const KIND: Kind = Kind::WEBHOOK;
    const WHAT: &'static str = WebhookKind::NAME;
    type Wire = WebhookAsk;

    fn node(&self) -> &Arc<NodeContext> {
        &self.shared().node
    }

    async fn obey(&self, asked: WebhookAsk, given_up: std::time::Instant) -> Result<Bytes, WireError> {
        match asked {
            WebhookAsk::Changed(ask) => route::answer(self, ask, given_up).await,
            WebhookAsk::Drive(ask) => route::answer(self, ask, given_up).await,
            WebhookAsk::Replay(ask) => route::answer(self, ask, given_up).await,
            WebhookAsk::Test(ask) => route::answer(self, ask, given_up).await,
            WebhookAsk::Stats(ask) => route::answer(self, ask, given_up).await,
        }
    }
}

/// How an [`Ask`] is asked of a webhook's owner.
macro_rules! asked {
    ($ask:ident => $variant:ident, repeats: $repeats:literal, $answer:ty, |$self:ident, $desk:ident, $deadline:ident| $done:expr) => {
        impl From<$ask> for WebhookAsk {
            fn from(ask: $ask) -> Self {
                Self::$variant(ask)
            }
        }

        impl Ask for $ask {
            type Desk = Webhooks;
            type Answer = $answer;

            fn slot(&self) -> Slot {
                Slot::of_webhook(self.webhook)
            }

            fn repeats(&self) -> bool {
                $repeats
            }

            async fn carry_out($self, $desk: &Webhooks, $deadline: Instant) -> Result<$answer, CallError> {
                $done.await
            }
        }
    };
}

asked!(ChangedAsk => Changed, repeats: true, (), |self, desk, deadline| {
    desk.changed_here(self.tenant, self.webhook, self.runs, deadline)
});
// What is driven again twice is due now all the same.
asked!(DriveAsk => Drive, repeats: true, ReplayStarted, |self, desk, deadline| {
    desk.drive_here(self.tenant, self.webhook, self.seqs, deadline)
});
asked!(ReplayAsk => Replay, repeats: false, ReplayStarted, |self, desk, deadline| {
    desk.go_through_here(self.tenant, self.webhook, self.range, self.scope, deadline)
});
asked!(TestAsk => Test, repeats: false, TestResult, |self, desk, _deadline| {
    desk.test_here(self.tenant, self.webhook)
});
asked!(StatsAsk => Stats, repeats: true, WebhookStats, |self, desk, _deadline| {
    desk.stats_here(self.tenant, self.webhook)
});
