//! The life of a link: from dialling to its end, and the order in which everything stops.
//!
//! `dialling → (pairing →) logging in → alive → ending`. One task per link waits for whatever ends
//! it: the library's own loop, a reason given to the reporter, a deadline, or silence.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use roost_domain::engine::{LinkEnd, LinkFact};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::Client;
use whatsapp_rust::bot::Bot;

use super::send::is_alive;
use crate::web::backend::Backend;
use crate::web::report::Reporter;
use crate::web::runtime::LinkRuntime;
use crate::web::tenure::Tenure;
use crate::web::{WebEngineConfig, convert};

/// For the library to say goodbye and to store what it holds.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a link that says goodbye looks at whether it still may.
const TENURE_POLL: Duration = Duration::from_millis(50);
/// For its loop to notice.
const LOOP_TIMEOUT: Duration = Duration::from_secs(5);
/// For its tasks to be gone.
pub(in crate::web) const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// For the last rows.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs one link.
pub(in crate::web) struct Supervisor {
    pub(in crate::web) reporter: Arc<Reporter>,
    pub(in crate::web) runtime: LinkRuntime,
    pub(in crate::web) backend: Arc<Backend>,
    /// Ends the connection under the library.
    pub(in crate::web) cut: CancellationToken,
    pub(in crate::web) tenure: Tenure,
    pub(in crate::web) config: Arc<WebEngineConfig>,
    /// Keeps the probes of many links apart.
    pub(in crate::web) jitter: Duration,
}

/// What the link waits for.
#[derive(Clone, Copy)]
enum Phase {
    /// A phone.
    Pairing,
    /// The proof that it is connected.
    Login,
    /// The next look at whether anything came since the counter stood here.
    Alive { received_bytes: u64 },
}

impl Supervisor {
    pub(super) async fn run(self, bot: Bot, client: Arc<Client>, paired: bool) {
        let library = tokio::spawn(AssertUnwindSafe(bot.run()).catch_unwind());
        let (phase, wait) = if paired {
            (Phase::Login, self.config.login_timeout)
        } else {
            (Phase::Pairing, self.config.pairing_timeout)
        };
        let library = self.live(library, &client, phase, wait).await;
        self.stop(library, client).await;
    }

    /// Returns when there is a reason to end, with the library's loop if that still runs.
    async fn live(
        &self,
        mut library: JoinHandle<Result<(), Box<dyn std::any::Any + Send>>>,
        client: &Client,
        mut phase: Phase,
        wait: Duration,
    ) -> Option<JoinHandle<Result<(), Box<dyn std::any::Any + Send>>>> {
        let mut deadline = Instant::now() + wait;
        loop {
            tokio::select! {
                biased;
                () = self.reporter.ending.cancelled() => return Some(library),
                outcome = &mut library => {
                    self.reporter.end(match outcome {
                        Ok(Ok(())) => LinkEnd::Lost { reason: self.reporter.trouble() },
                        Ok(Err(_)) | Err(_) => LinkEnd::Broken { reason: "the WhatsApp library panicked".to_owned() },
                    });
                    return None;
                }
                () = self.reporter.paired.notified() => {
                    phase = Phase::Login;
                    deadline = Instant::now() + self.config.login_timeout;
                }
                () = self.reporter.logged_in.notified() => {
                    // The library may say so twice; the first time counts.
                    if matches!(phase, Phase::Login) {
                        self.confirm(client).await;
                        phase = alive(client);
                        deadline = Instant::now() + self.config.probe_interval + self.jitter;
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    phase = self.overdue(client, phase).await;
                    deadline = Instant::now() + self.config.probe_interval;
                }
            }
        }
    }

    /// The library believes to be connected; only an answer proves it.
    async fn confirm(&self, client: &Client) {
        if !self.answers(client).await {
            return self.lost("WhatsApp did not answer the first request");
        }
        let (pn, lid) = (client.pn(), client.lid());
        match convert::account(pn.as_ref(), lid.as_ref(), &client.push_name()) {
            Some(account) => self.reporter.fact(LinkFact::Connected(account)),
            None => self.reporter.end(LinkEnd::Broken {
                reason: "the connected device has no account".to_owned(),
            }),
        }
    }

    async fn overdue(&self, client: &Client, phase: Phase) -> Phase {
        match phase {
            Phase::Pairing => self.reporter.end(LinkEnd::PairingTimedOut),
            Phase::Login => self.lost("WhatsApp did not let the device in in time"),
            // Whatever came proves that the connection carries; asking is for the silent ones.
            Phase::Alive { received_bytes } if client.stats().bytes_received != received_bytes => {}
            Phase::Alive { .. } => {
                if !self.answers(client).await {
                    self.lost("WhatsApp no longer answers");
                }
            }
        }
        alive(client)
    }

    /// False when there is no answer in time; true also when the link ends meanwhile, which has its
    /// own reason.
    async fn answers(&self, client: &Client) -> bool {
        let patience = self.config.probe_timeout;
        tokio::select! {
            biased;
            () = self.reporter.ending.cancelled() => true,
            answer = timeout(patience, is_alive(client, patience)) => answer.unwrap_or(false),
        }
    }

    fn lost(&self, reason: &str) {
        self.reporter.end(LinkEnd::Lost {
            reason: reason.to_owned(),
        });
    }

    /// Stops everything, and only then says that the link is over: its successor reads the same
    /// state.
    async fn stop(
        self,
        library: Option<JoinHandle<Result<(), Box<dyn std::any::Any + Send>>>>,
        client: Arc<Client>,
    ) {
        let goodbye = Box::pin(client.disconnect());
        tokio::select! {
            biased;
            // Another node may be about to connect: the goodbye waits for the store, which may be away.
            () = self.no_longer_ours() => {}
            done = timeout(DISCONNECT_TIMEOUT, goodbye) => if done.is_err() {
                tracing::warn!("the WhatsApp library did not disconnect within {DISCONNECT_TIMEOUT:?}");
            }
        }
        self.cut.cancel();
        if let Some(mut library) = library
            && timeout(LOOP_TIMEOUT, &mut library).await.is_err()
        {
            library.abort();
            // Aborted, it ends at its next await.
            let _ = library.await;
        }
        drop(client);
        if !self.runtime.stop(STOP_TIMEOUT).await {
            tracing::warn!("tasks of a link still run {STOP_TIMEOUT:?} after its end");
        }
        match timeout(FLUSH_TIMEOUT, self.backend.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last state of a link was not stored"),
            Err(_) => tracing::warn!("the last state of a link was not stored in time"),
        }
        self.reporter.finish();
    }

    async fn no_longer_ours(&self) {
        while self.tenure.holds() {
            tokio::time::sleep(TENURE_POLL).await;
        }
    }
}

fn alive(client: &Client) -> Phase {
    Phase::Alive {
        received_bytes: client.stats().bytes_received,
    }
}
