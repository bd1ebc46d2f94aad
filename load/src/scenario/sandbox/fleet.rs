//! The companions of the scenario: linked one by one, then each a task that lives on its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use roost_sandbox::wire::jid::Jid;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::member::{Member, Phase, Progress};
use crate::api::Sandbox;
use crate::cli::Options;
use crate::companion::Companion;
use crate::error::{LoadError, Result};
use crate::phase::within_showing;

/// All companions of one measurement.
pub struct Fleet {
    pub numbers: Vec<String>,
    pub progress: Arc<Progress>,
    phase: watch::Sender<Phase>,
    members: JoinSet<Result<()>>,
}

/// Digits of the account with this index, under a country code that nobody has.
fn number(index: u32) -> String {
    format!("99930{index:08}")
}

impl Fleet {
    /// Makes `count` accounts, links a companion to each and keeps them connected.
    pub async fn gather(options: &Options, sandbox: &Sandbox, count: u32) -> Result<Self> {
        let linked = AtomicU32::new(0);
        let addr = sandbox.endpoint.addr;
        let progress = Arc::new(Progress::default());
        let (phase, watched) = watch::channel(Phase::Rest);
        let mut fleet = Self {
            numbers: (0..count).map(number).collect(),
            progress: progress.clone(),
            phase,
            members: JoinSet::new(),
        };
        let linked_ones = futures::stream::iter(0..count)
            .map(|index| {
                let linked = &linked;
                async move {
                    let ready = link(sandbox, addr, &number(index)).await?;
                    linked.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, LoadError>((index, ready))
                }
            })
            .buffer_unordered(usize::from(options.setup_concurrency));
        let members = &mut fleet.members;
        let work = linked_ones.try_for_each(|(index, (companion, wire))| {
            // Neighbours write to each other; the device is the first one of its account.
            let peer = Jid::new(number(index ^ 1), 1, companion.jid.domain);
            let member = Member::new(index, companion, wire, peer, progress.clone());
            members.spawn(member.live(watched.clone()));
            std::future::ready(Ok(()))
        });
        let shown = || format!("{} of {count} linked", linked.load(Ordering::Relaxed));
        within_showing("linking the companions", options.setup_timeout, shown, work).await?;
        Ok(fleet)
    }

    /// Has the phones of the first `talkers` accounts write to their neighbours, so that their
    /// companions have sessions with them that were answered.
    pub async fn introduce(&self, options: &Options, sandbox: &Sandbox, talkers: u32) -> Result<()> {
        let work = futures::stream::iter(0..talkers)
            .map(|index| {
                sandbox.phone_sends(
                    &self.numbers[index as usize],
                    &self.numbers[(index ^ 1) as usize],
                    "Hello",
                )
            })
            .buffer_unordered(usize::from(options.setup_concurrency))
            .try_collect::<()>();
        let introduced = || self.progress.introduced.load(Ordering::Relaxed);
        let shown = || format!("{} of {talkers} introduced", introduced());
        let all = async {
            work.await?;
            while introduced() < u64::from(talkers) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        within_showing("introducing the talkers", options.setup_timeout, shown, all).await
    }

    /// Has every member go over to another phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Fails when a member has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.members.try_join_next() {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }

    /// Ends all members.
    pub async fn disband(mut self) -> Result<()> {
        self.enter(Phase::End);
        while let Some(ended) = self.members.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// A companion linked to an account of its own, after its first login.
async fn link(
    sandbox: &Sandbox,
    addr: SocketAddr,
    number: &str,
) -> Result<(Companion, crate::companion::Wire)> {
    sandbox.create_account(number).await?;
    let failed = |source| LoadError::Companion {
        number: number.to_owned(),
        source,
    };
    let mut companion = Companion::generate();
    let (mut wire, code) = companion.register(addr).await.map_err(failed)?;
    let (scanned, confirmed) = tokio::join!(sandbox.scan(number, &code), companion.confirm(&mut wire));
    confirmed.map_err(failed)?;
    if !scanned? {
        let source = crate::companion::WireError::Unexpected("the code is not shown".to_owned());
        return Err(failed(source));
    }
    drop(wire);
    let wire = companion.first_login(addr).await.map_err(failed)?;
    Ok((companion, wire))
}
