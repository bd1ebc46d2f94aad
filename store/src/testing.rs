//! A private PostgreSQL server for tests and measurements, started from the installed binaries.
//!
//! Set `ROOST_TEST_POSTGRES_URL` (a URL of a role that may create databases) to use a server that is
//! running. Needs nothing beyond `std`, so that every test binary can use it.

#![allow(
    clippy::disallowed_methods,
    reason = "runs in tests, outside any runtime and configuration"
)]

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const VARIABLE: &str = "ROOST_TEST_POSTGRES_URL";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

static NEXT_FOLDER: AtomicU32 = AtomicU32::new(0);

/// How safe a private server keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production, with fsync: for measurements.
    Full,
    /// Without fsync: for tests.
    None,
}

/// A PostgreSQL server. A private one is stopped and removed when this is dropped.
pub struct PostgresServer {
    url: String,
    private: Option<Private>,
}

struct Private {
    server: Child,
    port: u16,
    durability: Durability,
    bin: PathBuf,
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

impl PostgresServer {
    /// The server that the environment names, or a private one.
    pub fn start() -> Result<Self> {
        Self::start_with(Durability::None)
    }

    /// As [`PostgresServer::start`], with a choice of durability for a private server.
    pub fn start_with(durability: Durability) -> Result<Self> {
        // Tests only: the gateway itself reads its environment in one place.
        match std::env::var(VARIABLE) {
            Ok(url) => Ok(Self { url, private: None }),
            Err(_) => Self::start_private(durability),
        }
    }

    /// Starts a private server whatever the environment says: one that a test may crash.
    pub fn start_private(durability: Durability) -> Result<Self> {
        let bin = installed()?;
        let user = if is_root()? { Some(postgres_user()?) } else { None };
        let number = NEXT_FOLDER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("roost-pg-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid))?;
        }
        let result = create(&bin, &folder, user).and_then(|port| {
            let server = launch(&bin, &folder, user, port, durability)?;
            Ok(Private {
                server,
                port,
                durability,
                bin,
                folder: folder.clone(),
                user,
            })
        });
        if result.is_err() {
            // The first error is the one worth telling.
            let _ = std::fs::remove_dir_all(&folder);
        }
        let mut private = result?;
        let url = format!("postgres://roost@127.0.0.1:{}/postgres", private.port);
        let ready = private.await_ready();
        let started = Self {
            url,
            private: Some(private),
        };
        ready.map(|()| started)
    }

    /// Ends a private server in the middle of whatever it does, as a crash would.
    pub fn crash(&mut self) -> Result<()> {
        self.private()?.stop();
        Ok(())
    }

    /// Starts a private server that crashed, at the same address and on the same data.
    pub fn start_again(&mut self) -> Result<()> {
        let private = self.private()?;
        private.server = launch(
            &private.bin,
            &private.folder,
            private.user,
            private.port,
            private.durability,
        )?;
        private.await_ready()
    }

    fn private(&mut self) -> Result<&mut Private> {
        self.private
            .as_mut()
            .ok_or_else(|| Error::other("the server belongs to somebody else"))
    }

    /// URL of the database in which others are created.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// URL of another database on the same server.
    pub fn database_url(&self, database: &str) -> String {
        let (url, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let base = url.rfind('/').map_or(url, |slash| &url[..slash]);
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}/{database}{mark}{query}")
    }

    /// The process id of a private server.
    pub fn pid(&self) -> Option<u32> {
        self.private.as_ref().map(|private| private.server.id())
    }
}

impl Private {
    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.server.try_wait()? {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(Error::other(format!("PostgreSQL ended with {status}: {log}")));
            }
            let ready = Command::new(self.bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()?;
            if ready.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::new(ErrorKind::TimedOut, "PostgreSQL did not become ready"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Without a checkpoint, and with its children.
    fn stop(&mut self) {
        let mut stop = Command::new(self.bin.join("pg_ctl"));
        stop.args(["stop", "-m", "immediate", "-D"])
            .arg(self.folder.join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        become_user(&mut stop, self.user, &self.folder);
        let _ = stop.status();
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes the data folder, and chooses a port.
fn create(bin: &Path, folder: &Path, user: Option<(u32, u32)>) -> Result<u16> {
    let mut init = Command::new(bin.join("initdb"));
    init.args(["-A", "trust", "-U", "roost", "-E", "UTF8", "--no-sync", "-D"])
        .arg(folder.join("data"));
    become_user(&mut init, user, folder);
    let output = init.output()?;
    if !output.status.success() {
        return Err(Error::other(format!(
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    // PostgreSQL cannot choose its port itself; whoever takes this one in between makes the start fail.
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn launch(
    bin: &Path,
    folder: &Path,
    user: Option<(u32, u32)>,
    port: u16,
    durability: Durability,
) -> Result<Child> {
    let safe = if durability == Durability::Full {
        "on"
    } else {
        "off"
    };
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    let mut server = Command::new(bin.join("postgres"));
    server.arg("-D").arg(folder.join("data"));
    for setting in [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", folder.display()),
        format!("fsync={safe}"),
        format!("full_page_writes={safe}"),
        "max_connections=200".to_owned(),
    ] {
        server.arg("-c").arg(setting);
    }
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    become_user(&mut server, user, folder);
    server.spawn()
}

/// PostgreSQL refuses to run as root.
fn become_user(command: &mut Command, user: Option<(u32, u32)>, folder: &Path) {
    command.current_dir(folder);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
}

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

fn postgres_user() -> Result<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let ids = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (name == "postgres").then_some((uid, gid))
    });
    ids.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "there is no user `postgres` to run the server as",
        )
    })
}

/// Where the newest installed server is.
fn installed() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for version in std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
    {
        let bin = version.path().join("bin");
        if let Ok(number) = version.file_name().to_string_lossy().parse()
            && bin.join("postgres").exists()
        {
            found.push((number, bin));
        }
    }
    found.sort();
    found.pop().map(|(_, bin)| bin).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("no PostgreSQL server found: install the package `postgresql`, or set {VARIABLE} to the URL of a running one"),
        )
    })
}
