use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::world::{ALICE, BOB, Client, World, eventually};

async fn total(api: &Client) -> Value {
    api.get("/v1/usage").await.expect(200)["total"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sums_are_what_was_done() {
    let mut world = World::start_with(&[("usage.flush_every", "1h")]).await;
    let api = world.api();
    let other = world.stranger().await;
    let mut calls = 0_u64;
    for n in 0..40 {
        let path = if n % 4 == 0 {
            "/v1/messages/none"
        } else {
            "/v1/instances"
        };
        api.get(path).await;
        calls += 1;
    }
    for _ in 0..3 {
        other.get("/v1/instances").await.expect(200);
        let wrong = world.client(Some(
            "rst_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
        ));
        wrong
            .get("/v1/instances")
            .await
            .expect_problem(401, "unauthorized");
    }
    world.stop_app().await;
    world.start_app().await;
    let sum = total(&world.api()).await;
    assert_eq!(sum["api_calls"], calls, "{sum}");
    let other = world.client(Some(other.key().to_owned()));
    assert_eq!(total(&other).await["api_calls"], 3);
    let operator = world.operator().await;
    let whose = other.get("/v1/audit-events").await;
    assert_eq!(whose.status.as_u16(), 200);
    operator.get("/v1/usage").await.expect_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_deliveries_are_counted_by_the_day() {
    let (world, api, id) = World::start_paired_with(&[("usage.flush_every", "50ms")]).await;
    let receiver = Receiver::start().await;
    let before = total(&api).await;
    let webhook = json!({"events": ["custom.*"]});
    api.make_webhook(receiver.url(), webhook).await;
    for n in 0..3 {
        let sent = api.send_text(&id, BOB, &format!("out {n}")).await;
        api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
            .await;
    }
    for n in 0..2 {
        let sent = world.phone_sends(BOB, ALICE, &format!("in {n}")).await;
        api.received(&sent).await;
    }
    for n in 0..4 {
        api.publish("custom.note", json!(n)).await;
    }
    let more = |now: &Value, name: &str| now[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    eventually("everything is counted", || async {
        let now = total(&api).await;
        let done = ["messages_out", "messages_in", "deliveries"].map(|name| more(&now, name));
        (done == [3, 2, 4] && more(&now, "api_calls") > 0).then_some(())
    })
    .await;
    let page = api.get("/v1/usage").await.expect(200);
    let today = page["to"].as_str().unwrap();
    assert_eq!(page["data"].as_array().unwrap().last().unwrap()["day"], today);
    assert_eq!(page["total"]["media_bytes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_asked_for_by_days() {
    let world = World::start().await;
    let api = world.api();
    let page = api
        .get("/v1/usage?from=2026-01-01&to=2026-01-31")
        .await
        .expect(200);
    assert_eq!(
        (&page["from"], &page["to"], &page["data"]),
        (&json!("2026-01-01"), &json!("2026-01-31"), &json!([]))
    );
    let page = api.get("/v1/usage?to=2026-03-01").await.expect(200);
    assert_eq!(page["from"], "2026-01-31");
    for query in [
        "from=2026-02-01&to=2026-01-01",
        "from=2020-01-01&to=2026-01-01",
        "from=yesterday",
        "from=2026-01-01T00:00:00Z",
        "day=2026-01-01",
    ] {
        api.get(&format!("/v1/usage?{query}"))
            .await
            .expect_problem(422, "validation_failed");
    }
}
