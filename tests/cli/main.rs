//! The binary as a person or a script uses it: exit codes, messages, files.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test's client needs no limits, and a test may block"
)]

mod operator;
mod secrets;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

fn roost(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.args(arguments).arg("--data-dir").arg(folder.join("data"));
    // A build with the sandbox takes loopback addresses only; nobody listens there.
    command
        .env("ROOST__WHATSAPP__URL", "ws://127.0.0.1:9/ws/chat")
        .env("ROOST__HTTP__LISTEN", "127.0.0.1:0");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    roost(folder, arguments).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim()
}

#[track_caller]
fn succeeds(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    out(output)
}

/// Checks that it failed with this code, and told everything in one piece without a backtrace.
#[track_caller]
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let text = err(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(
        !text.contains("backtrace") && !text.contains("panicked"),
        "{text}"
    );
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// A gateway that is ended with the test.
struct Gateway(Child);

impl Gateway {
    fn start(folder: &Path) -> (Self, Value) {
        let ready = folder.join("ready.json");
        let child = roost(folder, &["serve", "--ready-file", ready.to_str().unwrap()])
            .spawn()
            .unwrap();
        let mut gateway = Self(child);
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Ok(text) = std::fs::read(&ready) {
                assert_eq!(
                    std::fs::metadata(&ready).unwrap().permissions().mode() & 0o777,
                    0o600
                );
                return (gateway, serde_json::from_slice(&text).unwrap());
            }
            assert!(gateway.0.try_wait().unwrap().is_none(), "the gateway ended");
            assert!(Instant::now() < deadline, "the gateway does not become ready");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn config_check_prints_what_holds_and_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roost.toml");
    std::fs::write(&file, "[store]\nmaster_key = \"hunter2\"\n").unwrap();
    let output = run(
        folder.path(),
        &["config", "check", "--config", file.to_str().unwrap()],
    );
    let shown = succeeds(&output);
    assert!(shown.contains("url = \"ws://127.0.0.1:9/ws/chat\""), "{shown}");
    assert!(!shown.contains("hunter2"));
    let table: toml::Table = shown.parse().unwrap();
    assert_eq!(table["store"]["master_key"].as_str(), Some("(hidden)"));
}

#[test]
fn a_wrong_configuration_is_told_whole_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roost.toml");
    std::fs::write(&file, "[http]\nlisten = 5\nrequest_timout = \"1s\"\n").unwrap();
    let output = roost(folder.path(), &["serve", "--config", file.to_str().unwrap()])
        .env("ROOST__STOP__DRAIN", "soon")
        .output()
        .unwrap();
    fails(
        &output,
        2,
        &[
            "http.listen",
            "did you mean http.request_timeout?",
            "ROOST__STOP__DRAIN",
            "stop.drain",
        ],
    );
    fails(
        &run(folder.path(), &["serve", "--config", "/nonexistent.toml"]),
        2,
        &["/nonexistent.toml"],
    );
    assert!(
        !folder.path().join("data").exists(),
        "nothing is made before the configuration is right"
    );
}

#[test]
fn a_tenant_and_its_key_are_made_and_work() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["tenant", "create", "acme"]);
    let tenant = succeeds(&output);
    assert!(tenant.starts_with("ten_"));
    let output = run(folder.path(), &["key", "create", "--tenant", tenant]);
    let key = succeeds(&output);
    assert!(key.starts_with("rst_"));
    let output = run(folder.path(), &["key", "create", "--operator"]);
    let operator_key = succeeds(&output);

    let (gateway, ready) = Gateway::start(folder.path());
    let api = ready["api"].as_str().unwrap();
    assert_eq!(ready["api_key"], Value::Null);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = |path: &str, key: &str| {
        let request = reqwest::Client::new()
            .get(format!("{api}{path}"))
            .bearer_auth(key);
        runtime.block_on(request.send()).unwrap().status().as_u16()
    };
    assert_eq!(status("/v1/instances", key), 200);
    assert_eq!(status("/v1/operator/actors", operator_key), 200);
    assert_eq!(status("/v1/instances", operator_key), 403);

    // SQLite belongs to one process: whoever comes second is told so.
    fails(
        &run(folder.path(), &["tenant", "create", "second"]),
        1,
        &["another process", "--data-dir"],
    );
    assert_eq!(gateway.terminate(), Some(0));
    succeeds(&run(folder.path(), &["tenant", "create", "second"]));
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fails(
        &run(folder.path(), &["serve", "--listen", &address]),
        1,
        &[&address, "in use", "--listen"],
    );
    let unknown = "ten_00000000000000000000000000";
    fails(
        &run(folder.path(), &["key", "create", "--tenant", unknown]),
        1,
        &[unknown, "roost tenant create"],
    );
    fails(
        &run(folder.path(), &["tenant", "create", ""]),
        1,
        &["1 to 100 characters"],
    );

    std::fs::write(folder.path().join("file"), "").unwrap();
    fails(
        &run(&folder.path().join("file"), &["migrate"]),
        1,
        &["data folder", "--data-dir"],
    );

    // Usage errors are clap's, and exit with 2 too.
    for wrong in [
        &["key", "create"][..],
        &["key", "create", "--operator", "--tenant", unknown],
        &["key", "create", "--tenant", "x"],
    ] {
        assert_eq!(run(folder.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn keys_are_listed_restricted_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = run(folder, &["tenant", "create", "acme", "--plan", "basic"]);
    let tenant = succeeds(&made);
    let listed = run(folder, &["tenant", "list"]);
    assert_eq!(succeeds(&listed), format!("{tenant}\tacme\tactive\tbasic"));
    let create = ["key", "create", "--tenant", tenant, "--name", "reader"];
    let restrictions = ["--scope", "instances:read", "--network", "127.0.0.0/8"];
    let made = run(folder, &[&create[..], &restrictions].concat());
    let key = succeeds(&made);
    let listed = run(folder, &["key", "list", "--tenant", tenant]);
    let line = succeeds(&listed);
    let (id, rest) = line.split_once('\t').unwrap();
    assert_eq!(rest, "reader\tinstances:read\tused never\texpires never");
    assert!(!line.contains(key));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = |api: &str, method: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = reqwest::Client::new().request(method, format!("{api}/v1/instances"));
        let request = request.bearer_auth(key).send();
        runtime.block_on(request).unwrap().status().as_u16()
    };
    let (gateway, ready) = Gateway::start(folder);
    let api = ready["api"].as_str().unwrap();
    assert_eq!((status(api, "GET"), status(api, "POST")), (200, 403));
    assert_eq!(gateway.terminate(), Some(0));

    let revoke = ["key", "revoke", id, "--tenant", tenant];
    assert_eq!(succeeds(&run(folder, &revoke)), "");
    fails(&run(folder, &revoke), 1, &["there is no such key", id]);
    assert_eq!(succeeds(&run(folder, &["key", "list", "--tenant", tenant])), "");
    std::fs::remove_file(folder.join("ready.json")).unwrap();
    let (_gateway, ready) = Gateway::start(folder);
    assert_eq!(status(ready["api"].as_str().unwrap(), "GET"), 401);

    for (wrong, part) in [
        (
            &["key", "create", "--operator", "--scope", "messages:send"][..],
            "--scope",
        ),
        (
            &["key", "create", "--tenant", tenant, "--scope", "messages:sned"],
            "messages:sned",
        ),
        (
            &["key", "create", "--tenant", tenant, "--calls-per-minute", "0"],
            "0",
        ),
        (
            &["key", "create", "--tenant", tenant, "--network", "here"],
            "here",
        ),
    ] {
        fails(&run(folder, wrong), 2, &[part]);
    }
    fails(
        &run(folder, &["tenant", "create", "x", "--plan", "unheard-of"]),
        1,
        &["unheard-of", "basic"],
    );
    let past = ["--expires-at", "2020-01-01T00:00:00Z"];
    fails(&run(folder, &[&create[..], &past].concat()), 1, &["future"]);
}

#[test]
fn another_master_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&run(folder.path(), &["migrate"]));
    let key = folder.path().join("data/master.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let output = roost(folder.path(), &["migrate"])
        .env("ROOST__STORE__MASTER_KEY", "00".repeat(32))
        .output()
        .unwrap();
    fails(&output, 1, &["master key", "store.master_key"]);
    let output = roost(folder.path(), &["migrate"])
        .env("ROOST__STORE__MASTER_KEY", "hunter2")
        .output()
        .unwrap();
    fails(&output, 1, &["store.master_key"]);
    assert!(!err(&output).contains("hunter2"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(&run(folder.path(), &["migrate"]), 1, &["master.key", "chmod 600"]);
}

#[test]
fn migrate_says_what_it_did_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), &["migrate"]);
    assert!(succeeds(&first).starts_with("applied 0001"));
    let second = run(folder.path(), &["migrate"]);
    assert!(succeeds(&second).contains("already"));
}

