//! Hostile requests by the thousand against the real process: its memory stays where it was.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
const WARM_UP: usize = 4_000;
const REQUESTS: usize = 20_000;
const CLIENTS: usize = 16;
/// What allocators and histograms may take meanwhile: far less than one kilobyte per request.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn roost(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.args(arguments).arg("--data-dir").arg(folder.join("data"));
    command
        .env("ROOST__WHATSAPP__URL", "ws://127.0.0.1:9/ws/chat")
        .env("ROOST__HTTP__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = roost(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn start(folder: &Path) -> (Gateway, String) {
    let ready = folder.join("ready.json");
    let command = roost(folder, &["serve", "--ready-file", ready.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn();
    let gateway = Gateway(command.unwrap());
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Ok(text) = std::fs::read(&ready) {
            let value: Value = serde_json::from_slice(&text).unwrap();
            return (gateway, value["api"].as_str().unwrap().to_owned());
        }
        assert!(Instant::now() < deadline, "the gateway is not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn memory_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One hostile request of its own: ids, keys, cursors, routes and bodies that nobody sent before.
fn request(http: &reqwest::Client, base: &str, key: &str, n: usize) -> reqwest::RequestBuilder {
    let call = |method, path: String| http.request(method, format!("{base}{path}"));
    let json = |request: reqwest::RequestBuilder, body: String| {
        request
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(body)
    };
    match n % 12 {
        0 => call(Method::GET, format!("/nowhere/{n}")),
        1 => call(Method::GET, "/v1/instances".into()).bearer_auth(format!("rst_{n:012}_{n:032}")),
        2 => call(Method::GET, format!("/v1/messages/msg_{n:026}")).bearer_auth(key),
        3 => call(Method::GET, format!("/v1/instances?cursor={n:0200}")).bearer_auth(key),
        4 => json(
            call(Method::POST, "/v1/instances".into()),
            format!("{{\"x{n}\":{n}}}"),
        ),
        5 => json(
            call(Method::POST, "/v1/instances".into()),
            "[".repeat(1 + n % 5_000),
        ),
        6 => json(
            call(Method::POST, "/v1/events".into()),
            format!("{{\"type\":\"custom.{}\"", "x".repeat(n % 9_000)),
        ),
        7 => json(
            call(Method::POST, "/v1/instances".into()),
            format!("{{\"name\":\"\\u0000{n}\"}}"),
        )
        .header("idempotency-key", format!("flood-{n}")),
        8 => call(
            Method::from_bytes(format!("M{n}").as_bytes()).unwrap(),
            "/v1/instances".into(),
        ),
        9 => call(
            Method::GET,
            format!("/v1/events?types=custom.{n},%00&limit=9999999999"),
        )
        .bearer_auth(key),
        10 => json(
            call(Method::POST, format!("/v1/webhooks/whk_{n:026}/replay")),
            "{}".into(),
        ),
        _ => call(Method::GET, "/v1/instances".into()).header("x-request-id", "x".repeat(n % 5_000)),
    }
}

async fn flood(base: &str, key: &str, from: usize, count: usize) {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (base, key) = (base.to_owned(), key.to_owned());
        clients.spawn(async move {
            let http = reqwest::Client::new();
            for n in (from + client..from + count).step_by(CLIENTS) {
                let reply = request(&http, &base, &key, n).send().await.unwrap();
                let status = reply.status();
                let text = reply.text().await.unwrap();
                assert!(status.is_client_error(), "{n}: {status} {text}");
                let problem: Value = serde_json::from_str(&text).unwrap();
                assert!(problem["code"].is_string(), "{n}: {text}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_hostile_requests_leave_the_memory_flat() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = printed(folder.path(), &["tenant", "create", "flooded"]);
    let key = printed(folder.path(), &["key", "create", "--tenant", &tenant]);
    let (gateway, base) = start(folder.path()).await;
    flood(&base, &key, 0, WARM_UP).await;
    let before = memory_kib(&gateway);
    flood(&base, &key, WARM_UP, REQUESTS).await;
    let after = memory_kib(&gateway);
    assert!(
        after <= before + GROWTH_MAX_KIB,
        "{before} KiB before and {after} KiB after {REQUESTS} requests"
    );
}
