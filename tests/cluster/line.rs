//! Numbers that the cluster runs: made and paired through whichever node takes the calls.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::front::Front;
use crate::ground::{Ground, Line};

/// Pairings at the same time.
const AT_ONCE: usize = 6;

/// Makes and pairs so many.
pub async fn pair(ground: &Arc<Ground>, front: &Front, count: u32) -> Vec<Line> {
    let (mut tasks, gate) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for number in 0..count {
        let (ground, front, gate) = (Arc::clone(ground), front.clone(), Arc::clone(&gate));
        tasks.spawn(async move {
            let _turn = gate.acquire().await.unwrap();
            one(&ground, &front, number).await
        });
    }
    let mut lines = tasks.join_all().await;
    lines.sort_by(|one, other| one.phone.cmp(&other.phone));
    lines
}

async fn one(ground: &Ground, front: &Front, number: u32) -> Line {
    let (phone, peer) = (format!("49151100{number:04}"), format!("49151200{number:04}"));
    for (digits, name) in [(&phone, "Shop"), (&peer, "Customer")] {
        let account = json!({"phone_number": digits, "name": name});
        ground.control(Method::POST, "/accounts", Some(account)).await;
    }
    let named = json!({"name": format!("line {number}")});
    let created = front.must(Method::POST, "/v1/instances", Some(named)).await;
    let instance = created["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/instances/{instance}");
    let by_qr = Some(json!({"method": "qr"}));
    front.must(Method::POST, &format!("{path}/connect"), by_qr).await;
    let code = front
        .until(&format!("{path}/qr"), |body| {
            body["code"]
                .as_str()
                .filter(|code| code.contains('@'))
                .map(str::to_owned)
        })
        .await;
    let scan = format!("/accounts/{phone}/scan");
    ground
        .control(Method::POST, &scan, Some(json!({"code": code})))
        .await;
    front
        .until(&path, |body| (body["state"] == "connected").then_some(()))
        .await;
    Line {
        instance,
        phone,
        peer,
    }
}
