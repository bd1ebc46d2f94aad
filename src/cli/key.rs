//! `roost key create`

use anyhow::Context;
use clap::{Args, Subcommand};
use roost_domain::TenantId;
use roost_domain::api_key::Principal;
use roost_domain::store::{StoreError, Tenants};

use super::{Common, node, say, tenant};
use crate::api_key;
use crate::system::{OsEntropy, SystemClock};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make an API key and print it. It is shown this once and never again.
    Create {
        #[command(flatten)]
        principal: Whom,
        /// Name for people.
        #[arg(long, default_value = "command line")]
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

/// Whom the key speaks for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whom {
    /// A tenant's key: reaches that tenant's resources only.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// An operator's key: reaches /v1/operator only.
    #[arg(long)]
    operator: bool,
}

impl KeyCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Create {
            principal,
            name,
            common,
        } = self;
        tenant::check_name(&name)?;
        let store = node::open(&common).await?;
        let principal = match principal.tenant {
            Some(id) => {
                match store.tenant(id).await {
                    Ok(_) => {}
                    Err(StoreError::NotFound) => {
                        anyhow::bail!(
                            "there is no tenant {id} in this database; `roost tenant create NAME` makes one"
                        )
                    }
                    Err(error) => return Err(error.into()),
                }
                Principal::Tenant(id)
            }
            None => Principal::Operator,
        };
        let key = api_key::create(store.as_ref(), principal, &name, &SystemClock, &OsEntropy)
            .await
            .context("the key could not be kept")?;
        store.close().await;
        say(&format!("{}\n", key.reveal()));
        Ok(())
    }
}
