//! `roost sandbox`: a gateway that can be tried with no phone and no internet.

#[cfg(feature = "sandbox")]
mod control;
#[cfg(feature = "sandbox")]
mod demo;
#[cfg(feature = "sandbox")]
mod keys;
#[cfg(feature = "sandbox")]
mod tour;

use std::net::SocketAddr;

use clap::Args;
use url::Url;

use super::Running;

#[derive(Debug, Args)]
#[cfg_attr(
    not(feature = "sandbox"),
    allow(dead_code, reason = "the options are told in --help of every build")
)]
pub(super) struct SandboxOptions {
    #[command(flatten)]
    running: Running,
    /// Where the simulated WhatsApp and its control API listen [config: sandbox.listen].
    #[arg(long, value_name = "ADDR", conflicts_with = "sandbox_url")]
    sandbox_listen: Option<SocketAddr>,
    /// Use a `roost-sandbox` that runs already, at http://HOST:PORT, instead of one in this process.
    #[arg(long, value_name = "URL")]
    sandbox_url: Option<Url>,
}

#[cfg(not(feature = "sandbox"))]
impl SandboxOptions {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!(
            "this build has no sandbox; build one with `cargo build --release --features sandbox` \
             (such a build speaks to the simulated WhatsApp only)"
        )
    }
}
