use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{BOB, Client, Reply, World};

async fn post(api: &Client, path: &str, key: &str, body: &Value) -> Reply {
    Client::send(
        api.request(Method::POST, path)
            .header("idempotency-key", key)
            .json(body),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_send_is_answered_alike_and_sent_once() {
    let (_world, api, id) = World::start_paired().await;
    let path = format!("/v1/instances/{id}/messages");
    let body = json!({"to": BOB, "type": "text", "text": {"body": "once"}});
    let first = post(&api, &path, "key-1", &body).await;
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let first = first.expect(202);
    api.status_becomes(first["id"].as_str().unwrap(), "delivered")
        .await;
    let again = post(&api, &path, "key-1", &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], "application/json");
    assert_eq!(again.expect(202), first);
    let other = json!({"to": BOB, "type": "text", "text": {"body": "twice"}});
    let problem = post(&api, &path, "key-1", &other)
        .await
        .expect_problem(422, "idempotency_key_reused");
    assert_eq!(problem["errors"][0]["pointer"], "/header/idempotency-key");
    // Without a key, and under another key, it is another message.
    assert_ne!(api.post(&path, body.clone()).await.expect(202)["id"], first["id"]);
    assert_ne!(
        post(&api, &path, "key-2", &body).await.expect(202)["id"],
        first["id"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_repetitions_are_one_message() {
    let (_world, api, id) = World::start_paired().await;
    let path = format!("/v1/instances/{id}/messages");
    let body = json!({"to": BOB, "type": "text", "text": {"body": "concurrent"}});
    let calls = (0..20).map(|_| post(&api, &path, "same", &body));
    let mut ids: Vec<String> = Vec::new();
    for reply in futures::future::join_all(calls).await {
        ids.push(reply.expect(202)["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let list = api.get(&path).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_is_one_instance() {
    let world = World::start().await;
    let api = world.api();
    let body = json!({"name": "only"});
    let calls = (0..10).map(|_| post(&api, "/v1/instances", "create", &body));
    let replies = futures::future::join_all(calls).await;
    let made: Vec<Value> = replies.into_iter().map(|reply| reply.expect(201)).collect();
    assert!(made.iter().all(|instance| instance == &made[0]));
    assert_eq!(
        api.get("/v1/instances").await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    post(&api, "/v1/instances", "create", &json!({"name": "other"}))
        .await
        .expect_problem(422, "idempotency_key_reused");
    // A key belongs to its tenant.
    let stranger = world.stranger().await;
    assert_ne!(
        post(&stranger, "/v1/instances", "create", &body)
            .await
            .expect(201)["id"],
        made[0]["id"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_holds_for_every_post_and_is_checked() {
    let (_world, api, id) = World::start_paired().await;
    let path = format!("/v1/instances/{id}/disconnect");
    let first = post(&api, &path, "stop", &json!({})).await.expect(200);
    api.state_becomes(&id, "disconnected").await;
    let again = post(&api, &path, "stop", &json!({})).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), first);
    post(&api, &format!("/v1/instances/{id}/connect"), "stop", &json!({}))
        .await
        .expect_problem(422, "idempotency_key_reused");

    for key in ["", "a b", &"k".repeat(256)] {
        let problem = post(&api, &path, key, &json!({}))
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], "/header/idempotency-key");
    }
    let twice = api
        .request(Method::POST, &path)
        .header("idempotency-key", "a")
        .header("idempotency-key", "b")
        .json(&json!({}));
    Client::send(twice).await.expect_problem(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_does_not_use_up_its_key() {
    let world = World::start().await;
    let api = world.api();
    post(&api, "/v1/instances", "retry", &json!({"name": ""}))
        .await
        .expect_problem(422, "validation_failed");
    post(&api, "/v1/instances", "retry", &json!({"name": "good"}))
        .await
        .expect(201);
}
