//! Evidence: what the sandbox can prove about who acted for a device, and when.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};

use crate::client::Companion;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";

async fn logins(stage: &Stage) -> Vec<Value> {
    let (status, body) = stage.get(&format!("/accounts/{ADA}/logins")).await;
    assert_eq!(status, 200);
    body["data"].as_array().unwrap().clone()
}

async fn ledger(stage: &Stage, query: &str) -> Value {
    let (status, body) = stage
        .get(&format!("/accounts/{ADA}/ledger?device=1{query}"))
        .await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn every_login_has_its_connection_its_address_and_its_end() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let first = ada.open(&stage).await;
    let mut second = ada.connect(&stage).await;
    second.expect_tag("success").await;
    let logins_now = eventually(|| async {
        let now = logins(&stage).await;
        (now.len() == 2 && now[0]["ended_for"] != Value::Null).then_some(now)
    })
    .await;
    let [older, newer] = &logins_now[..] else {
        panic!("two logins")
    };
    assert_eq!(
        (&older["ended_for"], &older["device"]),
        (&json!("replaced"), &json!(1))
    );
    assert_ne!(older["connection"], newer["connection"]);
    assert!(
        older["remote_address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_eq!(
        (&newer["result"], &newer["ended_at_us"]),
        (&json!("accepted"), &Value::Null)
    );
    // The order says who came when: the newer login, then the end of the older one.
    assert!(newer["order"].as_u64() < older["ended_order"].as_u64());
    assert!(newer["at_us"].as_u64() <= older["ended_at_us"].as_u64());
    assert!(older["opened_at_us"].as_u64() <= older["at_us"].as_u64());
    assert!(newer["opened_at_us"].as_u64() >= older["at_us"].as_u64());
    drop(first);

    stage
        .post(&format!("/accounts/{ADA}/disconnect-devices"), json!({}))
        .await;
    stage
        .fault(json!({"kind": "refuse_logins", "reason": 503, "count": 1}))
        .await;
    ada.connect(&stage).await.until_closed().await;
    let remove = Node::new("remove-companion-device").attr("jid", ada.jid.to_string());
    let mut wire = ada.connect(&stage).await;
    wire.query("set", "md", remove).await;
    wire.until_closed().await;
    ada.connect(&stage).await.until_closed().await;
    let ends = eventually(|| async {
        let now = logins(&stage).await;
        let ends: Vec<_> = now
            .iter()
            .skip(1)
            .map(|login| [&login["refused_for"], &login["ended_for"]].map(Clone::clone))
            .collect();
        (ends.len() == 4 && ends[2][1] != Value::Null).then_some(ends)
    })
    .await;
    assert_eq!(
        json!(ends),
        json!([
            [null, "disconnect-devices"],
            ["fault 503", null],
            [null, "unlinked"],
            ["401", null]
        ])
    );
}

#[tokio::test]
async fn the_ledger_holds_every_frame_in_order_and_is_read_page_by_page() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    wire.query("get", "w:p", Node::new("ping")).await;
    drop(wire);
    let all = eventually(|| async {
        let page = ledger(&stage, "").await;
        let data = page["data"].as_array().unwrap().clone();
        (data.last().unwrap()["event"] == "end").then_some(data)
    })
    .await;
    assert_eq!(
        (&all[0]["event"], &all[0]["result"]),
        (&json!("login"), &json!("accepted"))
    );
    let orders: Vec<_> = all.iter().map(|event| event["order"].as_u64().unwrap()).collect();
    assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
    let success = &all[1];
    assert_eq!(
        (&success["event"], &success["tag"]),
        (&json!("out"), &json!("success"))
    );
    let last_query = all.iter().rev().find(|event| event["event"] == "in").unwrap();
    assert_eq!(
        (&last_query["tag"], &last_query["type"]),
        (&json!("iq"), &json!("get"))
    );
    let answer = all
        .iter()
        .find(|event| event["event"] == "out" && event["id"] == last_query["id"]);
    assert_eq!(answer.unwrap()["type"], "result");
    assert!(answer.unwrap()["bytes"].as_u64().unwrap() > 0);
    let connection = &all[0]["connection"];
    assert!(all.iter().all(|event| event["connection"] == *connection));

    let mut paged = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let page = ledger(&stage, &format!("&limit=3&after={cursor}")).await;
        paged.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);
    assert!(stage.stat("ledger_frames").await > 0);
}

#[tokio::test]
async fn the_ledger_is_bounded_and_tells_what_it_forgot() {
    let stage = Stage::with(SandboxConfig {
        ledger_frames_max: 4,
        ledger_logins_max: 2,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    drop(ada.open(&stage).await);
    for _ in 0..3 {
        drop(ada.connect(&stage).await.expect_tag("success").await);
    }
    assert_eq!(logins(&stage).await.len(), 2);
    let page = ledger(&stage, "").await;
    let is_frame = |event: &&Value| event["tag"] != Value::Null;
    assert_eq!(
        page["data"].as_array().unwrap().iter().filter(is_frame).count(),
        4
    );
    assert!(page["forgotten"].as_u64().unwrap() > 10);
}

#[tokio::test]
async fn without_frames_logins_are_still_written_down() {
    let stage = Stage::with(SandboxConfig {
        ledger_frames_max: 0,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let _wire = ada.open(&stage).await;
    let page = ledger(&stage, "").await;
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["frames"]),
        (1, &json!(false))
    );
}

#[tokio::test]
async fn devices_say_what_they_are_and_how_they_are_doing() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let (_, ledger) = stage.get(&format!("/accounts/{ADA}/ledger?device=1")).await;
    assert_eq!(ledger["data"], json!([]), "it has not logged in yet");
    let _wire = ada.open(&stage).await;
    let (_, devices) = stage.get(&format!("/accounts/{ADA}/devices")).await;
    let device = &devices["data"][0];
    assert_eq!(
        [
            &device["id"],
            &device["platform"],
            &device["os"],
            &device["connected"],
            &device["prekeys"]
        ],
        [
            &json!(1),
            &json!("chrome"),
            &json!("Test OS"),
            &json!(true),
            &json!(19)
        ]
    );
    assert!(device["linked_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(device["connection"], logins(&stage).await[0]["connection"]);
    let (status, problem) = stage.get(&format!("/accounts/{ADA}/ledger?device=2")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("device_not_found")));
    let (status, _) = stage.get(&format!("/accounts/{ADA}/ledger")).await;
    assert_eq!(status, 400);
}
