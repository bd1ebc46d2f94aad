//! One live connection: what can be done with it. Its life is [`supervisor`]'s.

mod send;
mod supervisor;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::Address;
use roost_domain::engine::{Link, LinkEnd, LinkStats, Outgoing, ReadReceipt, SendError, Typing};
use whatsapp_rust::Client;
use whatsapp_rust::bot::Bot;

use super::WebEngineConfig;
use super::report::Reporter;
use super::settle::Sessions;
pub(super) use supervisor::{STOP_TIMEOUT, Supervisor};

/// For [`Link::close`]: the supervisor's own deadlines add up to less.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A link of the web engine.
pub(super) struct WebLink {
    reporter: Arc<Reporter>,
    live: Option<Live>,
}

/// What a link has that was dialled at all.
struct Live {
    /// Weak: a link that is over must not keep its client alive.
    client: Weak<Client>,
    config: Arc<WebEngineConfig>,
    sessions: Arc<Sessions>,
    /// Numbers that were found to be on WhatsApp during this link.
    known: Mutex<HashSet<String>>,
}

impl WebLink {
    /// A link that is over before it began.
    pub(super) fn ended(reporter: Arc<Reporter>, end: LinkEnd) -> Arc<dyn Link> {
        reporter.end(end);
        let link = Arc::new(Self {
            reporter: Arc::clone(&reporter),
            live: None,
        });
        // Not from within `open`: the caller does not have the link yet.
        tokio::spawn(async move { reporter.finish() });
        link
    }

    /// Starts dialling.
    pub(super) fn start(
        supervisor: Supervisor,
        sessions: Arc<Sessions>,
        bot: Bot,
        paired: bool,
    ) -> Arc<dyn Link> {
        let client = bot.client();
        sessions.of(&client);
        let link = Arc::new(Self {
            reporter: Arc::clone(&supervisor.reporter),
            live: Some(Live {
                client: Arc::downgrade(&client),
                config: Arc::clone(&supervisor.config),
                sessions,
                known: Mutex::default(),
            }),
        });
        tokio::spawn(supervisor.run(bot, client, paired));
        link
    }

    fn connected(&self) -> Result<&Live, SendError> {
        self.live
            .as_ref()
            .filter(|_| self.reporter.is_connected())
            .ok_or(SendError::NotConnected)
    }
}

#[async_trait]
impl Link for WebLink {
    async fn send(&self, message: &Outgoing) -> Result<(), SendError> {
        self.connected()?
            .send(message)
            .await
            .map_err(|error| self.or_gone(error))
    }

    async fn typing(&self, chat: &Address, typing: Typing) -> Result<(), SendError> {
        self.connected()?
            .typing(chat, typing)
            .await
            .map_err(|error| self.or_gone(error))
    }

    async fn mark_read(&self, read: &ReadReceipt) -> Result<(), SendError> {
        self.connected()?
            .mark_read(read)
            .await
            .map_err(|error| self.or_gone(error))
    }

    async fn logout(&self) -> Result<(), SendError> {
        let unlinked = self.connected()?.unlink().await;
        // The server may close the connection before its answer is read; then it has said why.
        if matches!(self.reporter.reason(), Some(LinkEnd::LoggedOut { .. })) {
            return Ok(());
        }
        unlinked.map_err(|error| self.or_gone(error))?;
        self.reporter.end(LinkEnd::LoggedOut {
            reason: "logged out on request".to_owned(),
        });
        Ok(())
    }

    async fn close(&self) {
        self.reporter.end(LinkEnd::Closed);
        if tokio::time::timeout(CLOSE_TIMEOUT, self.reporter.over.cancelled())
            .await
            .is_err()
        {
            tracing::error!("a link did not end within {CLOSE_TIMEOUT:?}");
        }
    }

    fn stats(&self) -> LinkStats {
        let client = self.live.as_ref().and_then(|live| live.client.upgrade());
        client.map_or_else(LinkStats::default, |client| {
            let stats = client.stats();
            LinkStats {
                received_bytes: stats.bytes_received,
                sent_bytes: stats.bytes_sent,
            }
        })
    }
}

impl WebLink {
    /// An error of a link that ends meanwhile is no more than that.
    fn or_gone(&self, error: SendError) -> SendError {
        match error {
            SendError::Transient(_) if !self.reporter.is_connected() => SendError::NotConnected,
            error => error,
        }
    }
}
