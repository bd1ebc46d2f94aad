//! Every kind of fault, as a client sees it.

mod connection;
mod stanza;

use serde_json::{Value, json};

use crate::client::{Companion, Wire};
use crate::stage::Stage;

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

/// A sandbox with Ada, who has a companion, and Bob.
async fn stage() -> (Stage, Companion, Wire) {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let wire = ada.open(&stage).await;
    (stage, ada, wire)
}

async fn strikes(stage: &Stage, id: &str) -> Value {
    stage.get(&format!("/faults/{id}")).await.1["strikes"].clone()
}

#[tokio::test]
async fn faults_are_listed_with_how_often_they_struck_and_taken_away() {
    let (stage, _ada, mut wire) = stage().await;
    let body = json!({"kind": "reject_sends", "error": 463, "account": format!("+{ADA}"), "count": 2});
    let id = stage.fault(body).await;
    stage.fault(json!({"kind": "drop_frame", "account": BOB})).await;
    let message = roost_sandbox::wire::node::Node::new("message")
        .attr("to", BOB_JID)
        .attr("id", "M1")
        .attr("type", "text");
    wire.send(&message).await;
    wire.expect_ack("M1").await;
    let (_, list) = stage.get("/faults").await;
    assert_eq!(
        list["data"][0],
        json!({"id": id, "kind": "reject_sends", "error": 463, "account": ADA, "device": null,
            "probability": null, "after": 0, "count": 2, "duration_ms": null, "state": "active",
            "chances": 1, "strikes": 1})
    );
    assert_eq!(stage.delete(&format!("/faults/{id}")).await.0, 204);
    assert_eq!(stage.delete(&format!("/faults/{id}")).await.0, 404);
    assert_eq!(
        stage.get(&format!("/faults/{id}")).await.1["code"],
        "fault_not_found"
    );
    assert_eq!(stage.stat("faults_active").await, 1);
    assert_eq!(stage.delete("/faults").await, (200, json!({"removed": 1})));
    assert_eq!(stage.get("/faults").await.1, json!({"data": []}));
    assert_eq!(stage.stat("faults_struck").await, 1);
}

#[tokio::test]
async fn a_wrong_fault_is_refused_with_the_place() {
    let stage = Stage::new().await;
    let cases = [
        (json!({"kind": "earthquake"}), 422, "invalid_field", "/kind"),
        (
            json!({"kind": "drop_frame", "count": 0}),
            422,
            "invalid_field",
            "/count",
        ),
        (
            json!({"kind": "slow_media", "bytes_per_second": "x"}),
            422,
            "invalid_field",
            "/bytes_per_second",
        ),
        (
            json!({"kind": "drop_frame", "account": "12"}),
            422,
            "invalid_phone_number",
            "/account",
        ),
        (
            json!({"kind": "drop_frame", "account": ADA}),
            404,
            "account_not_found",
            "/account",
        ),
    ];
    for (body, status, code, pointer) in cases {
        let (answered, problem) = stage.post("/faults", body).await;
        assert_eq!(
            (
                answered,
                problem["code"].as_str(),
                problem["errors"][0]["pointer"].as_str()
            ),
            (status, Some(code), Some(pointer)),
            "{problem}"
        );
    }
}
