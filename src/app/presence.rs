//! A gateway without a cluster, on a database that others could use as well: it registers there as the one
//! and only, so that a second gateway, or a node of a cluster, is refused instead of taking its instances.
//!
//! It is no lease: sessions go on while the database is away, as nobody can take them then, and epochs
//! fence whoever comes later. When the row has run out meanwhile, this gateway registers again; when
//! another has taken its place, it has nothing left to do and says so ([`Presence::displaced`]).
//!
//! After a crash the row runs out by itself. The same gateway need not wait for that: its address is its
//! host and its data folder, of which it holds the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use roost_domain::cluster::{LOCAL_NODE, Member, Membership, MembershipError, NodeCard};
use roost_domain::outage::Outage;
use roost_store::{MembershipLimits, PgMembership};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::part::{open_error, store_config};
use crate::config::Config;

/// File in the data folder whose lock proves that no other process runs on the folder.
const LOCK: &str = "gateway.lock";

/// See the module. Dropped, it leaves the row to run out.
pub struct Presence {
    membership: Arc<dyn Membership>,
    standing: watch::Receiver<Standing>,
    keeping: AbortOnDropHandle<()>,
    _lock: File,
}

/// What became of the row.
#[derive(Debug, Clone)]
enum Standing {
    Registered(Member),
    Displaced(String),
}

impl Presence {
    /// Registers. A gateway that crashed elsewhere is given the time to run out. None, where no other
    /// gateway could be: on SQLite, which has a lock of its own, and in a cluster.
    pub async fn announce(config: &Config, http: SocketAddr) -> anyhow::Result<Option<Self>> {
        let url = config.store.url.as_ref();
        if config.cluster.node.is_some() || url.is_none_or(|url| url.scheme() == "sqlite") {
            return Ok(None);
        }
        let folder = &config.data.dir;
        let lock = lock(folder)?;
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let card = NodeCard {
            node: LOCAL_NODE.to_owned().try_into()?,
            address: format!("{host}:{}", folder.display()),
            http_address: http.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let ttl = config.cluster.lease;
        let limits = MembershipLimits {
            renew: ttl / 3,
            call: ttl / 3,
        };
        let rows = PgMembership::new(&store_config(config)?, limits).map_err(open_error)?;
        let membership: Arc<dyn Membership> = Arc::new(rows);
        let me = first(&*membership, &card, ttl).await?;
        let (told, standing) = watch::channel(Standing::Registered(me.clone()));
        let keeping = tokio::spawn(keep(Arc::clone(&membership), card, ttl, me, told));
        Ok(Some(Self {
            membership,
            standing,
            keeping: AbortOnDropHandle::new(keeping),
            _lock: lock,
        }))
    }

    /// Waits until another gateway has taken this one's place: who.
    pub async fn displaced(&self) -> String {
        let mut standing = self.standing.clone();
        let displaced = standing.wait_for(|standing| matches!(standing, Standing::Displaced(_)));
        match displaced.await.as_deref() {
            Ok(Standing::Displaced(by)) => by.clone(),
            // The task does not end otherwise.
            _ => std::future::pending().await,
        }
    }

    /// Signs off: the next gateway need not wait.
    pub async fn leave(self) {
        self.keeping.abort();
        let Standing::Registered(me) = self.standing.borrow().clone() else {
            return;
        };
        if let Err(error) = self.membership.leave(&me).await {
            tracing::warn!(%error, "this gateway could not sign off; its row runs out by itself");
        }
    }
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.with_context(|| format!("cannot use {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process runs on the data folder {}; stop it, or choose another with --data-dir (or data.dir)",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot use {}", path.display()))
        }
    }
}

async fn first(membership: &dyn Membership, card: &NodeCard, ttl: Duration) -> anyhow::Result<Member> {
    let (begun, mut outage) = (Instant::now(), Outage::default());
    loop {
        match membership.register(card, ttl).await {
            Ok(me) => {
                if outage.worked() {
                    tracing::info!("this gateway is registered");
                }
                return Ok(me);
            }
            Err(error) if begun.elapsed() > ttl => return Err(error.into()),
            Err(error @ MembershipError::Layout(_)) => return Err(error.into()),
            Err(error) => {
                if outage.failed(&error) {
                    tracing::warn!(%error, "this gateway cannot register yet; trying again");
                }
            }
        }
        sleep(ttl / 16).await;
    }
}

/// Renews the row; registers again when it has run out, unless somebody else has meanwhile.
async fn keep(
    membership: Arc<dyn Membership>,
    card: NodeCard,
    ttl: Duration,
    mut me: Member,
    told: watch::Sender<Standing>,
) {
    loop {
        sleep(ttl / 4).await;
        let lost = match membership.renew(&me, ttl).await {
            Ok(()) => continue,
            Err(error) => error,
        };
        if !matches!(lost, MembershipError::Lost) {
            tracing::debug!(error = %lost, "the row of this gateway could not be renewed; trying again");
            continue;
        }
        match membership.register(&card, ttl).await {
            Ok(again) => {
                me = again;
                told.send_replace(Standing::Registered(me.clone()));
            }
            Err(MembershipError::NotAlone { node, address }) => {
                told.send_replace(Standing::Displaced(format!("{node} at {address}")));
                return;
            }
            Err(error) => tracing::debug!(%error, "this gateway could not register again; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_used_by_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let error = lock(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("another process") && error.contains("--data-dir"),
            "{error}"
        );
        drop(held);
        lock(folder.path()).unwrap();
    }
}
