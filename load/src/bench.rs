//! A gateway and a sandbox of their own for one scenario, with an empty database.
//!
//! [`Setup`] lives as long as the tool and knows the programs and the logs; a [`Bench`] is one pair
//! of processes. Dropping a bench ends both processes; dropping the setup removes their files.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::api::{Gateway, Sandbox};
use crate::cli::{Database, Options, State};
use crate::error::{LoadError, Result};
use crate::http::{Call, Connection, Endpoint};
use crate::phase::{within, within_showing};
use crate::postgres::Postgres;
use crate::process::{Ended, Process, Usage};

/// Limits that protect WhatsApp from stampedes and that loopback does not need.
const CONFIG: &str = include_str!("gateway.toml");
/// Lines of a log that are shown after a failure.
const TAIL_LINES: usize = 25;
const TAIL_BYTES: usize = 64 << 10;
/// A port that was free a moment ago can be taken by another program.
const PORT_TRIES: u32 = 3;
const POLL: Duration = Duration::from_millis(5);
/// How long a fresh pair rests before its memory counts as memory at rest.
const REST: Duration = Duration::from_secs(2);

/// The programs under test and where their files are.
#[derive(Debug)]
pub struct Setup {
    pub roost: PathBuf,
    pub roost_sandbox: PathBuf,
    pub config: PathBuf,
    pub options: Options,
    folder: PathBuf,
    /// Removes the folder in the end; `None` when its files are to be kept.
    _removal: Option<TempDir>,
    next: AtomicU32,
    logs: Mutex<Vec<(&'static str, PathBuf)>>,
}

/// What the gateway writes when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    api: String,
    api_key: String,
}

impl Setup {
    /// Finds the programs and makes the folder. The gateway's program is only looked for where it is
    /// needed; `roost` is the sandbox's otherwise.
    pub fn new(options: Options, needs_gateway: bool) -> Result<Self> {
        let beside = |name: &str| std::env::current_exe().map(|program| program.with_file_name(name));
        let program = |given: &Option<PathBuf>, name: &str| -> Result<PathBuf> {
            let path = given.clone().map_or_else(|| beside(name), Ok)?;
            existing(&path, "there is no program at")
        };
        let roost_sandbox = program(&options.roost_sandbox, "roost-sandbox")?;
        let roost = if needs_gateway {
            program(&options.roost, "roost")?
        } else {
            roost_sandbox.clone()
        };
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("roost-load-");
        let folder = match &options.work_dir {
            Some(work_dir) => builder.tempdir_in(work_dir),
            None => builder.tempdir(),
        }?;
        let (path, removal) = if options.keep_files {
            (folder.keep(), None)
        } else {
            (folder.path().to_owned(), Some(folder))
        };
        let config = match &options.config {
            Some(config) => existing(config, "there is no configuration at")?,
            None => {
                let config = path.join("gateway.toml");
                std::fs::write(&config, CONFIG)?;
                config
            }
        };
        Ok(Self {
            roost,
            roost_sandbox,
            config,
            options,
            folder: path,
            _removal: removal,
            next: AtomicU32::new(1),
            logs: Mutex::default(),
        })
    }

