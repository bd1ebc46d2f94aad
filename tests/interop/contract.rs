//! The API's description, judged by public tools: whether it is OpenAPI, and whether the gateway answers
//! as it says to what schemathesis makes of it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::json;
use tokio::process::Command;

use crate::receiver::Receiver;
use crate::world::{ALICE, BOB, Client, World, eventually};

/// Cases for each operation and phase. They are the same each time.
const EXAMPLES: &str = "40";

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

fn tool(name: &str) -> Command {
    let program = here().join(".venv/bin").join(name);
    assert!(
        program.exists(),
        "the packages are missing: run `python3 -m venv tests/interop/.venv` and \
         `tests/interop/.venv/bin/pip install --require-hashes -r tests/interop/requirements.txt` first"
    );
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

#[track_caller]
fn passed(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output.stdout),
        said(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "needs Python packages; see the head of main.rs"]
async fn the_description_is_valid_openapi() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let output = tool("openapi-spec-validator")
        .arg(document)
        .output()
        .await
        .unwrap();
    passed(&output);
}

/// Calls without a valid key are a part of what is tried, and come from one address.
const OPTIONS: &[(&str, &str)] = &[("limits.address_calls", "1000000")];

/// Runs schemathesis as one caller, on the operations whose paths begin so or do not.
async fn fuzz(client: &Client, paths: [&str; 2], there: &serde_json::Value) {
    // What it writes beside itself goes with the folder.
    let folder = tempfile::tempdir().unwrap();
    let output = tool("schemathesis")
        .current_dir(folder.path())
        .env("PYTHONPATH", here().join("contract"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ROOST_THERE", there.to_string())
        .arg("--config-file")
        .arg(here().join("contract/schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", client.base())])
        .args(["--header", &format!("Authorization: Bearer {}", client.key())])
        // Without it the log would be a stream that goes on until somebody leaves.
        .args(["--header", "Accept: application/json"])
        .args(paths)
        .args(["--exclude-operation-id", "open_event_socket"])
        .args(["--max-examples", EXAMPLES])
        .output()
        .await
        .unwrap();
    passed(&output);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python packages; see the head of main.rs"]
async fn the_gateway_answers_a_tenant_as_the_description_says() {
    let world = World::start_with(OPTIONS).await;
    let (api, instance) = (world.api(), world.paired(ALICE).await);
    let sent = api.send_text(&instance, BOB, "hello").await;
    let received = world.phone_sends(BOB, ALICE, "hello").await;
    let message = api.received(&received).await;
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let event = api.publish("custom.stage", json!({})).await;
    let path = format!("/v1/webhooks/{}/deliveries", webhook["id"].as_str().unwrap());
    let delivery = eventually("a delivery", || async {
        let page = api.get(&path).await.expect(200);
        page["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;
    let there = json!({
        "ins": instance,
        "msg": message["id"],
        "whk": webhook["id"],
        "dlv": delivery,
        "evt": event["id"],
        "url": receiver.url(),
    });
    fuzz(&api, ["--exclude-path-regex", "^/v1/operator/"], &there).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python packages; see the head of main.rs"]
async fn the_gateway_answers_an_operator_as_the_description_says() {
    let world = World::start_with(OPTIONS).await;
    let instance = world.paired(ALICE).await;
    let there = json!({"ins": instance, "url": "http://127.0.0.1:9"});
    let operator = world.operator().await;
    fuzz(&operator, ["--include-path-regex", "^/v1/operator/"], &there).await;
}
