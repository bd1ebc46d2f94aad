//! The composition: puts a node together, runs it and takes it apart.
//!
//! Start: the listener answers `/healthz` first, then come the data folder, the store, the engine and
//! the actors, then calls are taken. Stop is the reverse: not ready any more, no new connections,
//! requests at work finish, streams end, sessions close their links, the store closes. What was
//! acknowledged is in the store at every moment, so that a kill instead of a stop loses nothing.

mod cluster;
mod data_dir;
mod open_files;
mod part;
mod presence;
mod rotation;
mod signals;
#[cfg(feature = "sandbox")]
mod stop_point;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use roost_actors::{LocalPlacement, Runtime, RuntimeParts, Streams};
use roost_domain::Clock;
use roost_domain::cluster::Lease;
use roost_domain::slot::Placement;
use roost_domain::time::Entropy;
use roost_domain::webhook::client::WebhookClient;
use roost_store::SqlStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::cluster::Seat;
use self::presence::Presence;
use crate::access::{Access, AccessSettings};
use crate::config::Config;
use crate::http::{self, Http};
use crate::system::{OsEntropy, SystemClock};

pub use data_dir::prepare as prepare_data_dir;
pub use part::{open_error, open_store, store_config};
pub use signals::StopSignals;

/// Name of the only node of a gateway without a cluster.
const NODE: &str = "local";
/// A stop that takes longer than this is a fault: the process ends without waiting any more.
const STOP_MAX: Duration = Duration::from_secs(25);
const READY_POLL: Duration = Duration::from_millis(5);
const STREAMS_END_TIMEOUT: Duration = Duration::from_secs(3);

