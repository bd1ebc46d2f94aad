//! Nodes, their PostgreSQL, a sandbox, and instances that are paired and spread over the nodes.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::front::Front;
use super::gap::{self, History};
use super::node::{Common, Node, access};
use super::owner::{self, SHARES};
use crate::api::{Gateway, Sandbox};
use crate::bench::{Setup, endpoint, start_sandbox};
use crate::cli::{ClusterArgs, State};
use crate::error::{LoadError, Result};
use crate::phase::within_showing;
use crate::population::{self, Member};
use crate::postgres::Postgres;
use crate::process::Process;

const NAMES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// How long a node is up before it is given slots.
const STABLE_FOR: &str = "2s";
/// Slots lie still when they have not moved for so long, several times the pause between two moves.
const STILL: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);
/// Calls at once to the sandbox's control API.
const AT_ONCE: usize = 16;

/// Running nodes and what they work with. Dropping it ends all of it, the database last.
#[derive(Debug)]
pub struct Cluster<'a> {
    pub setup: &'a Setup,
    pub arguments: &'a ClusterArgs,
    pub nodes: Vec<Node>,
    pub common: Common,
    pub front: Arc<Front>,
    pub sandbox: Arc<Sandbox>,
    pub members: Vec<Member>,
    _sandbox_process: Process,
    pub postgres: Postgres,
}

impl<'a> Cluster<'a> {
    /// Three nodes with everything connected, spread over all of them.
    pub async fn of_three(setup: &'a Setup, arguments: &'a ClusterArgs) -> Result<Self> {
        let mut cluster = Self::start(setup, arguments, 3, Vec::new()).await?;
        cluster.pair().await?;
        Ok(cluster)
    }

    /// So many nodes with further variables in their environment, and nothing paired.
    pub async fn start(
        setup: &'a Setup,
        arguments: &'a ClusterArgs,
        nodes: usize,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        // When a slot was claimed is read off the transaction that did it.
        let postgres = Postgres::start_with(setup, &["track_commit_timestamp=on"]).await?;
        let folder = setup.subfolder()?;
        let (sandbox_process, address) = start_sandbox(setup, &folder, State::Memory).await?;
        let sandbox = Sandbox::new(endpoint(&address.to_string(), None)?);
        let mut common = common(setup, arguments, &folder, &postgres)?;
        common
            .environment
            .push(("ROOST__WHATSAPP__URL", format!("ws://{address}/ws/chat")));
        common.environment.extend(environment);
        let starts = NAMES[..nodes]
            .iter()
            .map(|name| Node::start(setup, &common, name));
        let cluster = Self {
            nodes: futures::future::try_join_all(starts).await?,
            setup,
            arguments,
            common,
            front: Arc::default(),
            sandbox: Arc::new(sandbox),
            members: Vec::new(),
            _sandbox_process: sandbox_process,
            postgres,
        };
        cluster.face();
        // A single node has nobody to share with, and may be no node of a cluster at all.
        if nodes > 1 {
            cluster.settle().await?;
        }
        Ok(cluster)
    }

    /// What any section says of the cluster.
    pub fn parameters(&self) -> serde_json::Value {
        json!({
            "nodes": self.nodes.len(),
            "instances": self.members.len(),
            "lease_s": self.arguments.lease.as_secs_f64(),
            "tls": self.arguments.tls,
        })
    }

    pub fn patience(&self) -> Duration {
        self.setup.options.wait_timeout
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// One of the nodes that run.
    pub fn gateway(&self) -> Result<&Gateway> {
        let node = self.running().next().ok_or(LoadError::NotRunning)?;
        Ok(&node.gateway)
    }

    /// Clients ask the nodes that run from now on.
    pub fn face(&self) {
        let endpoints = self.running().map(|node| node.gateway.endpoint.clone());
        self.front.face(endpoints);
    }

    /// Waits until every slot belongs to a node that runs, all of these have their share and nothing has
    /// moved for a while. Returns when the last slot moved.
    pub async fn settle(&self) -> Result<Instant> {
        let names: Vec<&str> = self.running().map(|node| node.name).collect();
        let shown = std::cell::RefCell::new(BTreeMap::new());
        let work = async {
            let (mut last, mut moved) = (Vec::new(), Instant::now());
            loop {
                let rows = self.postgres.ask(SHARES).await?;
                if rows != last {
                    (last, moved) = (rows, Instant::now());
                }
                let shares = owner::shares(&last)?;
                if owner::is_even(&shares, &names) && moved.elapsed() > STILL {
                    return Ok(moved);
                }
                shown.replace(shares);
                tokio::time::sleep(POLL).await;
            }
        };
        let progress = || format!("the slots are with {:?}", shown.borrow());
        within_showing("waiting for slots to lie still", self.patience(), progress, work).await
    }

    /// Which node runs each instance.
    pub async fn owners(&self) -> Result<BTreeMap<String, &'static str>> {
        let mut said = Vec::new();
        for node in self.running() {
            said.push((node.name, node.operator.actors("instance", node.name).await?));
        }
        Ok(owner::owners(said))
    }

