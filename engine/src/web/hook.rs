//! Commit before acknowledge: the library asks here before it tells WhatsApp that we have a message.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use async_trait::async_trait;
use futures::FutureExt;
use roost_domain::engine::LinkEnd;
use whatsapp_rust::types::events::InboundMessage;
use whatsapp_rust::{Client, InboundDurabilityHook, Jid};

use super::convert::{self, Names};
use super::report::Reporter;

/// Hands received messages to the link's observer.
pub(super) struct CommitHook {
    reporter: Arc<Reporter>,
}

impl CommitHook {
    pub(super) fn new(reporter: Arc<Reporter>) -> Self {
        Self { reporter }
    }

    /// Commits messages, or ends the link: what is not committed comes again on the next one.
    pub(super) async fn commit(&self, client: &Client, batch: &[InboundMessage]) -> anyhow::Result<()> {
        // A panic here would be swallowed by the library's task, and the link would go deaf.
        let committed = AssertUnwindSafe(self.try_commit(client, batch))
            .catch_unwind()
            .await;
        match committed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let reason = error.to_string();
                self.reporter.end(LinkEnd::Lost { reason });
                Err(error)
            }
            Err(_) => {
                let reason = "committing inbound messages panicked".to_owned();
                self.reporter.end(LinkEnd::Broken {
                    reason: reason.clone(),
                });
                Err(anyhow!(reason))
            }
        }
    }

    async fn try_commit(&self, client: &Client, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let mut facts = Vec::with_capacity(batch.len());
        for item in batch {
            facts.extend(convert::inbound(&ClientNames(client), &item.message, &item.info).await?);
        }
        if facts.is_empty() {
            return Ok(());
        }
        let Some(observer) = self.reporter.observer() else {
            bail!("the link is over")
        };
        Ok(observer.inbound(facts).await?)
    }
}

/// The hook as the library takes it.
pub(super) struct Hook(pub(super) Arc<CommitHook>);

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        self.0.commit(&client, batch).await
    }
}

/// Names as the client knows them.
pub(super) struct ClientNames<'a>(pub(super) &'a Client);

#[async_trait]
impl Names for ClientNames<'_> {
    async fn other_name(&self, jid: &Jid) -> anyhow::Result<Option<Jid>> {
        let Some(entry) = self.0.get_lid_pn_entry(jid).await? else {
            return Ok(None);
        };
        Ok(Some(if jid.is_lid() {
            Jid::pn(&*entry.phone_number)
        } else {
            Jid::lid(&*entry.lid)
        }))
    }

    fn is_own(&self, jid: &Jid) -> bool {
        is_own(self.0, jid)
    }
}

/// Whether this is the account itself, under either of its names and on whichever device.
pub(super) fn is_own(client: &Client, jid: &Jid) -> bool {
    [client.pn(), client.lid()]
        .iter()
        .flatten()
        .any(|own| own.is_same_chat_as(jid))
}
