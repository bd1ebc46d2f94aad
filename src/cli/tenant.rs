//! `roost tenant create`

use clap::Subcommand;
use roost_domain::store::{Stamp, Tenants};
use roost_domain::tenant::Tenant;
use roost_domain::time::Entropy;
use roost_domain::{Clock, TenantId};

use super::{Common, node, say};
use crate::system::{OsEntropy, SystemClock};

const NAME_CHARS_MAX: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Make a tenant and print its id.
    Create {
        /// Name for people.
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

impl TenantCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Create { name, common } = self;
        check_name(&name)?;
        let store = node::open(&common).await?;
        let tenant = new(&name);
        store.create_tenant(&tenant, None, Stamp::default()).await?;
        store.close().await;
        say(&format!("{}\n", tenant.id));
        Ok(())
    }
}

/// A tenant that is made now.
pub(super) fn new(name: &str) -> Tenant {
    let created_at = SystemClock.now();
    let unix_ms = u64::try_from(created_at.unix_ms()).unwrap_or_default();
    let id = TenantId::from_parts(unix_ms, OsEntropy.bits());
    Tenant::new(id, name.to_owned(), created_at)
}

pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let chars = name.chars().count();
    anyhow::ensure!(
        (1..=NAME_CHARS_MAX).contains(&chars) && !name.chars().any(char::is_control),
        "a name has 1 to {NAME_CHARS_MAX} characters and no control characters"
    );
    Ok(())
}
