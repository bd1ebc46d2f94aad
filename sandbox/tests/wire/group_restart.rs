//! Groups and sender keys across a kill -9.

use serde_json::json;

use crate::member::Member;
use crate::stage::Stage;

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const EVE: &str = "15550000003";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

#[tokio::test]
async fn groups_are_as_they_were_and_sender_keys_go_on_after_a_kill() {
    let mut stage = Stage::process();
    for number in [ADA, BOB, EVE] {
        stage.account(number, false).await;
    }
    let group = stage.group(&[ADA, BOB], "lid").await;
    let path = format!("/groups/{group}");
    let settings = json!({
        "subject": "Choir", "description": "We sing", "approval": true, "announcement": true,
        "ephemeral_s": 86400, "member_add_mode": "admin_add",
    });
    assert_eq!(stage.patch(&path, settings).await.0, 200);
    stage.patch(&path, json!({"announcement": false})).await;
    let (_, former) = stage.get(&format!("{path}/invite")).await;
    let (_, invite) = stage.post(&format!("{path}/invite"), json!({})).await;
    let (_, asked) = stage
        .post("/groups/join", json!({"phone": EVE, "code": invite["code"]}))
        .await;
    assert_eq!(asked["result"], "requested");
    let mut ada = Member::new(&stage, ADA).await;
    stage.phone_sends(BOB, &group, "one").await;
    assert_eq!(ada.reads().await, "one");
    ada.sends(&group, &[ADA_JID, BOB_JID], "M1", "mine").await;
    let (_, before) = stage.get(&path).await;
    stage.kill();
    stage.restart();

    assert_eq!(stage.get(&path).await.1, before);
    assert_eq!(stage.get(&format!("{path}/invite")).await.1, invite);
    let (status, body) = stage
        .post("/groups/join", json!({"phone": EVE, "code": former["code"]}))
        .await;
    assert_eq!((status, body["code"].as_str()), (410, Some("invite_reset")));
    ada.wire = ada.companion.connect(&stage).await;
    stage.phone_sends(BOB, &group, "two").await;
    let message = ada.delivered().await;
    assert_eq!(
        message.find_all("enc").count(),
        1,
        "the phone goes on with its key"
    );
    assert_eq!(ada.read(&message).unwrap().text(), Some("two"));
    ada.receipt(&message, None).await;
    ada.sends(&group, &[], "M2", "mine too").await;
    let notes = stage.phone_has(BOB, 2).await;
    assert_eq!(
        [&notes[0]["text"], &notes[1]["text"]],
        [&json!("mine"), &json!("mine too")]
    );
    // A departure that is kept makes the phone take a new key, also after a restart.
    let path = format!("{path}/requests");
    stage
        .post(&path, json!({"action": "approve", "participants": [EVE]}))
        .await;
    stage.phone_sends(BOB, &group, "three").await;
    assert_eq!(ada.reads().await, "three");
    stage
        .post(&format!("/groups/{group}/leave"), json!({"phone": EVE}))
        .await;
    stage.kill();
    stage.restart();
    ada.wire = ada.companion.connect(&stage).await;
    stage.phone_sends(BOB, &group, "four").await;
    let message = ada.delivered().await;
    assert_eq!(message.find_all("enc").count(), 2);
    assert_eq!(ada.read(&message).unwrap().text(), Some("four"));
    for number in [ADA, BOB] {
        stage
            .post(&format!("/groups/{group}/leave"), json!({"phone": number}))
            .await;
    }
    stage.kill();
    stage.restart();
    assert_eq!(stage.get("/groups").await.1["data"], json!([]));
}
