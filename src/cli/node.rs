//! What the commands share that touch the database without running a gateway.

use std::sync::Arc;

use roost_domain::TenantId;
use roost_domain::event::Event;
use roost_domain::store::CommitObserver;
use roost_store::SqlStore;

use super::{Common, start_logs};
use crate::app;
use crate::system::{OsEntropy, SystemClock};

/// No actor runs here that would have to be told of commits.
struct Nobody;

impl CommitObserver for Nobody {
    fn committed(&self, _: TenantId, _: &[Arc<Event>]) {}
}

/// Opens the database that the configuration names.
pub(super) async fn open(common: &Common) -> anyhow::Result<Arc<SqlStore>> {
    let config = common.load()?;
    start_logs(&config)?;
    app::prepare_data_dir(&config.data)?;
    app::open_store(
        &config,
        roost_store::Guard::default(),
        Arc::new(Nobody),
        Arc::new(SystemClock),
        Arc::new(OsEntropy),
    )
    .await
}
