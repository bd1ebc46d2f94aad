//! `roost backup` and `roost restore`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use roost_domain::Clock;
use roost_store::BackupError;

use super::{Common, say, start_logs};
use crate::app;
use crate::system::{OsEntropy, SystemClock};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// File to be made; what is there is not overwritten.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A file that `roost backup` made.
    file: PathBuf,
    /// Take the place of a database that is there. It is kept beside it under another name.
    #[arg(long)]
    force_replace: bool,
    #[command(flatten)]
    common: Common,
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.common.load()?;
        start_logs(&config)?;
        let store = app::store_config(&config)?;
        let made = {
            let file = self.file.clone();
            tokio::task::spawn_blocking(move || roost_store::backup(&store, &file, &OsEntropy)).await?
        };
        let made = made.map_err(|error| told(error, "choose another name, or remove it"))?;
        say(&format!(
            "{}: {} KiB, schema version {}. The master key is not in it: keep a copy of the key apart from it\n",
            self.file.display(),
            made.bytes.div_ceil(1024),
            made.version
        ));
        Ok(())
    }
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.common.load()?;
        start_logs(&config)?;
        app::prepare_data_dir(&config.data)?;
        let store = app::store_config(&config)?;
        let (now, entropy) = (SystemClock.now(), Arc::new(OsEntropy));
        let restored = roost_store::restore(&store, &self.file, self.force_replace, now, entropy)
            .await
            .map_err(|error| {
                told(
                    error,
                    "--force-replace puts the backup in its place and keeps it under another name",
                )
            })?;
        say(&format!(
            "{} is in place, schema version {}\n",
            restored.path.display(),
            restored.version
        ));
        if let Some(replaced) = restored.replaced {
            say(&format!(
                "the database that was there is {}\n",
                replaced.display()
            ));
        }
        Ok(())
    }
}

/// Says what to do about it, `exists` where something is in the way.
fn told(error: BackupError, exists: &str) -> anyhow::Error {
    match error {
        BackupError::Open(error) => app::open_error(error),
        BackupError::Exists(_) => anyhow::anyhow!("{error}; {exists}"),
        error => error.into(),
    }
}
