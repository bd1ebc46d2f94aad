//! Groups and sender keys across a kill -9.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::member::Member;
use crate::stage::{DEADLINE, Stage, eventually};
use crate::traffic::phone_writes;

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const EVE: &str = "15550000003";
/// How often the program is killed under traffic.
const KILLS: usize = 8;
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

/// Reads a group until the server is gone or `is_done`.
async fn read_on(
    member: &mut Member,
    stage: &Stage,
    read: &mut BTreeMap<String, String>,
    progress: &AtomicUsize,
    is_done: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Option<()> {
    member.wire = member.companion.try_connect(stage).await?;
    while !is_done(read) {
        let node = member.wire.next().await?;
        let id = node.get("id").unwrap_or_default().to_owned();
        if node.tag != "message" {
            continue;
        }
        if !read.contains_key(&id) {
            let content = member.read(&node).expect("a sender key never turns back");
            let text = content.innermost().text().unwrap().to_owned();
            read.insert(id.clone(), text);
        }
        let receipt = Node::new("receipt")
            .attr("id", id)
            .attr("to", node.get("from").unwrap().to_owned())
            .attr("participant", node.get("participant").unwrap().to_owned());
        member.wire.try_send(&receipt).await?;
        progress.fetch_add(1, Ordering::Relaxed);
    }
    Some(())
}

#[tokio::test]
async fn nothing_a_phone_wrote_to_a_group_is_lost_or_unreadable_under_random_kills() {
    let mut stage = Stage::process();
    for number in [ADA, BOB, EVE] {
        stage.account(number, false).await;
    }
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let answered = Mutex::new(BTreeMap::new());
    let mut read = BTreeMap::new();
    let progress = AtomicUsize::new(0);
    for _ in 0..KILLS {
        let enough = progress.load(Ordering::Relaxed) + rand::random_range(1..60);
        let kill = async {
            eventually(|| async { (progress.load(Ordering::Relaxed) >= enough).then_some(()) }).await;
            stage.kill();
        };
        tokio::join!(
            read_on(&mut ada, &stage, &mut read, &progress, |_| false),
            phone_writes(&stage, BOB, &group, &answered),
            kill,
        );
        stage.restart();
    }
    let answered = answered.into_inner().unwrap();
    assert!(!answered.is_empty());
    let has_all =
        |read: &BTreeMap<String, String>| answered.iter().all(|(id, text)| read.get(id) == Some(text));
    let rest = read_on(&mut ada, &stage, &mut read, &progress, has_all);
    let ended = tokio::time::timeout(DEADLINE, rest).await;
    assert_eq!(ended.ok().flatten(), Some(()), "everything answered arrives");
    eventually(|| async {
        let notes = stage.phone_has(EVE, answered.len()).await;
        let ids: Vec<_> = notes
            .iter()
            .map(|note| note["whatsapp_id"].as_str().unwrap())
            .collect();
        let once = |id: &&String| ids.iter().filter(|seen| *seen == *id).count() == 1;
        answered.keys().all(|id| once(&id)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_member_with_another_number_stays_in_the_group_across_a_kill() {
    const NEW: &str = "15550000004";
    let mut stage = Stage::process();
    for number in [ADA, BOB, EVE] {
        stage.account(number, false).await;
    }
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    let text = json!({"to": group, "text": "before"});
    assert_eq!(
        stage.post(&format!("/accounts/{BOB}/messages"), text).await.0,
        201
    );
    let mut eve = Member::new(&stage, EVE).await;
    let moved = json!({"phone_number": NEW});
    assert_eq!(
        stage
            .post(&format!("/accounts/{ADA}/change-number"), moved)
            .await
            .0,
        201
    );
    let notice = eve.notice("modify").await;
    let by = format!("{NEW}@s.whatsapp.net");
    assert_eq!(notice.get("participant"), Some(by.as_str()));
    let participant = notice.find("modify").unwrap().find("participant").unwrap();
    assert_eq!(participant.get("jid"), Some(ADA_JID));

    for is_restarted in [false, true] {
        if is_restarted {
            stage.kill();
            stage.restart();
        }
        // Who made the group still acts in it, by the new number.
        let (status, shown) = stage
            .patch(&format!("/groups/{group}"), json!({"subject": "Choir"}))
            .await;
        assert_eq!(status, 200, "{shown}");
        let participants = shown["participants"].as_array().unwrap().iter();
        let numbers: Vec<_> = participants
            .map(|one| one["phone_number"].as_str().unwrap())
            .collect();
        assert_eq!(numbers, [NEW, BOB, EVE]);
        for (from, to) in [(BOB, NEW), (NEW, BOB)] {
            let (_, sent) = stage
                .post(
                    &format!("/accounts/{from}/messages"),
                    json!({"to": group, "text": "after"}),
                )
                .await;
            let id = sent["whatsapp_id"].clone();
            eventually(|| async {
                let messages = stage.phone_has(to, 1).await;
                messages.into_iter().find(|message| message["whatsapp_id"] == id)
            })
            .await;
        }
    }
}
