//! `roost tenant create` and `list`

use std::fmt::Write;

use clap::Subcommand;
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::store::{Audit, Stamp, Tenants};
use roost_domain::tenant::{NAME_CHARS_MAX, Tenant};
use roost_domain::time::Entropy;
use roost_domain::{Clock, TenantId};
use roost_store::SqlStore;

use super::{Common, audit, node, say};
use crate::system::{OsEntropy, SystemClock};

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Make a tenant and print its id.
    Create {
        /// Name for people.
        name: String,
        /// Plan of the configuration [config: plans].
        #[arg(long, value_name = "NAME")]
        plan: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Print tenants, one a line: id, name, state, plan. A running gateway suspends and deletes them:
    /// PATCH and DELETE /v1/operator/tenants/{id}.
    List {
        #[command(flatten)]
        common: Common,
    },
}

impl TenantCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { name, plan, common } => {
                check_name(&name)?;
                if let Some(plan) = &plan {
                    let plans = common.load()?.plans;
                    anyhow::ensure!(
                        plans.contains_key(plan),
                        "there is no plan {plan}; the configuration has {}",
                        plans.keys().cloned().collect::<Vec<_>>().join(", ")
                    );
                }
                let store = node::open(&common).await?;
                let tenant = Tenant { plan, ..new(&name) };
                store.create_tenant(&tenant, None, Stamp::default()).await?;
                let act = audit::acts("create_tenant", Some(tenant.id), &tenant.id.to_string());
                store.append_audit(act).await?;
                store.close().await;
                say(&format!("{}\n", tenant.id));
            }
            Self::List { common } => {
                let store = node::open(&common).await?;
                let text = list(&store).await?;
                store.close().await;
                say(&text);
            }
        }
        Ok(())
    }
}

async fn list(store: &SqlStore) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut page = PageRequest::new(None, PAGE_ROWS_MAX);
    loop {
        let tenants = store.tenants(page).await?;
        for tenant in &tenants.rows {
            let plan = tenant.plan.as_deref().unwrap_or("no plan");
            let state = tenant.state.as_str();
            writeln!(text, "{}\t{}\t{state}\t{plan}", tenant.id, tenant.name)?;
        }
        let Some(next) = tenants.next else { return Ok(text) };
        page = PageRequest::new(Some(next), PAGE_ROWS_MAX);
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
