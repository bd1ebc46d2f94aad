//! The control API: its answers and its errors.

use roost_sandbox::server::SandboxConfig;
use serde_json::{Value, json};

use crate::stage::Stage;

const ADA: &str = "15550000001";

#[tokio::test]
async fn accounts_are_created_once_and_listed() {
    let stage = Stage::new().await;
    let (status, body) = stage
        .post(
            "/accounts",
            json!({"phone_number": "+15550000002", "name": "Bob", "echo": true}),
        )
        .await;
    assert_eq!(
        (status, &body["phone_number"], &body["echo"]),
        (201, &json!("15550000002"), &json!(true))
    );
    stage.account(ADA, false).await;
    let (status, body) = stage
        .post("/accounts", json!({"phone_number": ADA, "name": "Ada"}))
        .await;
    assert_eq!((status, body["code"].as_str()), (409, Some("account_exists")));

    let (_, page) = stage.get("/accounts?limit=1").await;
    assert_eq!(
        (&page["data"][0]["phone_number"], &page["next_cursor"]),
        (&json!(ADA), &json!(ADA))
    );
    let (_, page) = stage.get(&format!("/accounts?after={ADA}")).await;
    assert_eq!(
        (&page["data"][0]["phone_number"], &page["next_cursor"]),
        (&json!("15550000002"), &Value::Null)
    );
}

#[tokio::test]
async fn bad_calls_get_a_problem_with_code_and_pointer() {
    let stage = Stage::with(SandboxConfig {
        body_bytes_max: 2_000,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    let messages = format!("/accounts/{ADA}/messages");
    let long = "x".repeat(1_990);
    let cases = [
        (
            "/accounts",
            json!({"phone_number": "123", "name": "A"}),
            422,
            "invalid_phone_number",
            "/phone_number",
        ),
        (
            "/accounts",
            json!({"phone_number": "1234567890123456", "name": "A"}),
            422,
            "invalid_phone_number",
            "/phone_number",
        ),
        (
            "/accounts",
            json!({"phone_number": "+1555abc0000", "name": "A"}),
            422,
            "invalid_phone_number",
            "/phone_number",
        ),
        (
            "/accounts",
            json!({"phone_number": 5, "name": "A"}),
            422,
            "invalid_field",
            "/phone_number",
        ),
        (
            "/accounts",
            json!({"phone_number": "15550000009", "name": " "}),
            422,
            "invalid_field",
            "/name",
        ),
        (
            "/accounts",
            json!({"phone_number": "15550000009", "name": "A", "x": 1}),
            422,
            "invalid_field",
            "/x",
        ),
        (
            "/accounts",
            json!({"phone_number": "15550000009", "name": long}),
            413,
            "body_too_large",
            "",
        ),
        (
            "/accounts/15559999999/echo",
            json!({"enabled": true}),
            404,
            "account_not_found",
            "",
        ),
        (
            &format!("/accounts/{ADA}/scan"),
            json!({"code": "what"}),
            422,
            "invalid_field",
            "/code",
        ),
        (
            &format!("/accounts/{ADA}/link-code"),
            json!({"code": "0000"}),
            422,
            "invalid_field",
            "/code",
        ),
        (
            &messages,
            json!({"to": "15559999999", "text": "a"}),
            404,
            "account_not_found",
            "/to",
        ),
        (
            &messages,
            json!({"to": ADA, "text": ""}),
            422,
            "invalid_field",
            "/text",
        ),
        (
            &messages,
            json!({"to": ADA, "text": "a", "revoke_of": "b"}),
            422,
            "invalid_field",
            "",
        ),
        (
            &messages,
            json!({"to": ADA, "react_to": "b"}),
            422,
            "invalid_field",
            "",
        ),
        (
            &messages,
            json!({"to": ADA, "text": "a", "edit_of": ""}),
            422,
            "invalid_field",
            "/edit_of",
        ),
    ];
    for (path, body, status, code, pointer) in cases {
        let (got, problem) = stage.post(path, body.clone()).await;
        assert_eq!(
            (got, problem["code"].as_str()),
            (status, Some(code)),
            "{path} {body}: {problem}"
        );
        let at = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(at, pointer, "{path} {body}: {problem}");
    }
    for (path, body) in [("/accounts", "{"), ("/accounts", "{} {}"), ("/accounts", "")] {
        let (status, problem) = stage.post_text(path, body.to_owned()).await;
        assert!(status == 400 || status == 422, "{body:?}: {problem}");
    }
    for (path, status, code) in [
        ("/nothing", 404, "not_found"),
        ("/accounts?limit=0", 400, "invalid_query"),
        ("/accounts?limit=x", 400, "invalid_query"),
        ("/accounts/15559999999/messages", 404, "account_not_found"),
        ("/accounts/15550000001/scan", 405, "method_not_allowed"),
    ] {
        let (got, problem) = stage.get(path).await;
        assert_eq!(
            (got, problem["code"].as_str()),
            (status, Some(code)),
            "{path}: {problem}"
        );
    }
}

#[tokio::test]
async fn phones_without_companions_talk_to_each_other() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account("15550000002", true).await;
    let id = stage.phone_sends(ADA, "15550000002", "hello").await;
    let heard = stage.phone_has("15550000002", 1).await;
    assert_eq!(
        (&heard[0]["whatsapp_id"], &heard[0]["from_device"]),
        (&json!(id), &json!(0))
    );
    let echo = stage.phone_has(ADA, 1).await;
    assert_eq!(
        (&echo[0]["text"], &echo[0]["from"]),
        (&json!("hello"), &json!("15550000002"))
    );
    let (_, page) = stage.get(&format!("/accounts/{ADA}/messages?after=1")).await;
    assert_eq!(page["data"], json!([]));
}

#[tokio::test]
async fn two_echoing_phones_stop() {
    let stage = Stage::new().await;
    stage.account(ADA, true).await;
    stage.account("15550000002", true).await;
    stage.phone_sends(ADA, "15550000002", "ping").await;
    stage.phone_has("15550000002", 1).await;
    assert_eq!(stage.phone_has(ADA, 0).await.len(), 0);
}

#[tokio::test]
async fn a_stopped_sandbox_frees_its_port() {
    let stage = Stage::new().await;
    let address = stage.url().strip_prefix("http://").unwrap().parse().unwrap();
    stage.shutdown().await;
    Stage::with(SandboxConfig {
        listen: address,
        ..SandboxConfig::default()
    })
    .await;
}

#[test]
fn the_program_says_in_one_line_why_it_cannot_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (options, advice) in [
        (["--listen", &taken, "--media-listen", "127.0.0.1:0"], "--listen"),
        (
            ["--listen", "127.0.0.1:0", "--media-listen", &taken],
            "--media-listen",
        ),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_roost-sandbox"))
            .args(options)
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("error: ") && said.contains(&format!(" {advice},")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
