//! The sandbox's control API, as far as the demo needs it.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a sandbox in another process may take to come up.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Calls one sandbox.
pub(super) struct Control {
    client: reqwest::Client,
    base: String,
}

impl Control {
    #[allow(clippy::disallowed_methods, reason = "it calls nothing but the sandbox")]
    pub(super) fn new(url: Url) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self {
            client,
            base: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Its base URL.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Makes a virtual phone, unless it is there. Waits a moment for a sandbox that is starting.
    pub(super) async fn make_phone(&self, phone_number: &str, name: &str, echo: bool) -> anyhow::Result<()> {
        let body = json!({"phone_number": phone_number, "name": name, "echo": echo});
        let url = format!("{}/sandbox/v1/accounts", self.base);
        let answer = self.patiently(|| self.client.post(&url).json(&body)).await?;
        // 409: it is there from an earlier start.
        let status = answer.status();
        anyhow::ensure!(
            status.is_success() || status == reqwest::StatusCode::CONFLICT,
            "the sandbox at {} refused to make a phone: {status}",
            self.base
        );
        Ok(())
    }

    /// The certificate that vouches for its media service, in PEM. Waits as [`Self::make_phone`] does.
    pub(super) async fn ca_pem(&self) -> anyhow::Result<String> {
        let url = format!("{}/sandbox/v1/ca.pem", self.base);
        let answer = self.patiently(|| self.client.get(&url)).await?;
        let answer = answer.error_for_status();
        let answer = answer.context("the sandbox has no certificate to trust for media")?;
        Ok(answer.text().await?)
    }

    /// Asks until there is an answer.
    async fn patiently(
        &self,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match request().send().await {
                Ok(answer) => return Ok(answer),
                Err(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "no sandbox answers at {}; start one with `roost-sandbox --listen HOST:PORT`",
                            self.base
                        )
                    });
                }
            }
        }
    }
}
