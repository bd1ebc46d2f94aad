//! `roost serve`

use clap::Args;

use super::ready_file::Ready;
use super::{Running, run_gateway, say, start_logs};
use crate::app::{App, Listening};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    running: Running,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        run_gateway(self.start()).await.map(drop)
    }

    async fn start(self) -> anyhow::Result<(App, ())> {
        let config = crate::config::load(&self.running.layers())?;
        start_logs(&config)?;
        let listening = Listening::bind(config).await?;
        let app = listening.start().await?;
        app.ready().await;
        if let Some(path) = &self.running.ready_file {
            Ready {
                api: app.url(),
                api_key: None,
                operator_key: None,
                sandbox: None,
            }
            .write(path)?;
        }
        say(&greeting(&app));
        Ok((app, ()))
    }
}

fn greeting(app: &App) -> String {
    let url = app.url();
    let mut text = format!("roost {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    if cfg!(feature = "sandbox") {
        text.push_str(
            "This build has the feature `sandbox`: it speaks to a simulated WhatsApp on this machine and to nothing else.\n",
        );
    }
    text.push_str(&format!(
        "\nA tenant and its key are made with the same --config and --data-dir (with SQLite, while the gateway is stopped):\n  \
         roost tenant create acme\n  \
         roost key create --tenant <id>\n\
         Then, with the key:\n  \
         curl -s {url}/v1/instances -H 'Authorization: Bearer <key>' -H 'Content-Type: application/json' -d '{{\"name\":\"first\"}}'\n\n"
    ));
    text
}
