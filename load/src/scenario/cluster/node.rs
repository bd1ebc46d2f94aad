//! One node: a `roost serve` that is ended and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde::Deserialize;

use crate::api::{Gateway, Operator};
use crate::bench::{Setup, endpoint, free_port, until_written};
use crate::error::{LoadError, Result};
use crate::process::{Ended, Process, Usage};

/// A database of this run alone is encrypted with it.
const MASTER_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// So does every node prove to the others that it belongs to them.
const COOKIE: &str = "the nodes of one roost-load";

/// What all nodes have in common.
#[derive(Debug)]
pub struct Common {
    /// Keys of configuration, as variables of the environment.
    pub environment: Vec<(&'static str, String)>,
    pub tenant_key: String,
    pub operator_key: String,
    /// Folder with certificates, if the nodes speak TLS.
    pub certificates: Option<PathBuf>,
}

/// What every command on the database needs.
pub fn access(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("ROOST__STORE__URL", url.to_owned()),
        ("ROOST__STORE__MASTER_KEY", MASTER_KEY.to_owned()),
    ]
}

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    pub name: &'static str,
    pub gateway: Gateway,
    pub operator: Operator,
    /// None between its end and its next start.
    process: Option<Process>,
    folder: PathBuf,
    /// Where others reach it, the same in every life.
    listen: SocketAddr,
}

/// What a node writes when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    api: String,
}

impl Node {
    /// Starts it for the first time and waits until it is ready.
    pub async fn start(setup: &Setup, common: &Common, name: &'static str) -> Result<Self> {
        let (folder, listen) = (setup.subfolder()?, free_port()?);
        let (process, api) = launch(setup, common, name, &folder, listen).await?;
        let (gateway, operator) = clients(common, &api)?;
        Ok(Self {
            name,
            gateway,
            operator,
            process: Some(process),
            folder,
            listen,
        })
    }

    /// Starts it again; returns the moment of its start.
    pub async fn restart(&mut self, setup: &Setup, common: &Common) -> Result<Instant> {
        let (process, api) = launch(setup, common, self.name, &self.folder, self.listen).await?;
        (self.gateway, self.operator) = clients(common, &api)?;
        let started = process.started;
        self.process = Some(process);
        Ok(started)
    }

    /// Ends it with a signal.
    pub async fn end(&mut self, setup: &Setup, signal: Signal) -> Result<Ended> {
        let process = self.process.take().ok_or(NOT_RUNNING)?;
        process.end(signal, setup.options.wait_timeout).await
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What it has used since its last start; fails when it has ended by itself.
    pub fn usage(&mut self) -> Result<Usage> {
        let process = self.process.as_mut().ok_or(NOT_RUNNING)?;
        process.check_alive("measuring")?;
        process.usage()
    }
}

const NOT_RUNNING: LoadError = LoadError::NotRunning;

async fn launch(
    setup: &Setup,
    common: &Common,
    name: &'static str,
    folder: &Path,
    listen: SocketAddr,
) -> Result<(Process, String)> {
    let file = folder.join("ready.json");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut command = Command::new(&setup.roost);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&setup.config)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--ready-file")
        .arg(&file)
        .env("ROOST__CLUSTER__NODE", name)
        .env("ROOST__CLUSTER__LISTEN", listen.to_string())
        .env("ROOST__CLUSTER__COOKIE", COOKIE)
        .envs(common.environment.iter().map(|(key, value)| (key, value)));
    if let Some(folder) = &common.certificates {
        command
            .env("ROOST__CLUSTER__AUTHORITY_FILE", folder.join("authority.pem"))
            .env(
                "ROOST__CLUSTER__CERTIFICATE_FILE",
                folder.join(format!("{name}.pem")),
            )
            .env("ROOST__CLUSTER__KEY_FILE", folder.join(format!("{name}.key")));
    }
    let mut process = setup.spawn_command(name, command, folder)?;
    let phase = format!("starting {name}");
    let ready: Ready = until_written(&mut process, &file, &phase, setup.options.wait_timeout).await?;
    Ok((process, ready.api))
}

fn clients(common: &Common, api: &str) -> Result<(Gateway, Operator)> {
    let gateway = Gateway::new(endpoint(api, Some(&common.tenant_key))?);
    let operator = Operator::new(endpoint(api, Some(&common.operator_key))?);
    Ok((gateway, operator))
}
