//! `roost keys rotate`

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use roost_domain::rotation::{Rotation, RotationState};
use roost_domain::store::{Audit, MasterKeys};
use roost_store::SqlStore;

use super::{Common, audit, node, say};
use crate::app;

/// Between two looks at how far it is, and between two lines about it.
const POLL: Duration = Duration::from_millis(50);
const LOOKS_PER_LINE: u32 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Encrypt everything at rest under a new master key, while no gateway runs. While one does,
    /// POST /v1/operator/master-key/rotate has it do so.
    Rotate {
        /// With PostgreSQL, where the database does not tell: every node is stopped.
        #[arg(long)]
        nodes_are_stopped: bool,
        #[command(flatten)]
        common: Common,
    },
}

impl KeysCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Rotate {
            nodes_are_stopped,
            common,
        } = self;
        let config = common.load()?;
        let store_config = app::store_config(&config)?;
        let is_sqlite = store_config.url.starts_with("sqlite:");
        anyhow::ensure!(
            is_sqlite || nodes_are_stopped,
            "stop every node and say --nodes-are-stopped, or have a running one do it with POST /v1/operator/master-key/rotate"
        );
        let store = node::open(&common).await.context(
            "while a gateway runs, POST /v1/operator/master-key/rotate with an operator's key has it do so",
        )?;
        let rotation = rotate(&store).await;
        store.close().await;
        let rotation = rotation?;
        if is_sqlite {
            // Earlier ciphertexts, and plain text from before, are still in free pages of the file.
            roost_store::compact(&store_config).await?;
        }
        say(&done(&rotation));
        Ok(())
    }
}

async fn rotate(store: &SqlStore) -> anyhow::Result<Rotation> {
    let mut rotation = store.rotate_master_key().await?;
    let act = audit::acts("rotate_master_key", None, &rotation.key_id);
    store.append_audit(act).await?;
    let mut looks = 0;
    while rotation.state == RotationState::Running {
        tokio::time::sleep(POLL).await;
        if let Some(now) = store.rotation().await? {
            rotation = now;
        }
        looks += 1;
        if looks % LOOKS_PER_LINE == 0 {
            let at = rotation.table.as_deref().unwrap_or("the beginning");
            say(&format!(
                "look {} is at {at}: {} values encrypted anew, {} that were plain text\n",
                rotation.pass, rotation.resealed, rotation.sealed
            ));
        }
    }
    match &rotation.error {
        None => Ok(rotation),
        Some(error) => Err(anyhow::anyhow!("{error}").context("the master key is not rotated")),
    }
}

fn done(rotation: &Rotation) -> String {
    let Rotation {
        key_id,
        old_key_ids,
        resealed,
        sealed,
        ..
    } = rotation;
    let mut text = format!(
        "everything is encrypted under master key {key_id}: {resealed} values were encrypted anew, {sealed} were plain text before\n"
    );
    if old_key_ids.is_empty() {
        text.push_str(
            "No earlier key was in use. To change a configured key, put a new one into store.master_key and the present one into store.previous_master_keys, and rotate then\n",
        );
    } else {
        let ids = old_key_ids.join(", ");
        text.push_str(&format!(
            "Nothing needs {ids} any more, except backups from before\n"
        ));
    }
    text
}
