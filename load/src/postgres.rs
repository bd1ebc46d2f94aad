//! A PostgreSQL server of a bench's own, from the installed programs and as durable as they come.
//!
//! Dropping it ends the server and removes its data.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::bench::{Setup, free_port};
use crate::error::{LoadError, Result};
use crate::phase::within;
use crate::process::Process;

/// Where Debian keeps the programs of each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// What stands between the fields of an answer, and in none of them.
const FIELD: &str = "\u{1f}";
const READY_POLL: Duration = Duration::from_millis(50);
/// How long it may take to end in good order.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    /// URL of its only database.
    pub url: String,
    /// Folder of the installed programs.
    programs: PathBuf,
    _folder: TempDir,
}

impl Postgres {
    /// Makes an empty database and starts a server for it.
    pub async fn start(setup: &Setup) -> Result<Self> {
        Self::start_with(setup, &[]).await
    }

    /// The same with further settings, such as `fsync=on`.
    pub async fn start_with(setup: &Setup, settings: &[&str]) -> Result<Self> {
        let programs = programs(Path::new(INSTALLED))?;
        let user = user()?;
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("roost-load-pg-");
        let folder = match &setup.options.work_dir {
            Some(work_dir) => builder.tempdir_in(std::path::absolute(work_dir)?),
            None => builder.tempdir(),
        }?;
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let data = folder.path().join("data");
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let mut make = program("initdb");
        make.args(["-A", "trust", "-U", "roost", "-E", "UTF8", "-D"])
            .arg(&data);
        let made = tokio::task::spawn_blocking(move || make.output()).await??;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(LoadError::Postgres(format!("initdb failed: {said}")));
        }
        let port = free_port()?.port();
        let mut serve = program("postgres");
        serve.arg("-D").arg(&data);
        for setting in [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", folder.path().display()),
        ] {
            serve.arg("-c").arg(setting);
        }
        for setting in settings {
            serve.arg("-c").arg(setting);
        }
        let mut process = setup.spawn_command("database", serve, &setup.subfolder()?)?;
        let phase = "starting PostgreSQL";
        let ready = async {
            loop {
                let mut ask = program("pg_isready");
                ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
                ask.stdout(Stdio::null()).stderr(Stdio::null());
                if tokio::task::spawn_blocking(move || ask.status())
                    .await??
                    .success()
                {
                    return Ok(());
                }
                process.check_alive(phase)?;
                tokio::time::sleep(READY_POLL).await;
            }
        };
        within(phase, setup.options.wait_timeout, ready).await?;
        Ok(Self {
            process,
            url: format!("postgres://roost@127.0.0.1:{port}/postgres"),
            programs,
            _folder: folder,
        })
    }

    /// What it answers to one query: rows of fields. For what no API tells; the text of a query is the
    /// caller's own, not a user's.
    pub async fn ask(&self, query: &str) -> Result<Vec<Vec<String>>> {
        let mut ask = Command::new(self.programs.join("psql"));
        ask.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--field-separator", FIELD, "--set", "ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url, "--command", query])
            .stdin(Stdio::null());
        let answer = tokio::task::spawn_blocking(move || ask.output()).await??;
        if !answer.status.success() {
            let said = String::from_utf8_lossy(&answer.stderr).into_owned();
            return Err(LoadError::Postgres(said));
        }
        Ok(rows(&String::from_utf8_lossy(&answer.stdout)))
    }

    /// CPU time of the server and all its processes since its start.
    pub fn cpu(&self) -> Result<Duration> {
        self.process.tree_cpu()
    }
}

impl Drop for Postgres {
    #[allow(
        clippy::disallowed_methods,
        reason = "a server that is killed leaves shared memory behind; nothing else runs at the end of a bench"
    )]
    fn drop(&mut self) {
        let end = Instant::now() + END_LIMIT;
        if self.process.signal(Signal::QUIT).is_ok() {
            while self.process.check_alive("ending").is_ok() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn rows(answer: &str) -> Vec<Vec<String>> {
    let fields = |line: &str| line.split(FIELD).map(str::to_owned).collect();
    answer
        .lines()
        .filter(|line| !line.is_empty())
        .map(fields)
        .collect()
}

/// The programs of the newest version under `installed`.
fn programs(installed: &Path) -> Result<PathBuf> {
    let versions = std::fs::read_dir(installed).into_iter().flatten().flatten();
    let programs = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let programs = version.path().join("bin");
        programs.join("postgres").exists().then_some((number, programs))
    });
    programs.max().map(|(_, programs)| programs).ok_or_else(|| {
        let text = format!(
            "no server under {}: install the package postgresql",
            installed.display()
        );
        LoadError::Postgres(text)
    })
}

/// Whom to run it as: PostgreSQL refuses to run as root.
fn user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let user = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (name == "postgres").then_some((uid, gid))
    });
    user.map(Some)
        .ok_or_else(|| LoadError::Postgres("there is no user postgres to run it as".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_rows_of_fields_some_of_which_are_empty() {
        let answer = rows("a\u{1f}1\n\u{1f}2\n\n");
        assert_eq!(answer, [["a", "1"], ["", "2"]]);
        assert!(rows("").is_empty());
    }

    #[test]
    fn the_newest_version_that_is_complete_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9", "15", "17", "unknown"] {
            std::fs::create_dir_all(folder.path().join(version).join("bin")).unwrap();
        }
        for version in ["9", "15", "unknown"] {
            std::fs::write(folder.path().join(version).join("bin/postgres"), "").unwrap();
        }
        let found = programs(folder.path()).unwrap();
        assert_eq!(found, folder.path().join("15/bin"));
        let error = programs(&folder.path().join("9")).unwrap_err();
        assert!(error.to_string().contains("postgresql"), "{error}");
    }
}
