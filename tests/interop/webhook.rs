//! The signature, judged by the public libraries of Standard Webhooks for JavaScript and for Python.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::receiver::{Received, Receiver};
use crate::world::World;

/// How a library is run.
struct Library {
    program: PathBuf,
    script: PathBuf,
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

fn javascript() -> Library {
    assert!(
        here().join("node_modules/standardwebhooks").is_dir(),
        "the packages are missing: run `npm ci --prefix tests/interop` first"
    );
    Library {
        program: "node".into(),
        script: here().join("webhook/verify.js"),
    }
}

fn python() -> Library {
    let program = here().join(".venv/bin/python");
    assert!(
        program.exists(),
        "the packages are missing: run `python3 -m venv tests/interop/.venv` and \
         `tests/interop/.venv/bin/pip install --require-hashes -r tests/interop/requirements.txt` first"
    );
    Library {
        program,
        script: here().join("webhook/verify.py"),
    }
}

impl Library {
    /// The event's type, if the library takes the POST.
    async fn verify(&self, secret: &str, post: &Received) -> Option<String> {
        let headers: Value = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name.to_owned(), Value::from(post.header(name))))
            .into_iter()
            .collect();
        let body = std::str::from_utf8(&post.body).unwrap();
        let input = json!({"secret": secret, "headers": headers, "body": body}).to_string();
        let mut child = Command::new(&self.program)
            .arg(&self.script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .await
            .unwrap();
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if output.status.success() {
            return Some(said);
        }
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(why.contains("WebhookVerificationError"), "{why}");
        None
    }
}

/// A webhook's POSTs, before and while its secret is replaced, and what must not pass.
async fn judged_by(library: Library) {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let first = webhook["secret"].as_str().unwrap();
    let path = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    api.publish(
        "custom.first",
        json!({"text": "\u{e4}\u{1f44d} \"quoted\" \\ \u{2028}"}),
    )
    .await;
    let mut post = receiver.until(1).await.remove(0);
    assert_eq!(
        library.verify(first, &post).await.as_deref(),
        Some("custom.first")
    );

    let rotated = api
        .post(&format!("{path}/rotate-secret"), json!({}))
        .await
        .expect(200);
    let second = rotated["secret"].as_str().unwrap();
    assert_eq!(library.verify(second, &post).await, None);
    api.publish("custom.second", json!([])).await;
    let both = receiver.until(2).await.remove(1);
    for secret in [first, second] {
        assert_eq!(
            library.verify(secret, &both).await.as_deref(),
            Some("custom.second")
        );
    }

    post.body = String::from_utf8(post.body.to_vec())
        .unwrap()
        .replace("custom.first", "custom.fists")
        .into();
    assert_eq!(library.verify(first, &post).await, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and `npm ci --prefix tests/interop`"]
async fn the_library_for_javascript_verifies_what_is_posted() {
    judged_by(javascript()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python and tests/interop/requirements.txt in tests/interop/.venv"]
async fn the_library_for_python_verifies_what_is_posted() {
    judged_by(python()).await;
}
