//! The scenarios. Each takes running processes and returns one [`Section`] of the report.

pub mod api;
pub mod cluster;
pub mod idle;
pub mod receive;
pub mod restart;
pub mod sandbox;
pub mod send;
pub mod start;
pub mod webhooks;

mod hammer;
mod traffic;

use crate::bench::{Bench, Setup};
use crate::cli::{AllArgs, Defaults, IdleArgs, ReceiveArgs, RestartArgs, Scenario, SendArgs, StartArgs};
use crate::error::Result;
use crate::population::{make_peers, pair};
use crate::process::Usage;
use crate::report::Section;

const KIB: f64 = 1_024.0;
const MIB: f64 = KIB * KIB;

/// Runs a scenario; `each` gets every section as soon as it is complete.
pub async fn run(setup: &Setup, scenario: Scenario, each: &mut impl FnMut(Section)) -> Result<()> {
    match scenario {
        Scenario::Start(start) => each(start::measure(setup, &start).await?),
        Scenario::Idle(idle) => {
            let mut bench = Bench::start(setup).await?;
            each(idle::measure(&mut bench, &idle).await?.0);
        }
        Scenario::Restart(restart) => {
            let mut bench = Bench::start(setup).await?;
            let members = pair(&bench, restart.instances).await?;
            restarts(&mut bench, &members, &restart, each).await?;
        }
        Scenario::Send(send) => traffic(setup, send.instances, Some(&send), None, each).await?,
        Scenario::Receive(receive) => {
            traffic(setup, receive.instances, None, Some(&receive), each).await?;
        }
        Scenario::Sandbox(sandbox) => {
            for &state in &sandbox.state {
                sandbox::measure(setup, &sandbox, state, each).await?;
            }
        }
        Scenario::Webhooks(webhooks) => {
            for &database in &webhooks.database {
                webhooks::measure(setup, &webhooks, database, each).await?;
            }
        }
        Scenario::Api(args) => {
            for &database in &args.database {
                each(api::measure(setup, &args, database).await?);
            }
        }
        Scenario::Cluster(args) => cluster::measure(setup, &args, each).await?,
        Scenario::All(all) => run_all(setup, &all, each).await?,
    }
    Ok(())
}

async fn run_all(setup: &Setup, all: &AllArgs, each: &mut impl FnMut(Section)) -> Result<()> {
    each(start::measure(setup, &StartArgs::defaults()).await?);
    {
        // Pairing is the long part: both scenarios with many instances share one population.
        let mut bench = Bench::start(setup).await?;
        let idle = IdleArgs {
            instances: all.instances_idle,
            ..IdleArgs::defaults()
        };
        let (section, members) = idle::measure(&mut bench, &idle).await?;
        each(section);
        let restart = RestartArgs {
            instances: all.instances_idle,
            ..RestartArgs::defaults()
        };
        restarts(&mut bench, &members, &restart, each).await?;
    }
    let send = SendArgs {
        instances: all.instances,
        duration: all.duration,
        ..SendArgs::defaults()
    };
    traffic(setup, all.instances, Some(&send), None, each).await?;
    let receive = ReceiveArgs {
        instances: all.instances,
        duration: all.duration,
        ..ReceiveArgs::defaults()
    };
    traffic(setup, all.instances, None, Some(&receive), each).await
}

async fn restarts(
    bench: &mut Bench<'_>,
    members: &[crate::population::Member],
    restart: &RestartArgs,
    each: &mut impl FnMut(Section),
) -> Result<()> {
    for &end in &restart.signal {
        each(restart::measure(bench, members, end).await?);
    }
    Ok(())
}

async fn traffic(
    setup: &Setup,
    instances: u32,
    send: Option<&SendArgs>,
    receive: Option<&ReceiveArgs>,
    each: &mut impl FnMut(Section),
) -> Result<()> {
    let mut bench = Bench::start(setup).await?;
    let members = pair(&bench, instances).await?;
    make_peers(&bench, &members).await?;
    if let Some(send) = send {
        for &rate in &send.rate {
            each(send::measure(&mut bench, &members, send, rate).await?);
        }
    }
    if let Some(receive) = receive {
        for &rate in &receive.rate {
            each(receive::measure(&mut bench, &members, receive, rate).await?);
        }
    }
    Ok(())
}

/// CPU in milliseconds between two readings.
fn cpu_ms(before: &Usage, after: &Usage) -> f64 {
    after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1_000.0
}

/// Growth in bytes divided over `count` things.
fn growth_each(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count.max(1) as f64
}
