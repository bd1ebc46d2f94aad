//! `roost key create`, `list` and `revoke`

use std::fmt::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use roost_domain::api_key::{ApiKey, INSTANCES_MAX, NETWORKS_MAX, Principal, Scope, Scopes};
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::store::{Audit, Instances, Keys, StoreError, Tenants};
use roost_domain::{ApiKeyId, Clock, InstanceId, TenantId, Timestamp};
use roost_store::SqlStore;

use super::{Common, audit, node, say, tenant};
use crate::access::NewKey;
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
        limits: Box<Restrictions>,
        #[command(flatten)]
        common: Common,
    },
    /// Print keys, one a line: id, name, scopes, when last used, when it expires.
    List {
        #[command(flatten)]
        principal: Whom,
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a key. A gateway that runs beside this, on PostgreSQL, refuses it within keys.cache_for.
    Revoke {
        /// The key's id.
        id: ApiKeyId,
        #[command(flatten)]
        principal: Whom,
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

/// What the key may not do.
#[derive(Debug, Args)]
pub(super) struct Restrictions {
    /// What it may do, such as messages:send; may be given several times [default: everything].
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope, conflicts_with = "operator")]
    scopes: Vec<Scope>,
    /// An instance that it reaches; may be given several times [default: all].
    #[arg(long = "instance", value_name = "ID", conflicts_with = "operator")]
    instances: Vec<InstanceId>,
    /// A network from which it may be used, such as 203.0.113.0/24; may be given several times
    /// [default: everywhere].
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<IpNet>,
    /// When it expires, such as 2027-01-31T12:00:00Z [default: never].
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// Calls at most per minute [default: no limit of its own].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    calls_per_minute: Option<u32>,
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

impl KeyCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create {
                principal,
                name,
                limits,
                common,
            } => {
                tenant::check_name(&name)?;
                limits.check()?;
                let store = node::open(&common).await?;
                let text = create(&store, principal.find(&store).await?, name, *limits).await?;
                store.close().await;
                say(&format!("{text}\n"));
            }
            Self::List { principal, common } => {
                let store = node::open(&common).await?;
                let text = list(&store, principal.find(&store).await?).await?;
                store.close().await;
                say(&text);
            }
            Self::Revoke {
                id,
                principal,
                common,
            } => {
                let store = node::open(&common).await?;
                let of = principal.find(&store).await?;
                match store.revoke_key(of, id).await {
                    Err(StoreError::NotFound) => anyhow::bail!("there is no such key {id}"),
                    revoked => revoked?,
                }
                let action = match of {
                    Principal::Tenant(_) => "delete_api_key",
                    Principal::Operator => "delete_operator_api_key",
                };
                let act = audit::acts(action, of.tenant(), &id.to_string());
                store.append_audit(act).await?;
                store.close().await;
            }
        }
        Ok(())
    }
}

async fn create(
    store: &SqlStore,
    principal: Principal,
    name: String,
    limits: Restrictions,
) -> anyhow::Result<String> {
    if let Principal::Tenant(tenant) = principal {
        for &instance in &limits.instances {
            match store.instance(tenant, instance).await {
                Err(StoreError::NotFound) => anyhow::bail!("the tenant has no instance {instance}"),
                found => drop(found?),
            }
        }
    }
    let new = NewKey {
        scopes: if limits.scopes.is_empty() {
            Scopes::All
        } else {
            Scopes::these(limits.scopes)
        },
        instances: limits.instances,
        allowed_networks: limits.networks,
        calls_per_minute: limits.calls_per_minute,
        expires_at: limits.expires_at,
        ..NewKey::new(principal, name)
    };
    let made = new
        .keep(store, &SystemClock, &OsEntropy)
        .await
        .context("the key could not be kept")?;
    let action = match principal {
        Principal::Tenant(_) => "create_tenant_api_key",
        Principal::Operator => "create_operator_api_key",
    };
    let act = audit::acts(action, principal.tenant(), &made.key.id.to_string());
    store.append_audit(act).await?;
    Ok(made.text.reveal().to_owned())
}

async fn list(store: &SqlStore, of: Principal) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut page = PageRequest::new(None, PAGE_ROWS_MAX);
    loop {
        let keys = store.keys(of, page).await?;
        for key in &keys.rows {
            line(&mut text, key)?;
        }
        let Some(next) = keys.next else { return Ok(text) };
        page = PageRequest::new(Some(next), PAGE_ROWS_MAX);
    }
}

fn line(text: &mut String, key: &ApiKey) -> anyhow::Result<()> {
    let scopes = match &key.scopes {
        Scopes::All => "*".to_owned(),
        Scopes::These(scopes) => {
            let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
            names.join(",")
        }
    };
    let time = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
    writeln!(
        text,
        "{}\t{}\t{scopes}\tused {}\texpires {}",
        key.id,
        key.name,
        time(key.last_used_at),
        time(key.expires_at),
    )?;
    Ok(())
}

impl Whom {
    /// Whom it is; a tenant has to be there.
    async fn find(&self, store: &SqlStore) -> anyhow::Result<Principal> {
        let Some(id) = self.tenant else {
            return Ok(Principal::Operator);
        };
        match store.tenant(id).await {
            Ok(_) => Ok(Principal::Tenant(id)),
            Err(StoreError::NotFound) => anyhow::bail!(
                "there is no tenant {id} in this database; `roost tenant create NAME` makes one"
            ),
            Err(error) => Err(error.into()),
        }
    }
}

impl Restrictions {
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.instances.len() <= INSTANCES_MAX,
            "a key is bound to at most {INSTANCES_MAX} instances"
        );
        anyhow::ensure!(
            self.networks.len() <= NETWORKS_MAX,
            "a key has at most {NETWORKS_MAX} networks"
        );
        anyhow::ensure!(
            self.expires_at.is_none_or(|at| at > SystemClock.now()),
            "--expires-at must be in the future"
        );
        Ok(())
    }
}
