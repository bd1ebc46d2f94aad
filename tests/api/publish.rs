use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Client, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_event_is_in_its_log_when_it_is_answered() {
    let world = World::start().await;
    let api = world.api();
    let instance = api.make_instance("one").await;
    let body = json!({"type": "custom.order.paid", "data": {"b": [1.5, null], "a": "x\ny"},
        "instance_id": instance, "chat": "+4915550003"});
    let event = api.post("/v1/events", body.clone()).await.expect(201);
    for (field, value) in [
        ("type", body["type"].clone()),
        ("data", body["data"].clone()),
        ("instance_id", instance.into()),
        ("chat", json!("4915550003@s.whatsapp.net")),
        ("seq", json!(2)),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    let only = [event];
    assert_eq!(api.events(1, "").await, only);
    assert_eq!(api.events(0, "&types=custom.order.paid").await, only);
    assert_eq!(api.events(0, "&types=custom.*").await, only);
    assert_eq!(api.events(0, "&types=message.*,*").await.len(), 2);
    assert_eq!(api.events(0, "&types=instance.*,custom.other").await.len(), 1);
    assert!(api.events(0, "&types=custom.other,message.*").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_publish_is_one_event() {
    let world = World::start().await;
    let api = world.api();
    let post = |n: i64| {
        let request = api
            .request(Method::POST, "/v1/events")
            .header("idempotency-key", "same")
            .json(&json!({"type": "custom.n", "data": n}));
        Client::send(request)
    };
    let mut seqs: Vec<Value> = Vec::new();
    for reply in futures::future::join_all((0..10).map(|_| post(1))).await {
        seqs.push(reply.expect(201)["seq"].clone());
    }
    assert!(seqs.iter().all(|seq| *seq == 1), "{seqs:?}");
    post(2).await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(api.events(0, "").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_one_line_of_bounded_length_that_everybody_can_read() {
    let world = World::start_with(&[("webhooks.event_data_bytes_max", "100B")]).await;
    let api = world.api();
    let post = |text: &str| {
        let request = api
            .request(Method::POST, "/v1/events")
            .header("content-type", "application/json")
            .body(format!("{{\"type\":\"custom.n\",\"data\":{text}}}"));
        Client::send(request)
    };
    let spaces = " ".repeat(1000);
    let reply = post(&format!("{{\r\n\"a\":{spaces}1.0 }}")).await;
    assert!(reply.text.contains(r#""data":{"a":1.0}"#), "{}", reply.text);
    reply.expect(201);
    let longest = format!("\"{}\"", "x".repeat(98));
    post(&longest).await.expect(201);
    let longer = format!("\"{}\"", "x".repeat(99));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for wrong in [longer.as_str(), &deep, r#""\udfff""#] {
        let problem = post(wrong).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], "/data");
    }
    assert_eq!(api.events(0, "").await.len(), 2);
}
