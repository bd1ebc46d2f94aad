//! Scenarios: scripts that replay a conversation.

use std::collections::BTreeSet;

use roost_sandbox::server::SandboxConfig;
use serde_json::{Value, json};

use crate::client::Companion;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn start(stage: &Stage, steps: Value) -> String {
    let (status, body) = stage.post("/scenarios", json!({ "steps": steps })).await;
    assert_eq!(status, 202, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

/// Runs steps and returns how it ended.
async fn play(stage: &Stage, steps: Value) -> Value {
    let id = start(stage, steps).await;
    let (status, view) = stage.get(&format!("/scenarios/{id}?wait_ms=20000")).await;
    assert_eq!(status, 200);
    view
}

async fn succeeds(stage: &Stage, steps: Value) -> Value {
    let view = play(stage, steps).await;
    assert_eq!(view["state"], "succeeded", "{view}");
    view
}

/// The place and the reason of a failure.
async fn fails(stage: &Stage, steps: Value) -> (String, String) {
    let view = play(stage, steps).await;
    assert_eq!(view["state"], "failed", "{view}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&view["error"]["pointer"]), text(&view["error"]["detail"]))
}

#[tokio::test]
async fn a_conversation_between_phones_is_replayed() {
    let stage = Stage::new().await;
    let view = succeeds(
        &stage,
        json!([
            {"account": {"phone_number": ADA, "name": "Ada"}},
            {"account": {"phone_number": ADA, "name": "Ada"}},
            {"account": {"phone_number": format!("+{BOB}"), "name": "Bob"}},
            {"rules": {"phone": BOB, "rules": [{"match": {"contains": "price"}, "reply": {"text": "9 €"}}]}},
            {"send": {"from": ADA, "message": {"to": BOB, "text": "hello {n}"}, "count": 3, "per_second": 100}},
            {"wait_until": {"that": {"received": {"phone": BOB, "from": ADA, "contains": "hello", "count": 3}}}},
            {"send": {"from": ADA, "message": {"to": BOB, "text": "what is the price?"}, "save_as": "question"}},
            {"wait_until": {"that": {"received": {"phone": ADA, "text": "9 €"}}, "save_as": "answer"}},
            {"send": {"from": ADA, "message": {"to": BOB, "react_to": "{answer}", "emoji": "👍"}}},
            {"wait_until": {"that": {"received": {"phone": BOB, "kind": "reaction"}}}},
            {"read": {"phone": BOB, "whatsapp_id": "{question}"}},
            {"typing": {"from": ADA, "to": BOB, "state": "composing"}},
            {"presence": {"phone": ADA, "available": true}},
            {"expect": {"that": {"received": {"phone": BOB, "count": 5, "exactly": true}}}},
            {"expect": {"that": {"received": {"phone": BOB, "contains": "goodbye"}}, "not": true, "within_ms": 50}},
        ]),
    )
    .await;
    assert_eq!(
        (&view["step"], &view["steps"], &view["sent"]),
        (&json!(15), &json!(15), &json!(5))
    );
    let messages = stage.phone_has(BOB, 5).await;
    let texts: Vec<_> = messages
        .iter()
        .map(|message| message["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        ["hello 1", "hello 2", "hello 3", "what is the price?", "👍"]
    );
    assert_eq!(view["saved"]["question"], messages[3]["whatsapp_id"]);
    assert_eq!(view["saved"]["answer"], messages[4]["target_id"]);
}

#[tokio::test]
async fn a_scenario_drives_faults_and_waits_for_companions() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let id = start(
        &stage,
        json!([
            {"wait_until": {"that": {"connected": {"phone": ADA, "device": 1}}}},
            {"wait_until": {"that": {"queued": {"phone": ADA, "at_most": 0}}}},
            {"fault": {"kind": "reject_sends", "error": 463, "account": ADA, "count": 1}},
            {"wait_until": {"that": {"struck": {"at_least": 1}}}},
            {"clear_faults": {}},
            {"disconnect_devices": {"phone": ADA}},
            {"wait_until": {"that": {"logins": {"phone": ADA, "at_least": 2}}}},
            {"send": {"from": BOB, "message": {"to": ADA, "text": "welcome back"}}},
        ]),
    )
    .await;
    eventually(|| async { (stage.stat("faults_active").await == 1).then_some(()) }).await;
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "hello")
        .await;
    wire.send(&message).await;
    assert_eq!(wire.expect_ack("M1").await.get("error"), Some("463"));
    wire.until_closed().await;
    let mut wire = ada.connect(&stage).await;
    let message = wire.expect(|node| node.tag == "message").await;
    assert_eq!(ada.read(&message).text(), Some("welcome back"));
    let (_, view) = stage.get(&format!("/scenarios/{id}?wait_ms=20000")).await;
    assert_eq!(view["state"], "succeeded", "{view}");
    assert_eq!(stage.get("/faults").await.1, json!({"data": []}));
}

#[tokio::test]
async fn a_scenario_fails_at_the_step_that_cannot_be_done() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let cases = [
        (
            json!({"send": {"from": ADA, "message": {"to": "15559999999", "text": "x"}}}),
            "no account",
        ),
        (
            json!({"send": {"from": "15559999999", "message": {"to": ADA, "text": "x"}}}),
            "no account",
        ),
        (
            json!({"send": {"from": ADA, "message": {"to": BOB}}}),
            "send text",
        ),
        (
            json!({"send": {"from": ADA, "message": {"to": BOB, "text": ""}, "count": 2}}),
            "message 1",
        ),
        (
            json!({"read": {"phone": ADA, "whatsapp_id": "M1"}}),
            "no message M1",
        ),
        (
            json!({"expect": {"that": {"received": {"phone": ADA}}}}),
            "received 0 such messages of 1",
        ),
        (
            json!({"expect": {"that": {"connected": {"phone": ADA}}}}),
            "not connected",
        ),
        (
            json!({"expect": {"that": {"queued": {"phone": ADA, "at_most": 0}}, "not": true}}),
            "it holds",
        ),
        (
            json!({"wait_until": {"that": {"logins": {"phone": ADA, "at_least": 1}}, "timeout_ms": 30}}),
            "0 logins",
        ),
        (
            json!({"fault": {"kind": "drop_frame", "account": "15559999999"}}),
            "no account",
        ),
        (
            json!({"typing": {"from": ADA, "to": "15559999999", "state": "paused"}}),
            "no chat",
        ),
    ];
    for (step, reason) in cases {
        let name = step.as_object().unwrap().keys().next().unwrap().clone();
        let (pointer, detail) = fails(
            &stage,
            json!([{"wait": {"ms": 0}}, step, {"wait": {"ms": 60_000}}]),
        )
        .await;
        assert_eq!(pointer, format!("/steps/1/{name}"));
        assert!(detail.contains(reason), "{detail}");
    }
}

#[tokio::test]
async fn a_malformed_scenario_is_refused_with_the_place_and_does_nothing() {
    let stage = Stage::with(SandboxConfig {
        scenario_steps_max: 3,
        ..SandboxConfig::default()
    })
    .await;
    let account = json!({"account": {"phone_number": ADA, "name": "Ada"}});
    let received = json!({"received": {"phone": ADA, "x": 1}});
    let cases = [
        (json!([]), "/steps"),
        (json!([account, account, account, account]), "/steps"),
        (json!([account, {"dance": {}}]), "/steps/1"),
        (json!([account, {"wait": {"ms": "x"}}]), "/steps/1/wait/ms"),
        (json!([account, {"wait": {"ms": 3_600_001}}]), "/steps/1/wait/ms"),
        (json!([account, {"wait": {"ms": 1, "x": 1}}]), "/steps/1/wait/x"),
        (
            json!([{"send": {"from": ADA, "message": {"to": BOB, "txt": "x"}}}]),
            "/steps/0/send/message/txt",
        ),
        (
            json!([{"send": {"from": ADA, "message": {"to": BOB}, "count": 0}}]),
            "/steps/0/send/count",
        ),
        (
            json!([{"send": {"from": ADA, "message": {"to": BOB}, "per_second": 0}}]),
            "/steps/0/send/per_second",
        ),
        (
            json!([{"send": {"from": ADA, "message": {"to": BOB}, "save_as": "n"}}]),
            "/steps/0/send/save_as",
        ),
        (
            json!([{"fault": {"kind": "drop_frame", "count": 0}}]),
            "/steps/0/fault/count",
        ),
        (json!([{"call": {"path": "stats"}}]), "/steps/0/call/path"),
        (
            json!([{"call": {"path": "/stats", "save": {"n": ""}}}]),
            "/steps/0/call/save",
        ),
        (json!([{"fault": {"kind": "earthquake"}}]), "/steps/0/fault/kind"),
        (
            json!([{"expect": {"that": received}}]),
            "/steps/0/expect/that/received/x",
        ),
    ];
    for (steps, pointer) in cases {
        let (status, problem) = stage.post("/scenarios", json!({ "steps": steps })).await;
        assert_eq!(
            (status, problem["errors"][0]["pointer"].as_str()),
            (422, Some(pointer)),
            "{steps}: {problem}"
        );
    }
    assert_eq!(stage.stat("accounts").await, 0);
}

#[tokio::test]
async fn a_step_makes_any_call_and_names_parts_of_the_answer() {
    let stage = Stage::new().await;
    let view = succeeds(
        &stage,
        json!([
            {"call": {"path": "/accounts", "body": {"phone_number": ADA, "name": "Ada"}, "status": 201,
                "save": {"number": "/phone_number", "lid": "/lid"}}},
            {"call": {"path": "/accounts/{number}/echo", "body": {"enabled": true}}},
            {"call": {"method": "GET", "path": "/accounts/{number}", "save": {"echo": "/echo"}}},
            {"call": {"method": "DELETE", "path": "/faults/none", "status": 404}},
        ]),
    )
    .await;
    let (_, account) = stage.get(&format!("/accounts/{ADA}")).await;
    assert_eq!(
        view["saved"],
        json!({"number": ADA, "lid": account["lid"], "echo": "true"})
    );
    for (call, reason) in [
        (
            json!({"path": "/accounts", "body": {"phone_number": ADA, "name": "Ada"}}),
            "409 Conflict",
        ),
        (json!({"path": "/nowhere", "method": "GET"}), "404 Not Found"),
        (
            json!({"path": "/stats", "method": "GET", "save": {"x": "/nothing"}}),
            "nothing at /nothing",
        ),
        (json!({"path": "/a b", "method": "GET"}), "invalid uri"),
    ] {
        let (pointer, detail) = fails(&stage, json!([{ "call": call }])).await;
        assert_eq!(pointer, "/steps/0/call");
        assert!(detail.contains(reason), "{detail}");
    }
}

#[tokio::test]
async fn scenarios_are_limited_waited_for_and_ended() {
    let stage = Stage::with(SandboxConfig {
        scenarios_running_max: 1,
        scenarios_max: 2,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let long = json!([
        {"wait": {"ms": 600_000}},
        {"send": {"from": ADA, "message": {"to": BOB, "text": "never"}}},
    ]);
    let id = start(&stage, long.clone()).await;
    let (_, view) = stage.get(&format!("/scenarios/{id}?wait_ms=20")).await;
    assert_eq!((&view["state"], &view["step"]), (&json!("running"), &json!(0)));
    let (status, problem) = stage.post("/scenarios", json!({ "steps": long })).await;
    assert_eq!((status, &problem["code"]), (503, &json!("too_many_scenarios")));
    assert_eq!(stage.get(&format!("/scenarios/{id}?wait_ms=60001")).await.0, 400);

    // Somebody who waits for it hears that it was ended.
    let path = format!("/scenarios/{id}");
    let waiting = format!("{path}?wait_ms=20000");
    let ended = async {
        tokio::task::yield_now().await;
        stage.delete(&path).await.0
    };
    let ((_, view), removed) = tokio::join!(stage.get(&waiting), ended);
    assert_eq!(removed, 204);
    assert!(
        view["state"] == "canceled" || view["code"] == "scenario_not_found",
        "{view}"
    );
    assert_eq!(stage.get(&path).await.1["code"], "scenario_not_found");
    assert_eq!(stage.delete(&path).await.0, 404);

    for _ in 0..3 {
        succeeds(&stage, json!([{"wait": {"ms": 0}}])).await;
    }
    assert_eq!(
        stage.get("/scenarios").await.1["data"].as_array().unwrap().len(),
        2
    );
}

/// The names an error lists after saying that it does not know one.
fn known_names(detail: &str) -> BTreeSet<String> {
    let (_, listed) = detail.split_once("expected one of ").unwrap();
    let names = listed.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_schema_knows_every_step_and_condition() {
    let schema = include_str!("../../../docs/sandbox-scenario.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let stage = Stage::new().await;
    for (part, steps) in [
        ("step", json!([{"dance": {}}])),
        ("condition", json!([{"expect": {"that": {"dance": {}}}}])),
    ] {
        let (_, problem) = stage.post("/scenarios", json!({ "steps": steps })).await;
        let described = schema["$defs"][part]["properties"].as_object().unwrap();
        let described: BTreeSet<_> = described.keys().cloned().collect();
        assert_eq!(described, known_names(problem["detail"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn the_scenario_of_the_guide_runs() {
    let guide = include_str!("../../../docs/sandbox.md");
    let (_, example) = guide.split_once("<!-- scenario -->\n```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let scenario: Value = serde_json::from_str(example).unwrap();
    let stage = Stage::new().await;
    // The bot under test is played by an echo.
    stage.account("15550000001", true).await;
    let (status, view) = stage.post("/scenarios", scenario).await;
    assert_eq!(status, 202, "{view}");
    let id = view["id"].as_str().unwrap();
    let (_, view) = stage.get(&format!("/scenarios/{id}?wait_ms=20000")).await;
    assert_eq!(view["state"], "succeeded", "{view}");
}
