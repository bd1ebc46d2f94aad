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
use std::path::PathBuf;

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
    /// Where its media is uploaded and fetched, over TLS; also an HTTP proxy for WhatsApp's media hosts
    /// [config: sandbox.media_listen].
    #[arg(long, value_name = "ADDR", conflicts_with = "sandbox_url")]
    media_listen: Option<SocketAddr>,
    /// A host name or address the media certificate is valid for, besides this machine's own; clients
    /// are told the first one.
    #[arg(long = "media-name", value_name = "NAME", conflicts_with = "sandbox_url")]
    media_names: Vec<String>,
    /// Histories for new companions that are longer than this, deflated, are uploaded as media instead
    /// of being sent inside a message; 0 uploads all [default: 65536].
    #[arg(long, value_name = "BYTES", conflicts_with = "sandbox_url")]
    history_inline_max: Option<usize>,
    /// Write the certificate that clients have to trust for media to this file; the gateway itself
    /// trusts it anyway.
    #[arg(long, value_name = "FILE", conflicts_with = "sandbox_url")]
    ca_file: Option<PathBuf>,
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
