//! The web engine: WhatsApp's linked-device protocol, by the library `whatsapp-rust`.
//!
//! [`WebEngine::open`] reads the device from the link state, builds one client of the library for
//! it, and hands both to a [`link`], which lives until its first end. After a crash nothing of a link
//! is left but its state: keys and sessions as of the last write, and each decrypted message that was
//! neither committed nor acknowledged, which WhatsApp sends again.
//!
//! - [`net`]: proxy, WebSocket, HTTP.
//! - [`backend`]: the library's storage on the link-state port.
//! - [`runtime`]: the library's tasks, counted and stoppable.
//! - [`report`]: everything that a link says, in order.
//! - [`convert`]: between the library's messages and the domain's.
//! - [`event`], [`hook`]: what the library tells us.
//! - [`settle`]: what is sent does not run ahead of what is stored.
//! - [`redelivery`]: whether what comes twice was committed.
//! - [`tenure`]: whether a link may still act.
//! - [`link`]: life and end of a connection, and what can be done with it.
//!
//! The library logs under the targets `Client…`, `whatsapp_rust…` and `wacore…`; some of its lines at
//! info and warn carry phone numbers and pairing codes, so a subscriber must keep them at error.

mod backend;
mod config;
mod convert;
mod event;
mod hook;
mod link;
mod net;
mod redelivery;
mod report;
mod runtime;
mod settle;
#[cfg(feature = "sandbox")]
mod stop_point;
mod tenure;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::cluster::Lease;
use roost_domain::engine::{Engine, Link, LinkEnd, LinkObserver, LinkSpec, OpenError};
use roost_domain::store::{LinkState, StoreError};
use roost_domain::time::{Clock, Entropy};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use whatsapp_rust::CacheConfig;
use whatsapp_rust::bot::{Bot, BotBuilderError};
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;

use backend::{Backend, DeviceError, LONG_READS_MAX};
pub use config::{ConfigError, DEFAULT_CLIENT_VERSION, WebEngineConfig};
use event::Events;
use hook::{CommitHook, Hook};
use link::{Supervisor, WebLink};
use net::{Dialer, Endpoint, HttpLimits, LinkHttp, Proxy, SharedHttp, Transports, WireLimits, client_config};
pub use net::{EndpointError, TlsError};
use redelivery::Redelivery;
use report::Reporter;
use runtime::LinkRuntime;
use settle::Sessions;
#[cfg(feature = "sandbox")]
pub use stop_point::arm_decrypted;
use tenure::Tenure;

/// Opens links to WhatsApp as a linked device.
pub struct WebEngine {
    config: Arc<WebEngineConfig>,
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    http: Arc<SharedHttp>,
    blocking: Arc<Semaphore>,
    long_reads: Arc<Semaphore>,
    state: Arc<dyn LinkState>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    lease: Option<Arc<dyn Lease>>,
}

impl WebEngine {
    /// Sets the engine up. Nothing is connected yet.
    pub fn new(
        config: WebEngineConfig,
        state: Arc<dyn LinkState>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let endpoint = Endpoint::parse(&config.endpoint)?;
        let tls = client_config(&config.extra_roots_pem)?;
        let limits = HttpLimits {
            connect_timeout: config.connect_timeout,
            read_timeout: HTTP_READ_TIMEOUT,
            total_timeout: HTTP_TOTAL_TIMEOUT,
            body_bytes_max: config.http_body_bytes_max,
        };
        Ok(Self {
            endpoint,
            http: Arc::new(SharedHttp::new(limits, Arc::clone(&tls))),
            tls,
            blocking: Arc::new(Semaphore::new(config.blocking_jobs_max)),
            long_reads: Arc::new(Semaphore::new(LONG_READS_MAX)),
            config: Arc::new(config),
            state,
            clock,
            entropy,
            lease: None,
        })
    }

    /// Has every link end with the lease under which it was opened: from then on it reads and writes
    /// nothing, and hangs up without a word.
    #[must_use]
    pub fn under(self, lease: Arc<dyn Lease>) -> Self {
        let lease = Some(lease);
        Self { lease, ..self }
    }

    fn proxy(&self, text: Option<&str>) -> Result<Option<Proxy>, OpenError> {
        let Some(text) = text else { return Ok(None) };
        let proxy = Proxy::parse(text).map_err(OpenError::Proxy)?;
        proxy
            .check()
            .map_err(|error| OpenError::Endpoint(error.to_string()))?;
        Ok(Some(proxy))
    }

    fn transports(
        &self,
        proxy: Option<Proxy>,
        runtime: &LinkRuntime,
        reporter: &Arc<Reporter>,
        sessions: &Arc<Sessions>,
        tenure: &Tenure,
    ) -> Transports {
        Transports {
            tenure: tenure.clone(),
            sessions: Arc::clone(sessions),
            entropy: Arc::clone(&self.entropy),
            endpoint: self.endpoint.clone(),
            dialer: Dialer {
                proxy,
                timeout: self.config.connect_timeout,
            },
            tls: Arc::clone(&self.tls),
            limits: WireLimits {
                handshake_timeout: self.config.handshake_timeout,
                write_timeout: self.config.write_timeout,
                message_bytes_max: self.config.message_bytes_max,
            },
            runtime: runtime.clone(),
            reporter: Arc::clone(reporter),
            cut: Default::default(),
        }
    }
}

