//! `roost migrate`

use std::sync::Arc;

use super::{Common, say, start_logs};
use crate::app;
use crate::system::OsEntropy;

/// Brings the database to this version's shape. Safe to run twice, and beside other nodes: a lock in
/// the database lets one of them do it.
pub(super) async fn run(common: &Common) -> anyhow::Result<()> {
    let config = common.load()?;
    start_logs(&config)?;
    app::prepare_data_dir(&config.data)?;
    let store = app::store_config(&config)?;
    let migrated = roost_store::migrate(&store, Arc::new(OsEntropy))
        .await
        .map_err(app::open_error)?;
    if migrated.applied.is_empty() {
        say("the database has this version's shape already\n");
    }
    for migration in migrated.applied {
        say(&format!("applied {:04} {}\n", migration.version, migration.name));
    }
    Ok(())
}
