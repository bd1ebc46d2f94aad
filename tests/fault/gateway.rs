//! The gateway as a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// How long anything may take before the test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

const STOP_POINT: &str = "ROOST_STOP_POINT";
const SIGKILL: i32 = 9;

/// Keys and addresses that the gateway wrote when it was ready.
#[derive(Debug, Clone)]
pub struct Ready {
    pub api: String,
    pub api_key: String,
    pub operator_key: String,
}

pub struct Gateway {
    child: Child,
    launch: Launch,
    pub ready: Ready,
}

/// How to start a gateway.
pub struct Launch {
    pub data_dir: PathBuf,
    pub sandbox_url: String,
    /// Keys of a tenant and of an operator that the database has. With them it is `roost serve` that is
    /// started; without, `roost sandbox`, which makes its own.
    pub keys: Option<(String, String)>,
    /// PostgreSQL; without it, SQLite in the data folder.
    pub store_url: Option<String>,
    /// Folder for its log and its ready file.
    pub files: PathBuf,
    /// Command and arguments that run the gateway, for example one that gives it a small disk.
    pub wrapper: Vec<String>,
    /// Further variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Gateway {
    /// Starts a gateway and waits until it is ready.
    pub async fn start(launch: Launch) -> Self {
        let (child, ready) = launch.run().await;
        Self { child, launch, ready }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: the process gets no chance to tidy up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// From the next start on, the gateway ends with SIGKILL at a named point: see `ROOST_STOP_POINT`.
    pub fn stop_at(&mut self, point: &str) {
        self.launch.set_all(&[(STOP_POINT, point)]);
    }

    /// Waits until the gateway has ended at the named point; the next start has none.
    pub async fn stopped(&mut self, point: &str) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the point {point} was never passed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(status.signal(), Some(SIGKILL), "{point}: {status}");
        self.launch.environment.retain(|(name, _)| name != STOP_POINT);
    }

    /// How it is started the next time.
    pub fn launch(&mut self) -> &mut Launch {
        &mut self.launch
    }

    /// Waits until it has ended by itself, and says how.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has further variables in its environment from the next start on.
    pub fn set(&mut self, variables: &[(&str, &str)]) {
        self.launch.set_all(variables);
    }

    /// Its output.
    pub fn log(&self) -> PathBuf {
        self.launch.log()
    }

    /// Starts again on the same data folder.
    pub async fn restart(&mut self) {
        (self.child, self.ready) = self.launch.run().await;
    }

    /// Whether the process is still the one that was started.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The test's folder goes; what the gateway said is kept for whoever has to find out why.
            let kept =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{}.log", self.child.id()));
            let _ = std::fs::copy(self.launch.log(), &kept);
            eprintln!("--- end of {} ---\n{}", kept.display(), tail(&kept));
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(60).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

impl Launch {
    /// Adds variables to its environment.
    pub fn set_all(&mut self, variables: &[(&str, &str)]) {
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.extend(owned);
    }

    pub fn log(&self) -> PathBuf {
        self.files.join("gateway.log")
    }

    /// Starts a gateway that is expected to end before it is ready. Returns how it ended, and its output.
    pub async fn fails(&self) -> (ExitStatus, String) {
        let mut child = self.command(&self.files.join("ready.json")).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return (status, tail(&self.log()));
            }
            if Instant::now() >= deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the gateway did not end\n{}", tail(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn run(&self) -> (Child, Ready) {
        let ready_file = self.files.join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let mut child = self.command(&ready_file).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                let value: Value = serde_json::from_str(&text).unwrap();
                let field = |name: &str| value[name].as_str().unwrap().to_owned();
                let keys = self.keys.clone();
                let (api_key, operator_key) =
                    keys.unwrap_or_else(|| (field("api_key"), field("operator_key")));
                let api = field("api");
                return (
                    child,
                    Ready {
                        api,
                        api_key,
                        operator_key,
                    },
                );
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "the gateway ended with {status} before it was ready\n{}",
                    tail(&self.log())
                );
            }
            assert!(
                Instant::now() < deadline,
                "the gateway is not ready\n{}",
                tail(&self.log())
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn command(&self, ready_file: &Path) -> Command {
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let roost = env!("CARGO_BIN_EXE_roost").to_owned();
        let words: Vec<String> = self.wrapper.iter().cloned().chain([roost]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if self.keys.is_some() {
            let whatsapp = self.sandbox_url.replace("http://", "ws://") + "/ws/chat";
            command.arg("serve").env("ROOST__WHATSAPP__URL", whatsapp);
        } else {
            command.args(["sandbox", "--sandbox-url", &self.sandbox_url]);
        }
        command
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--ready-file")
            .arg(ready_file)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        if let Some(url) = &self.store_url {
            command.env("ROOST__STORE__URL", url);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
