//! `roost config check`

use clap::Subcommand;

use super::{Common, say};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration that would hold, with secrets hidden, or everything that is wrong.
    Check(Common),
}

impl ConfigCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Check(common) = self;
        let config = common.load()?;
        crate::telemetry::check(&config.log)
            .map_err(|error| anyhow::anyhow!("log.filter cannot be used: {error}"))?;
        say(&config.shown());
        Ok(())
    }
}
