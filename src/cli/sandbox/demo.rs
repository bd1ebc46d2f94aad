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
        let config = config::load(&layers)?;
        start_logs(&config)?;
        let mut listening = Listening::bind(config.clone()).await?;
        let place = Place::take(&config, self.sandbox_url).await?;
        listening.config_mut().whatsapp.url = place.websocket_url()?;
        let control = Control::new(place.url()?)?;
        let (app, ()) = tokio::join!(listening.start(), tour::make_phones(&control));
        let app = app?;
        let keys = keys::load_or_create(app.store().as_ref(), &app.config().data).await?;
        app.ready().await;
        let sandbox = control.base().to_owned();
        if let Some(path) = &self.running.ready_file {
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
    async fn take(config: &Config, url: Option<Url>) -> anyhow::Result<Self> {
        if let Some(url) = url {
            anyhow::ensure!(
                url.scheme() == "http" && url.has_host() && url.path() == "/" && url.query().is_none(),
                "--sandbox-url must be http://HOST:PORT"
            );
            return Ok(Self::Elsewhere(url));
        }
        let listen = config.sandbox.listen;
        let sandbox = Sandbox::start(SandboxConfig {
            listen,
            // Phones and pairings come back with the gateway that is paired with them.
            data_dir: Some(config.data.dir.join("phones")),
            ..SandboxConfig::default()
        })
        .await
        .map_err(|error| match error {
            SandboxError::State(error) => anyhow::Error::new(error)
                .context("the sandbox cannot use its phones' folder; choose another with --data-dir"),
            error => anyhow::Error::new(error).context(format!(
                "the sandbox cannot listen on {listen}; choose another address with --sandbox-listen (or \
                 sandbox.listen), or stop the process that has it"
            )),
        })?;
        Ok(Self::Here(sandbox))
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
