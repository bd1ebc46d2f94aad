use serde_json::json;

use crate::event::Stream;
use crate::receiver::Receiver;
use crate::world::{ALICE, BOB, Client, World, eventually};

/// The path of the only tenant.
async fn tenant(operator: &Client) -> String {
    let listed = operator.get("/v1/operator/tenants").await.expect(200);
    format!(
        "/v1/operator/tenants/{}",
        listed["data"][0]["id"].as_str().unwrap()
    )
}

async fn is_live(operator: &Client, kind: &str) -> bool {
    let path = format!("/v1/operator/actors?kind={kind}");
    let actors = operator.get(&path).await.expect(200);
    !actors["data"].as_array().unwrap().is_empty()
}

async fn rests(operator: &Client) {
    eventually("the tenant's actors rest", || async {
        let live = is_live(operator, "instance").await || is_live(operator, "webhook").await;
        (!live).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_rests_and_comes_back_with_nothing_lost() {
    let (world, api, id) = World::start_paired().await;
    let operator = world.operator().await;
    let path = tenant(&operator).await;
    let receiver = Receiver::start().await;
    api.make_webhook(receiver.url(), json!({"events": ["message.received"]}))
        .await;
    let mut stream = Stream::open(&api, "", None).await;

    let suspended = operator
        .patch(&path, json!({"suspended": true}))
        .await
        .expect(200);
    assert_eq!(suspended["state"], "suspended");
    stream.ended().await;
    for path in ["/v1/instances", "/v1/events", "/v1/api-keys"] {
        api.get(path).await.expect_problem(403, "tenant_suspended");
    }
    rests(&operator).await;
    world.phone_sends(BOB, ALICE, "while nobody is there").await;

    operator
        .patch(&path, json!({"suspended": false}))
        .await
        .expect(200);
    let instance = api.state_becomes(&id, "connected").await;
    assert_eq!(instance["desired_state"], "running");
    receiver
        .first("the message of the meantime", |received| {
            received.json()["data"]["message"]["text"]["body"] == "while nobody is there"
        })
        .await;
    let history = api.get(&format!("/v1/instances/{id}/history")).await.expect(200);
    let told = history["data"].as_array().unwrap().iter().any(|entry| {
        entry["state"] == "disconnected" && entry["reason"].as_str().unwrap_or_default().contains("suspended")
    });
    assert!(told, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_rests_after_a_restart_too() {
    let (mut world, _, id) = World::start_paired().await;
    let operator_key = world.operator().await.key().to_owned();
    let operator = world.client(Some(operator_key.clone()));
    let path = tenant(&operator).await;
    operator
        .patch(&path, json!({"suspended": true}))
        .await
        .expect(200);
    world.stop_app().await;
    world.start_app().await;
    let operator = world.client(Some(operator_key));
    assert!(!is_live(&operator, "instance").await);
    let api = world.api();
    api.get("/v1/instances")
        .await
        .expect_problem(403, "tenant_suspended");
    operator
        .patch(&path, json!({"suspended": false}))
        .await
        .expect(200);
    api.state_becomes(&id, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_many_changes_holds() {
    let (world, api, id) = World::start_paired().await;
    let operator = world.operator().await;
    let path = tenant(&operator).await;
    for suspended in [true, false, true, false, true] {
        let patch = json!({"suspended": suspended});
        operator.patch(&path, patch).await.expect(200);
    }
    rests(&operator).await;
    api.get("/v1/instances")
        .await
        .expect_problem(403, "tenant_suspended");
    operator
        .patch(&path, json!({"suspended": false}))
        .await
        .expect(200);
    api.state_becomes(&id, "connected").await;
}