    /// Members that a node runs.
    pub async fn members_of(&self, node: &str) -> Result<Vec<Member>> {
        let owners = self.owners().await?;
        let of_node = |member: &&Member| owners.get(&member.instance).is_some_and(|owner| *owner == node);
        Ok(self.members.iter().filter(of_node).cloned().collect())
    }

    /// Logins of every member.
    pub async fn histories(&self) -> Result<Vec<History>> {
        let read = self.members.iter().map(|member| async {
            let logins = self.sandbox.logins(&member.phone).await?;
            Ok(gap::history(logins))
        });
        futures::stream::iter(read).buffered(AT_ONCE).try_collect().await
    }

    /// Waits until all members are connected, those among `moved` by a login since a moment, and returns the
    /// logins of all.
    pub async fn connected(&self, moved: &[Member], since_us: u64) -> Result<Vec<History>> {
        let moved: HashSet<&str> = moved.iter().map(|member| member.phone.as_str()).collect();
        let waiting = AtomicU32::new(0);
        let work = async {
            loop {
                if self.sandbox.stats().await?.connected >= self.members.len() as u64 {
                    let histories = self.histories().await?;
                    let each = self.members.iter().zip(&histories);
                    let away = each.filter(|(member, history)| {
                        let since = if moved.contains(member.phone.as_str()) {
                            since_us
                        } else {
                            0
                        };
                        !gap::is_back(history, since)
                    });
                    let away = away.count();
                    if away == 0 {
                        return Ok(histories);
                    }
                    waiting.store(u32::try_from(away).unwrap_or(u32::MAX), Ordering::Relaxed);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let progress = || format!("{} are not back", waiting.load(Ordering::Relaxed));
        within_showing(
            "waiting for all numbers to be connected",
            self.patience(),
            progress,
            work,
        )
        .await
    }

    async fn pair(&mut self) -> Result<()> {
        let (count, options) = (self.arguments.instances, &self.setup.options);
        let (paired, sandbox) = (AtomicU32::new(0), &*self.sandbox);
        let in_turns = self.nodes.iter().map(|node| &node.gateway).cycle();
        let work = futures::stream::iter((0..count).zip(in_turns))
            .map(|(index, gateway)| {
                let paired = &paired;
                async move {
                    let member = population::make(gateway, sandbox, index).await?;
                    population::link(gateway, sandbox, &member).await?;
                    paired.fetch_add(1, Ordering::Relaxed);
                    Ok(member)
                }
            })
            .buffered(usize::from(options.setup_concurrency))
            .try_collect::<Vec<Member>>();
        let progress = || format!("{} of {count} connected", paired.load(Ordering::Relaxed));
        let limit = options.setup_timeout;
        let members = within_showing("pairing the instances", limit, progress, work).await?;
        self.members = members;
        self.connected(&[], 0).await?;
        Ok(())
    }

    /// Makes the accounts that talkers write to and hear from.
    pub async fn make_peers(&self, talkers: &[Member]) -> Result<()> {
        for member in talkers {
            match self.sandbox.create_account(&member.peer).await {
                // An earlier part made it.
                Ok(()) | Err(LoadError::Refused { status: 409, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Unix time in microseconds.
#[allow(
    clippy::disallowed_methods,
    reason = "compared with times that other processes wrote"
)]
pub fn now_us() -> u64 {
    // Not before 1970.
    jiff::Timestamp::now().as_microsecond().max(0).cast_unsigned()
}

/// A tenant and keys, made by the commands that an operator uses, before any node runs.
fn common(setup: &Setup, arguments: &ClusterArgs, folder: &Path, postgres: &Postgres) -> Result<Common> {
    let access = access(&postgres.url);
    let roost = |words: &[&str]| {
        let mut command = Command::new(&setup.roost);
        command.args(words).arg("--data-dir").arg(folder.join("data"));
        command.envs(access.iter().map(|(key, value)| (key, value)));
        said(command, words)
    };
    let tenant = roost(&["tenant", "create", "load"])?;
    let tenant_key = roost(&["key", "create", "--tenant", &tenant])?;
    let operator_key = roost(&["key", "create", "--operator"])?;
    let mut environment = access.clone();
    let lease = format!("{}ms", arguments.lease.as_millis());
    environment.extend([
        ("ROOST__CLUSTER__LEASE", lease),
        ("ROOST__CLUSTER__STABLE_FOR", STABLE_FOR.to_owned()),
    ]);
    let certificates = if arguments.tls {
        let made = folder.join("certificates");
        let mut command = Command::new(&setup.roost);
        let words = ["cluster", "certs", "--dir"];
        command.args(words).arg(&made).args(NAMES);
        said(command, &words)?;
        Some(made)
    } else {
        None
    };
    Ok(Common {
        environment,
        tenant_key,
        operator_key,
        certificates,
    })
}

/// The last word that a command says.
fn said(mut command: Command, words: &[&str]) -> Result<String> {
    let output = command.env("ROOST__LOG__FILTER", "error").output()?;
    if !output.status.success() {
        return Err(LoadError::Command {
            command: format!("roost {}", words.join(" ")),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
}