/// A node whose listener answers, and that has not started.
pub struct Listening {
    config: Config,
    /// Certificates to trust beside the configured ones, in PEM.
    trusted_pem: String,
    address: SocketAddr,
    http: Http,
    server: JoinHandle<()>,
    stop_server: DropGuard,
    upkeep: AbortOnDrop,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A running node.
pub struct App {
    config: Config,
    address: SocketAddr,
    http: Http,
    server: JoinHandle<()>,
    stop_server: DropGuard,
    _upkeep: AbortOnDrop,
    store: Arc<SqlStore>,
    runtime: Arc<Runtime>,
    access: Access,
    presence: Option<Presence>,
    _rotations: Option<AbortOnDrop>,
}

impl Listening {
    /// Binds the listener; from now on `/healthz` answers.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let metrics =
            http::metrics::recorder().context("another metrics recorder is installed in this process")?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let listener = TcpListener::bind(config.http.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; choose another address with --listen (or http.listen), or stop the process that has it",
                config.http.listen
            )
        })?;
        let address = listener.local_addr()?;
        open_files::raise_limit();
        let upkeep = AbortOnDrop(tokio::spawn(http::metrics::upkeep(metrics.clone())));
        let http = Http::new(
            config.http.clone(),
            config.webhooks.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            metrics,
        );
        let stop = CancellationToken::new();
        let server = tokio::spawn({
            let (http, stop) = (http.clone(), stop.clone());
            let (limits, drain) = (config.http.clone(), config.stop.drain);
            async move { http::server::serve(listener, http::router(http), &limits, stop, drain).await }
        });
        Ok(Self {
            config,
            trusted_pem: String::new(),
            address,
            http,
            server,
            stop_server: stop.drop_guard(),
            upkeep,
            clock,
            entropy,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration, as long as nothing has been started with it.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Has the engine trust these certificates, in PEM, beside the configured ones.
    pub fn trust(&mut self, pem: String) {
        self.trusted_pem = pem;
    }

    /// Starts everything else.
    pub async fn start(self) -> anyhow::Result<App> {
        let Self {
            config,
            trusted_pem,
            address,
            http,
            server,
            stop_server,
            upkeep,
            clock,
            entropy,
        } = self;
        prepare_data_dir(&config.data)?;
        let settings = part::settings(&config);
        let streams = Streams::new(&settings);
        let seat = Seat::take(&config, address).await?;
        let store = open_store(
            &config,
            seat.as_ref().map(Seat::guard).unwrap_or_default(),
            Arc::new(part::Committed(streams.clone())),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        )
        .await?;
        let presence = Presence::announce(&config, address).await?;
        let engine = part::engine(&config, &trusted_pem, &store, &clock, &entropy)?;
        let cluster = seat.map(|seat| seat.parts(&config, &entropy)).transpose()?;
        let lease: Option<Arc<dyn Lease>> = cluster.as_ref().map(|cluster| Arc::clone(&cluster.lease) as _);
        let webhook_client: Arc<dyn WebhookClient> =
            Arc::new(part::webhook_client(&config, &clock, lease.clone())?);
        #[cfg(feature = "sandbox")]
        let webhook_client = stop_point::install(webhook_client);
        let engine = match lease {
            Some(lease) => engine.under(lease),
            None => engine,
        };
        let placement: Arc<dyn Placement> = match &cluster {
            Some(cluster) => Arc::clone(&cluster.placement) as _,
            None => {
                let local = LocalPlacement::start(store.as_ref(), NODE).await;
                Arc::new(local.context("the node cannot register in the database")?)
            }
        };
        let runtime = Runtime::start(RuntimeParts {
            store: store.clone(),
            engine: Arc::new(engine),
            webhook_client,
            placement,
            cluster,
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            streams,
            settings,
        })
        .await
        .context("the actors cannot start")?;
        let runtime = Arc::new(runtime);
        let rotations = match runtime.is_in_cluster() {
            true => Some(AbortOnDrop(tokio::spawn(rotation::look_after(Arc::clone(
                &store,
            ))))),
            false => {
                rotation::resume(&store).await;
                None
            }
        };
        let access = Access::start(
            store.clone(),
            Arc::clone(&runtime),
            clock,
            entropy,
            AccessSettings::new(&config),
        );
        http.open(&config, store.clone(), Arc::clone(&runtime), access.clone());
        Ok(App {
            config,
            address,
            http,
            server,
            stop_server,
            _upkeep: upkeep,
            store,
            runtime,
            access,
            presence,
            _rotations: rotations,
        })
    }
}

impl App {
    /// Starts a node.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Listening::bind(config).await?.start().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its repositories.
    pub fn store(&self) -> &Arc<SqlStore> {
        &self.store
    }

    /// Its actors.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Waits until every instance that shall run was handed to its session.
    pub async fn ready(&self) {
        while !self.runtime.ready() {
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Runs until a signal asks to stop, then stops. A second one ends the process without waiting. It is an
    /// error to be displaced by another gateway.
    pub async fn run_until(self, mut signals: StopSignals) -> anyhow::Result<()> {
        let displaced = tokio::select! {
            () = signals.next() => None,
            by = self.displaced() => Some(by),
        };
        if let Some(by) = &displaced {
            tracing::error!(%by, "another gateway has taken over this database; this one stops");
        }
        tracing::info!("stopping; a second signal ends the process at once");
        tokio::select! {
            stopped = tokio::time::timeout(STOP_MAX, self.stop()) => {
                if stopped.is_err() {
                    tracing::error!("stopping took too long; the process ends without waiting for the rest");
                }
            }
            () = signals.next() => {}
        }
        match displaced {
            Some(by) => bail!("another gateway has taken over this database: {by}"),
            None => Ok(()),
        }
    }

    async fn displaced(&self) -> String {
        match &self.presence {
            Some(presence) => presence.displaced().await,
            None => std::future::pending().await,
        }
    }

    /// Takes the node apart, in order.
    pub async fn stop(self) {
        self.http.drain();
        drop(self.stop_server);
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the listener broke");
        }
        if tokio::time::timeout(STREAMS_END_TIMEOUT, self.http.streams_ended())
            .await
            .is_err()
        {
            tracing::warn!("event streams were still open when the time to stop was over");
        }
        self.access.stop().await;
        let report = self.runtime.stop().await;
        if report.sessions_killed > 0 {
            tracing::warn!(
                sessions = report.sessions_killed,
                "sessions did not close in time"
            );
        }
        self.http.write_all().await;
        if let Some(presence) = self.presence {
            presence.leave().await;
        }
        self.store.close().await;
        tracing::info!(data.dir = %self.config.data.dir.display(), "stopped");
    }
}