#[test]
#[cfg(not(feature = "sandbox"))]
fn a_build_without_the_sandbox_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    fails(&run(folder.path(), &["sandbox"]), 1, &["--features sandbox"]);
}

#[test]
#[cfg(feature = "sandbox")]
fn a_build_with_the_sandbox_refuses_the_real_whatsapp() {
    let folder = tempfile::tempdir().unwrap();
    let output = roost(folder.path(), &["serve"])
        .env("ROOST__WHATSAPP__URL", "wss://web.whatsapp.com/ws/chat")
        .output()
        .unwrap();
    fails(&output, 1, &["[whatsapp]", "loopback"]);
}

#[test]
#[cfg(feature = "sandbox")]
fn the_sandbox_shows_the_same_keys_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let ready = folder.path().join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let arguments = [
            "sandbox",
            "--sandbox-listen",
            "127.0.0.1:0",
            "--media-listen",
            "127.0.0.1:0",
            "--ready-file",
            ready.to_str().unwrap(),
        ];
        let mut gateway = Gateway(roost(folder.path(), &arguments).spawn().unwrap());
        let deadline = Instant::now() + DEADLINE;
        while !ready.exists() {
            assert!(
                gateway.0.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "not ready"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let value: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        assert_eq!(gateway.terminate(), Some(0));
        value
    };
    let (first, second) = (start(), start());
    assert!(
        first["sandbox"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    assert!(first["api_key"].is_string() && first["operator_key"].is_string());
    assert_eq!(
        (&first["api_key"], &first["operator_key"]),
        (&second["api_key"], &second["operator_key"])
    );
}

#[test]
#[cfg(feature = "sandbox")]
fn a_sandbox_that_cannot_start_says_which_option_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let nowhere = folder.path().join("missing/ca.pem");
    let nowhere = nowhere.to_str().unwrap();
    let refused = [
        (
            ["--sandbox-listen", &taken, "--media-listen", "127.0.0.1:0"],
            ["cannot listen on", "--sandbox-listen"],
        ),
        (
            ["--sandbox-listen", "127.0.0.1:0", "--media-listen", &taken],
            ["cannot serve media on", "--media-listen"],
        ),
    ];
    for (options, parts) in refused {
        let arguments = [&["sandbox"], &options[..]].concat();
        fails(&run(folder.path(), &arguments), 1, &parts);
    }
    for option in [["--ca-file", nowhere], ["--media-name", "ö.example"]] {
        let ports = ["--sandbox-listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0"];
        let arguments = [&["sandbox"], &ports[..], &option[..]].concat();
        let output = run(folder.path(), &arguments);
        fails(
            &output,
            1,
            &["the sandbox's media service cannot start", option[0]],
        );
        assert!(!err(&output).contains("cannot listen"), "{}", err(&output));
    }
}