/// Chats whose messages have a task of their own, per link. Such a task is 10 KiB, and none ends by
/// itself; busy ones are kept above this, and the next message of an ended one's chat starts another.
const CHAT_LANES_MAX: u64 = 16;
const HTTP_READ_TIMEOUT: Duration = Duration::from_secs(30);
const HTTP_TOTAL_TIMEOUT: Duration = Duration::from_secs(15 * 60);

#[async_trait]
impl Engine for WebEngine {
    async fn open(
        &self,
        spec: LinkSpec,
        observer: Arc<dyn LinkObserver>,
    ) -> Result<Arc<dyn Link>, OpenError> {
        let proxy = self.proxy(spec.proxy.as_deref())?;
        let reporter = Arc::new(Reporter::new(observer));
        let Some(tenure) = Tenure::begin(self.lease.as_ref()) else {
            return Ok(WebLink::ended(reporter, LinkEnd::Fenced));
        };
        let backend = Arc::new(Backend::new(
            Arc::clone(&self.state),
            spec.owner,
            Arc::clone(&self.clock),
            Arc::clone(&reporter),
            Arc::clone(&self.long_reads),
        ));
        let device = match backend.open().await {
            Ok(device) => device,
            Err(DeviceError::Store(StoreError::Fenced)) => {
                return Ok(WebLink::ended(reporter, LinkEnd::Fenced));
            }
            Err(error) => return Err(not_opened(error)),
        };
        let paired = device.is_some_and(|device| device.pn.is_some());
        if !paired && spec.pairing.is_none() {
            return Ok(WebLink::ended(reporter, LinkEnd::NotPaired));
        }
        let runtime = LinkRuntime::new(Arc::clone(&self.blocking));
        let sessions = Arc::new(Sessions::new(Arc::clone(&backend)));
        let transports = self.transports(proxy.clone(), &runtime, &reporter, &sessions, &tenure);
        let cut = transports.cut.clone();
        let hook = Arc::new(CommitHook::new(Arc::clone(&reporter)));
        let pairing = spec.pairing.filter(|_| !paired);
        let events = Arc::new(Events::new(
            Arc::clone(&reporter),
            Arc::clone(&hook),
            runtime.clone(),
            Arc::clone(&self.clock),
            pairing,
        ));
        let bot = self
            .bot(
                Arc::clone(&backend),
                transports,
                LinkHttp::new(Arc::clone(&self.http), tenure.clone(), proxy),
                runtime.clone(),
                Hook(hook),
            )
            .await;
        let bot = match bot {
            Ok(bot) => bot,
            Err(error) => {
                runtime.stop(link::STOP_TIMEOUT).await;
                return match reporter.reason() {
                    Some(end) => Ok(WebLink::ended(reporter, end)),
                    None => Err(OpenError::Unavailable(error.to_string())),
                };
            }
        };
        let client = bot.client();
        reporter.take_restart_switch(Arc::clone(&client.enable_auto_reconnect));
        events.attach(&client);
        backend.judge_by(Redelivery::watch(
            &client,
            Arc::clone(&reporter),
            runtime.clone(),
            Arc::clone(&self.clock),
        ));
        let supervisor = Supervisor {
            reporter,
            runtime,
            backend,
            cut,
            tenure,
            config: Arc::clone(&self.config),
            jitter: self.jitter(),
        };
        Ok(WebLink::start(supervisor, sessions, bot, paired))
    }
}

impl WebEngine {
    /// Builds the library's client. It does not dial yet.
    async fn bot(
        &self,
        backend: Arc<Backend>,
        transports: Transports,
        http: LinkHttp,
        runtime: LinkRuntime,
        hook: Hook,
    ) -> Result<Bot, BotBuilderError> {
        // Not kept with the device: to be said at every start.
        let props = DevicePropsOverride::new()
            .with_os(self.config.device_name.as_str())
            .with_platform_type(PlatformType::DESKTOP);
        // History is skipped, so there is nothing to take secrets from.
        let caches = CacheConfig {
            seed_msg_secrets_from_history: false,
            chat_lanes_capacity: CHAT_LANES_MAX,
            ..CacheConfig::default()
        };
        Bot::builder()
            .with_backend_arc(backend as _)
            .with_transport_factory(transports)
            .with_http_client(http)
            .with_runtime(runtime)
            .with_version(self.config.client_version)
            .with_device_props(props)
            .with_wanted_pre_key_count(self.config.prekeys)
            .with_cache_config(caches)
            .with_inbound_durability_hook(hook)
            .skip_history_sync()
            .build()
            .await
    }

    /// A part of the probe interval, so that links that came up together are not probed together.
    fn jitter(&self) -> Duration {
        let mut byte = [0];
        self.entropy.fill(&mut byte);
        self.config
            .probe_interval
            .mul_f64(f64::from(byte[0]) / 256.0 / 2.0)
    }
}

fn not_opened(error: DeviceError) -> OpenError {
    match error {
        DeviceError::Store(StoreError::Unavailable(_) | StoreError::Overloaded) => {
            OpenError::Unavailable(error.to_string())
        }
        DeviceError::Store(_) | DeviceError::Decode(_) => OpenError::State(error.to_string()),
    }
}
