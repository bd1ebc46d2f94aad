//! `roost cluster certs`: certificates by which the nodes of a small cluster know each other.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use roost_domain::Clock;
use roost_domain::cluster::NodeName;
use roost_link::certs::{self, AUTHORITY_KEY};

use super::say;
use crate::system::SystemClock;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make an authority, and a certificate for each node.
    Certs(Certs),
}

#[derive(Debug, Args)]
pub(super) struct Certs {
    /// Folder for the files. It is made, and what is there stays: further nodes can be added later.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Names of the nodes, as in cluster.node.
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<NodeName>,
    /// Days for which the certificates are valid.
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Make new certificates also for nodes that have one.
    #[arg(long)]
    renew: bool,
}

impl ClusterCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Certs(certs) => certs.run(),
        }
    }
}

impl Certs {
    fn run(self) -> anyhow::Result<()> {
        let Self {
            dir,
            nodes,
            days,
            renew,
        } = self;
        let made = certs::make(&dir, &nodes, days, renew, SystemClock.now())
            .map_err(|error| anyhow::Error::new(error).context("the certificates cannot be made"))?;
        let mut text = String::new();
        for made in made {
            let what = if made.new {
                format!("a new certificate, valid for {days} days")
            } else {
                "it has a certificate, which stays (--renew replaces it)".to_owned()
            };
            writeln!(text, "# {}: {what}", made.node)?;
            writeln!(text, "[cluster]\nnode = \"{}\"", made.node)?;
            for (key, file) in [
                ("authority_file", &made.files.authority),
                ("certificate_file", &made.files.certificate),
                ("key_file", &made.files.key),
            ] {
                // A path with quotes or backslashes is written as TOML wants it.
                let value = toml::Value::String(file.display().to_string());
                writeln!(text, "{key} = {value}")?;
            }
            text.push('\n');
        }
        writeln!(
            text,
            "Bring a node the three files that its section names, and nothing else. Keep {} apart from all of \
             them: whoever has it can add nodes.",
            dir.join(AUTHORITY_KEY).display()
        )?;
        say(&text);
        Ok(())
    }
}
