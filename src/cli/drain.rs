//! `roost drain`: empties a node before its host is taken down.

use std::time::Duration;

use clap::Args;
use roost_actors::operator::NodeView;
use roost_domain::cluster::NodeName;
use tokio::time::{Instant, sleep};

use super::gateway::{Gateway, GatewayError, GatewayOptions};
use super::say;

const POLL: Duration = Duration::from_millis(500);

/// Have a node of a cluster give away everything that it runs, and keep it so.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The node [default: the one that answers at --url].
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// Wait until nothing runs on it any more.
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    timeout: u64,
    /// Take the drain back: the node is given slots again.
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
    #[command(flatten)]
    gateway: GatewayOptions,
}

impl Drain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let gateway = self.gateway.open()?;
        let node = match self.node {
            Some(node) => node.to_string(),
            None => {
                let nodes = gateway.nodes().await?;
                let here = nodes.into_iter().find(|row| row.here);
                here.map(|row| row.node)
                    .ok_or_else(|| anyhow::anyhow!("the gateway does not say which node it is; use --node"))?
            }
        };
        let row = gateway.drain(&node, !self.undo).await?;
        if self.undo {
            say(&format!("{node} is given slots again\n"));
            return Ok(());
        }
        say(&format!(
            "{node} gives its slots away: it has {}\n",
            row.slots.owned
        ));
        if self.wait {
            wait(&gateway, &node, Duration::from_secs(self.timeout)).await?;
            say(&format!(
                "{node} is drained: it owns no slot and runs no session\n"
            ));
        }
        Ok(())
    }
}

/// Waits until a node has nothing left. A gateway that does not answer for a moment is asked again.
async fn wait(gateway: &Gateway, node: &str, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    let (mut left, mut silent) = (None, false);
    loop {
        match gateway.nodes().await {
            Ok(rows) => {
                silent = false;
                let Some(row) = rows.into_iter().find(|row| row.node == node) else {
                    // It was stopped: then it has nothing either.
                    return Ok(());
                };
                anyhow::ensure!(row.draining, "{node} was taken back while it was drained");
                if is_empty(&row) {
                    return Ok(());
                }
                if left.replace(row.slots.owned) != Some(row.slots.owned) {
                    say(&format!("{} slots left\n", row.slots.owned));
                }
            }
            Err(error @ GatewayError::Unreachable { .. }) => {
                if !std::mem::replace(&mut silent, true) {
                    say(&format!("{error}; asking again\n"));
                }
            }
            Err(error) => return Err(error.into()),
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{node} is not empty after {} s; it goes on giving its slots away",
            limit.as_secs()
        );
        sleep(POLL).await;
    }
}

fn is_empty(row: &NodeView) -> bool {
    let runs = row.load.as_ref().map_or(0, |load| load.sessions.count);
    row.slots.owned == 0 && runs == 0
}