    /// Where the files of this run are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A number that nothing else in this tool's run has.
    pub fn next_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A new folder for one pair of processes.
    pub fn subfolder(&self) -> Result<PathBuf> {
        let number = self.next_number();
        let folder = self.folder.join(number.to_string());
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Starts a program whose log is shown when something fails.
    pub fn spawn(
        &self,
        name: &'static str,
        program: &Path,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Process> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.spawn_command(name, command, folder)
    }

    /// The same with whatever a command can have.
    pub fn spawn_command(&self, name: &'static str, command: Command, folder: &Path) -> Result<Process> {
        let number = self.next_number();
        let log = folder.join(format!("{name}-{number}.log"));
        let process = Process::spawn(name, command, &log)?;
        self.logs().push((name, log));
        Ok(process)
    }

    /// The end of the newest log of each program.
    pub fn log_tails(&self) -> String {
        let newest: BTreeMap<_, _> = self.logs().iter().cloned().collect();
        let mut text = String::new();
        for (name, path) in newest {
            let log = std::fs::read(path).unwrap_or_default();
            text.push_str(&format!("--- end of the log of the {name}\n{}", tail(&log)));
        }
        text
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, PathBuf)>> {
        // A panic cannot leave a list of paths half changed.
        self.logs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The path from the root, if there is something.
fn existing(path: &Path, what: &'static str) -> Result<PathBuf> {
    let found = path.metadata().and_then(|_| std::path::absolute(path));
    found.map_err(|source| LoadError::File {
        what,
        path: path.to_owned(),
        source,
    })
}

fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL_BYTES)..]);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    shown.iter().map(|line| format!("{line}\n")).collect()
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Calls `path` until it answers 200; fails when the process ends before.
pub async fn until_ok(process: &mut Process, addr: SocketAddr, path: &str, phase: &str) -> Result<()> {
    let endpoint = Endpoint::new(addr, None).map_err(|source| LoadError::Call {
        call: path.to_owned(),
        source,
    })?;
    let mut connection = Connection::new(endpoint);
    loop {
        let answer = connection.call(&Call::get(path)).await;
        if answer.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        process.check_alive(phase)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A running sandbox and a gateway that uses it.
#[derive(Debug)]
pub struct Bench<'a> {
    pub setup: &'a Setup,
    pub gateway: Gateway,
    pub sandbox: Sandbox,
    /// The gateway's process; `None` between its end and its next start.
    gateway_process: Option<Process>,
    sandbox_process: Process,
    /// Both at rest, before any instance was made.
    pub gateway_at_rest: Usage,
    pub sandbox_at_rest: Usage,
    folder: PathBuf,
    /// Its database server, when it is not SQLite; dropped after the gateway.
    postgres: Option<Postgres>,
}

impl<'a> Bench<'a> {
    /// Starts both processes and waits until they are ready and at rest.
    pub async fn start(setup: &'a Setup) -> Result<Self> {
        Self::start_on(setup, Database::Sqlite).await
    }

    /// The same with a choice of database.
    pub async fn start_on(setup: &'a Setup, database: Database) -> Result<Self> {
        let folder = setup.subfolder()?;
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(Postgres::start(setup).await?),
        };
        let (sandbox_process, sandbox_addr) = start_sandbox(setup, &folder, State::Memory).await?;
        let sandbox = Sandbox::new(endpoint(&sandbox_addr.to_string(), None)?);
        let (gateway_process, gateway) =
            start_gateway(setup, &folder, sandbox_addr, postgres.as_ref()).await?;
        tokio::time::sleep(REST).await;
        Ok(Self {
            setup,
            gateway,
            sandbox,
            gateway_at_rest: gateway_process.usage()?,
            sandbox_at_rest: sandbox_process.usage()?,
            gateway_process: Some(gateway_process),
            sandbox_process,
            folder,
            postgres,
        })
    }

    /// A number that no other measurement of this tool's run has.
    pub fn next_run(&self) -> u32 {
        self.setup.next_number()
    }

    /// What the gateway has used since its last start.
    pub fn gateway_usage(&mut self) -> Result<Usage> {
        match &mut self.gateway_process {
            Some(process) => {
                process.check_alive("measuring")?;
                process.usage()
            }
            None => Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into()),
        }
    }

    /// CPU time of the database server; none when the database is in the gateway.
    pub fn database_cpu(&self) -> Result<Option<Duration>> {
        self.postgres.as_ref().map(Postgres::cpu).transpose()
    }

    /// What the sandbox has used.
    pub fn sandbox_usage(&mut self) -> Result<Usage> {
        self.sandbox_process.check_alive("measuring")?;
        self.sandbox_process.usage()
    }

    /// Ends the gateway with a signal.
    pub async fn end_gateway(&mut self, signal: Signal) -> Result<Ended> {
        match self.gateway_process.take() {
            Some(process) => process.end(signal, self.setup.options.wait_timeout).await,
            None => Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into()),
        }
    }

    /// Starts the gateway again on the same data; returns the moment of its start.
    pub async fn start_gateway(&mut self) -> Result<Instant> {
        let sandbox = self.sandbox.endpoint.addr;
        let (process, gateway) =
            start_gateway(self.setup, &self.folder, sandbox, self.postgres.as_ref()).await?;
        let started = process.started;
        self.gateway = gateway;
        self.gateway_process = Some(process);
        Ok(started)
    }
}

/// A running sandbox without a gateway.
#[derive(Debug)]
pub struct SandboxBench<'a> {
    pub setup: &'a Setup,
    pub sandbox: Sandbox,
    process: Process,
    /// Before any account was made.
    pub at_rest: Usage,
}

impl<'a> SandboxBench<'a> {
    /// Starts it and waits until it is at rest.
    pub async fn start(setup: &'a Setup, state: State) -> Result<Self> {
        let folder = setup.subfolder()?;
        let (process, addr) = start_sandbox(setup, &folder, state).await?;
        tokio::time::sleep(REST).await;
        Ok(Self {
            setup,
            sandbox: Sandbox::new(endpoint(&addr.to_string(), None)?),
            at_rest: process.usage()?,
            process,
        })
    }

