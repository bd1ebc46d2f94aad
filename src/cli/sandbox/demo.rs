//! The gateway, the simulated WhatsApp and the demo tenant together.

use roost_sandbox::server::{Sandbox, SandboxConfig, SandboxError, SandboxHandle};
use url::Url;

use super::control::Control;
use super::{SandboxOptions, keys, tour};
use crate::app::{App, Listening};
use crate::cli::ready_file::Ready;
use crate::cli::{run_gateway, say, start_logs};
use crate::config::{self, Config};

/// Where the simulated WhatsApp is.
enum Place {
    /// In this process.
    Here(SandboxHandle),
    /// In another one.
    Elsewhere(Url),
}

impl SandboxOptions {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        if let Some(Place::Here(sandbox)) = run_gateway(self.start()).await? {
            sandbox.shutdown().await;
        }
        Ok(())
    }

    async fn start(self) -> anyhow::Result<(App, Place)> {
        let mut layers = self.running.layers();
        layers.sandbox = true;
        if let Some(address) = self.sandbox_listen {
            layers
                .options
                .push(("sandbox.listen", address.to_string(), "--sandbox-listen"));
        }
        if let Some(address) = self.media_listen {
            layers
                .options
                .push(("sandbox.media_listen", address.to_string(), "--media-listen"));
        }
        let config = config::load(&layers)?;
        start_logs(&config)?;
        let mut listening = Listening::bind(config.clone()).await?;
        let ready_file = self.running.ready_file.clone();
        let place = Place::take(&config, self).await?;
        listening.config_mut().whatsapp.url = place.websocket_url()?;
        let control = Control::new(place.url()?)?;
        if let Some(pem) = place.ca_pem(&control).await {
            listening.trust(pem);
        }
        let (app, ()) = tokio::join!(listening.start(), tour::make_phones(&control));
        let app = app?;
        let keys = keys::load_or_create(app.store().as_ref(), &app.config().data).await?;
        app.ready().await;
        let sandbox = control.base().to_owned();
        if let Some(path) = &ready_file {
            Ready {
                api: app.url(),
                api_key: Some(keys.api_key.clone()),
                operator_key: Some(keys.operator_key.clone()),
                sandbox: Some(sandbox.clone()),
            }
            .write(path)?;
        }
        say(&tour::text(&app.url(), &sandbox, &keys));
        Ok((app, place))
    }
}

impl Place {
    async fn take(config: &Config, options: SandboxOptions) -> anyhow::Result<Self> {
        if let Some(url) = options.sandbox_url {
            anyhow::ensure!(
                url.scheme() == "http" && url.has_host() && url.path() == "/" && url.query().is_none(),
                "--sandbox-url must be http://HOST:PORT"
            );
            return Ok(Self::Elsewhere(url));
        }
        let defaults = SandboxConfig::default();
        let sandbox = Sandbox::start(SandboxConfig {
            listen: config.sandbox.listen,
            media_listen: config.sandbox.media_listen,
            media_names: options.media_names,
            ca_file: options.ca_file,
            history_inline_bytes_max: options
                .history_inline_max
                .unwrap_or(defaults.history_inline_bytes_max),
            // Phones and pairings come back with the gateway that is paired with them.
            data_dir: Some(config.data.dir.join("phones")),
            ..defaults
        })
        .await
        .map_err(|error| explain(error, &config.sandbox))?;
        Ok(Self::Here(sandbox))
    }

    /// The certificate of its media service. A sandbox in another process may be down: the gateway
    /// starts all the same.
    async fn ca_pem(&self, control: &Control) -> Option<String> {
        match self {
            Self::Here(sandbox) => Some(sandbox.ca_pem().to_owned()),
            Self::Elsewhere(_) => match control.ca_pem().await {
                Ok(pem) => Some(pem),
                Err(error) => {
                    tracing::warn!("media of the sandbox is not trusted until the next start: {error:#}");
                    None
                }
            },
        }
    }

    fn url(&self) -> anyhow::Result<Url> {
        Ok(match self {
            Self::Here(sandbox) => sandbox.url().parse()?,
            Self::Elsewhere(url) => url.clone(),
        })
    }

    fn websocket_url(&self) -> anyhow::Result<Url> {
        let mut url = self.url()?.join("/ws/chat")?;
        url.set_scheme("ws")
            .map_err(|()| anyhow::anyhow!("{url} cannot be a WebSocket address"))?;
        Ok(url)
    }
}

/// Adds what to do about it.
fn explain(error: SandboxError, config: &config::Sandbox) -> anyhow::Error {
    let advice = match &error {
        SandboxError::State(_) => {
            "the sandbox cannot use its phones' folder; choose another with --data-dir".to_owned()
        }
        SandboxError::Media(_) => {
            "the sandbox's media service cannot start; look at --media-name, --ca-file and the folder of \
             --data-dir"
                .to_owned()
        }
        SandboxError::Listen { address, .. } if *address == config.media_listen => format!(
            "the sandbox cannot serve media on {address}; choose another address with --media-listen (or \
             sandbox.media_listen), or stop the process that has it"
        ),
        SandboxError::Listen { address, .. } => format!(
            "the sandbox cannot listen on {address}; choose another address with --sandbox-listen (or \
             sandbox.listen), or stop the process that has it"
        ),
    };
    anyhow::Error::new(error).context(advice)
}
