//! The numbers of a run: instances paired with virtual phones, and for each a peer on WhatsApp that
//! no instance belongs to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::api::{Gateway, Sandbox};
use crate::bench::Bench;
use crate::error::{LoadError, Result};
use crate::phase::within_showing;

const POLL: Duration = Duration::from_millis(50);

/// One paired instance.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id in the API.
    pub instance: String,
    /// Digits of its phone number.
    pub phone: String,
    /// Digits of its peer's phone number; there is no such account unless peers were made.
    pub peer: String,
}

impl Member {
    /// Numbers under a country code that nobody has.
    fn numbers(index: u32) -> (String, String) {
        (format!("99910{index:08}"), format!("99920{index:08}"))
    }
}

/// Makes `count` instances, pairs each with a phone of its own and waits until all are connected.
pub async fn pair(bench: &Bench<'_>, count: u32) -> Result<Vec<Member>> {
    let options = &bench.setup.options;
    let (made, paired) = (AtomicU32::new(0), AtomicU32::new(0));
    let work = futures::stream::iter(0..count)
        .map(|index| pair_one(&bench.gateway, &bench.sandbox, index, &made, &paired))
        .buffered(usize::from(options.setup_concurrency))
        .try_collect::<Vec<Member>>();
    let progress = || {
        let (made, paired) = (made.load(Ordering::Relaxed), paired.load(Ordering::Relaxed));
        format!("{made} of {count} instances made, {paired} connected")
    };
    let members = within_showing("pairing the instances", options.setup_timeout, progress, work).await?;
    check_connected(bench, count).await?;
    Ok(members)
}

/// Makes the account of every member's peer.
pub async fn make_peers(bench: &Bench<'_>, members: &[Member]) -> Result<()> {
    let made = AtomicU32::new(0);
    let work = futures::stream::iter(members)
        .map(|member| async {
            bench.sandbox.create_account(&member.peer).await?;
            made.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .buffer_unordered(usize::from(bench.setup.options.setup_concurrency))
        .try_collect::<()>();
    let progress = || format!("{} of {} made", made.load(Ordering::Relaxed), members.len());
    let limit = bench.setup.options.setup_timeout;
    within_showing("making the peers' accounts", limit, progress, work).await
}

/// Fails unless at least `count` instances are connected by the gateway's and by the sandbox's word.
pub async fn check_connected(bench: &Bench<'_>, count: u32) -> Result<()> {
    let instances = bench.gateway.instances().await?;
    let connected = instances
        .iter()
        .filter(|instance| instance.state == "connected")
        .count();
    let links = bench.sandbox.stats().await?.connected;
    if connected < count as usize || links < u64::from(count) {
        return Err(LoadError::Stuck {
            phase: "checking the connections".to_owned(),
            progress: format!(
                "of {count} instances {connected} are connected by the gateway's word and {links} by the sandbox's"
            ),
            limit: Duration::ZERO,
        });
    }
    Ok(())
}

async fn pair_one(
    gateway: &Gateway,
    sandbox: &Sandbox,
    index: u32,
    made: &AtomicU32,
    paired: &AtomicU32,
) -> Result<Member> {
    let member = make(gateway, sandbox, index).await?;
    made.fetch_add(1, Ordering::Relaxed);
    link(gateway, sandbox, &member).await?;
    paired.fetch_add(1, Ordering::Relaxed);
    Ok(member)
}

/// Makes an instance and the phone it is to be paired with.
pub async fn make(gateway: &Gateway, sandbox: &Sandbox, index: u32) -> Result<Member> {
    let (phone, peer) = Member::numbers(index);
    sandbox.create_account(&phone).await?;
    let instance = gateway.create_instance(&format!("load-{index}")).await?;
    Ok(Member {
        instance,
        phone,
        peer,
    })
}

/// Pairs an instance with its phone and waits until it is connected. After an error it can be tried again.
pub async fn link(gateway: &Gateway, sandbox: &Sandbox, member: &Member) -> Result<()> {
    let Member { instance, phone, .. } = member;
    gateway.connect(instance).await?;
    let mut scanned = false;
    loop {
        if !scanned && let Some(code) = gateway.qr(instance).await? {
            scanned = sandbox.scan(phone, &code).await?;
        }
        if check_not_ended(gateway, instance).await? == "connected" {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The state of an instance that is on its way to `connected`; an error when it cannot get there.
async fn check_not_ended(gateway: &Gateway, instance: &str) -> Result<String> {
    let shown = gateway.instance(instance).await?;
    if ["disconnected", "logged_out", "restricted", "failed"].contains(&shown.state.as_str()) {
        return Err(LoadError::NotConnected {
            instance: shown.id,
            state: shown.state,
            reason: shown.state_reason.unwrap_or_else(|| "no reason given".to_owned()),
        });
    }
    Ok(shown.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_valid_and_of_one_member_only() {
        let mut all: Vec<String> = (0..20_000)
            .flat_map(|index| <[String; 2]>::from(Member::numbers(index)))
            .collect();
        assert!(
            all.iter()
                .all(|number| number.len() == 13 && !number.starts_with('0'))
        );
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 40_000);
    }
}