    /// What the sandbox has used.
    pub fn usage(&mut self) -> Result<Usage> {
        self.process.check_alive("measuring")?;
        self.process.usage()
    }
}

/// Starts a sandbox and waits until it answers.
pub async fn start_sandbox(setup: &Setup, folder: &Path, state: State) -> Result<(Process, SocketAddr)> {
    let phase = "starting the sandbox";
    let mut tries = 0;
    loop {
        let addr = free_port()?;
        let mut arguments = vec!["--listen".to_owned(), addr.to_string()];
        // Nobody needs to know where media are: the sandbox tells its clients.
        arguments.extend(["--media-listen".to_owned(), "127.0.0.1:0".to_owned()]);
        if state == State::Disk {
            let data = folder.join("sandbox").display().to_string();
            arguments.extend(["--data-dir".to_owned(), data]);
        }
        let mut process = setup.spawn("sandbox", &setup.roost_sandbox, &arguments, folder)?;
        let ready = until_ok(&mut process, addr, "/sandbox/v1/stats", phase);
        tries += 1;
        match within(phase, setup.options.wait_timeout, ready).await {
            Ok(()) => return Ok((process, addr)),
            Err(LoadError::Exited { .. }) if tries < PORT_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

async fn start_gateway(
    setup: &Setup,
    folder: &Path,
    sandbox: SocketAddr,
    postgres: Option<&Postgres>,
) -> Result<(Process, Gateway)> {
    let phase = "starting the gateway";
    let ready_file = folder.join("ready.json");
    if ready_file.exists() {
        std::fs::remove_file(&ready_file)?;
    }
    let arguments = [
        "sandbox".to_owned(),
        "--sandbox-url".to_owned(),
        format!("http://{sandbox}"),
        "--data-dir".to_owned(),
        folder.join("data").display().to_string(),
        "--ready-file".to_owned(),
        ready_file.display().to_string(),
        "--listen".to_owned(),
        "127.0.0.1:0".to_owned(),
        "--config".to_owned(),
        setup.config.display().to_string(),
    ];
    let mut command = Command::new(&setup.roost);
    command.args(&arguments);
    if let Some(postgres) = postgres {
        command.env("ROOST__STORE__URL", &postgres.url);
    }
    let mut process = setup.spawn_command("gateway", command, folder)?;
    let ready: Ready = until_written(&mut process, &ready_file, phase, setup.options.wait_timeout).await?;
    let gateway = Gateway::new(endpoint(&ready.api, Some(&ready.api_key))?);
    Ok((process, gateway))
}

/// Waits for the file that a process writes when it is ready.
pub async fn until_written<T: DeserializeOwned>(
    process: &mut Process,
    file: &Path,
    phase: &str,
    limit: Duration,
) -> Result<T> {
    let ready = async {
        loop {
            // The file may be read while it is being written: then it is not JSON yet.
            let text = tokio::fs::read(file).await.unwrap_or_default();
            if let Ok(ready) = serde_json::from_slice(&text) {
                return Ok(ready);
            }
            process.check_alive(phase)?;
            tokio::time::sleep(POLL).await;
        }
    };
    let progress = || format!("no {} yet", file.display());
    within_showing(phase, limit, progress, ready).await
}

/// Where to call, which is on this machine, and with which key.
pub fn endpoint(url: &str, key: Option<&str>) -> Result<Endpoint> {
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let not_loopback = || std::io::Error::other(format!("{url} is not http://<loopback address>:<port>"));
    let addr: SocketAddr = authority.parse().map_err(|_| not_loopback())?;
    if !addr.ip().is_loopback() {
        return Err(not_loopback().into());
    }
    Endpoint::new(addr, key).map_err(|source| LoadError::Call {
        call: url.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loaded() {
        assert!(endpoint("http://127.0.0.1:8080", None).is_ok());
        assert!(endpoint("http://127.0.0.1:8080/", Some("key")).is_ok());
        for url in [
            "http://192.0.2.1:80",
            "http://example.com",
            "https://127.0.0.1:1",
            "",
        ] {
            assert!(endpoint(url, None).is_err(), "{url} was accepted");
        }
    }

    #[test]
    fn a_tail_is_the_last_lines_even_of_broken_text() {
        let log: Vec<u8> = (0..100)
            .flat_map(|line| format!("line {line}\n").into_bytes())
            .collect();
        let tail_of = tail(&log);
        assert_eq!(tail_of.lines().count(), TAIL_LINES);
        assert!(tail_of.starts_with("line 75\n") && tail_of.ends_with("line 99\n"));
        assert_eq!(tail(b""), "");
        assert_eq!(tail(&[0xff, b'\n']), "\u{fffd}\n");
    }
}
