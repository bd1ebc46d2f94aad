use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::world::{ALICE, BOB, Client, World, eventually};

/// A schedule that is over within a test.
const SHORT: &[(&str, &str)] = &[
    ("webhooks.retry_schedule", "0s,20ms,20ms"),
    ("webhooks.probe_first", "50ms"),
    ("webhooks.probe_max", "100ms"),
];
/// A schedule whose second attempt no test sees.
const LONG: &[(&str, &str)] = &[("webhooks.retry_schedule", "0s,1h")];

fn id(webhook: &Value) -> &str {
    webhook["id"].as_str().unwrap()
}

fn path(webhook: &Value, rest: &str) -> String {
    format!("/v1/webhooks/{}{rest}", id(webhook))
}

/// The delivery of an event, once it has a status.
async fn delivery_becomes(api: &Client, webhook: &Value, event: &Value, status: &str) -> Value {
    eventually(&format!("delivery becomes {status}"), || async {
        let page = api.get(&path(webhook, "/deliveries?limit=500")).await.expect(200);
        let all = page["data"].as_array().unwrap().clone();
        all.into_iter()
            .find(|delivery| delivery["event_id"] == event["id"] && delivery["status"] == status)
    })
    .await
}

async fn stats_when(api: &Client, webhook: &Value, what: &str, test: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let stats = api.get(&path(webhook, "/stats")).await.expect(200);
        test(&stats).then_some(stats)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_posted_signed_and_recorded() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let more = json!({"headers": {"Authorization": "Bearer t", "X-Mine": "1"}, "legacy_signature": true,
        "events": ["custom.*"]});
    let webhook = api
        .make_webhook(&format!("{}/hook?a=b", receiver.url()), more)
        .await;
    let secret = webhook["secret"].as_str().unwrap();
    let event = api
        .publish_in(
            "custom.order.paid",
            json!({"order": 7, "note": "a\nb"}),
            Some("+4915550003"),
        )
        .await;

    let post = receiver.until(1).await.remove(0);
    assert_eq!(post.path, "/hook");
    assert_eq!(post.header("webhook-id"), event["id"]);
    assert_eq!(post.header("content-type"), "application/json");
    assert!(post.header("user-agent").starts_with("roost/"));
    assert_eq!(post.header("authorization"), "Bearer t");
    assert_eq!(post.header("x-mine"), "1");
    assert!(post.is_signed_with(secret) && post.has_legacy_signature(secret));
    let mut payload = event.clone();
    payload["api_version"] = "2026-11-01".into();
    assert_eq!(post.json(), payload);

    let delivery = delivery_becomes(&api, &webhook, &event, "delivered").await;
    for (field, value) in [
        ("webhook_id", webhook["id"].clone()),
        ("event_type", json!("custom.order.paid")),
        ("seq", event["seq"].clone()),
        ("chat", event["chat"].clone()),
        ("instance_id", Value::Null),
        ("dead_reason", Value::Null),
        ("attempt_count", json!(1)),
        ("next_attempt_at", Value::Null),
    ] {
        assert_eq!(delivery[field], value, "{field}");
    }
    let one = api
        .get(&format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap()))
        .await
        .expect(200);
    assert_eq!(one["event"], event);
    let attempts = one["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (&attempts[0]["number"], &attempts[0]["status"]),
        (&json!(1), &json!(204))
    );
    let stats = stats_when(&api, &webhook, "nothing is behind", |stats| {
        stats["lag_events"] == 0
    })
    .await;
    assert_eq!((&stats["pending"], &stats["dead"]), (&json!(0), &json!(0)));
    assert_eq!(stats["breaker"], "closed");
    assert_eq!(stats["success_rate"], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_messages_arrive_with_what_the_log_says() {
    let (world, api, instance) = World::start_paired().await;
    let receiver = Receiver::start().await;
    api.make_webhook(receiver.url(), json!({"events": ["message.*"]}))
        .await;
    let sent = api.send_text(&instance, BOB, "out").await;
    api.status_becomes(id(&sent), "delivered").await;
    world.phone_sends(BOB, ALICE, "in").await;
    let inbound = receiver
        .first("message.received", |post| {
            post.json()["type"] == "message.received"
        })
        .await;
    assert_eq!(inbound.json()["data"]["message"]["text"]["body"], "in");
    let logged = api
        .events(0, "&types=message.sent,message.delivered,message.received")
        .await;
    let posts = receiver.until(logged.len()).await;
    for (post, mut event) in posts.iter().zip(logged) {
        event["api_version"] = "2026-11-01".into();
        assert_eq!(post.json(), event);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_what_its_filter_lets_pass_and_nothing_else() {
    let world = World::start().await;
    let api = world.api();
    let instance = api.make_instance("one").await;
    let other = api.make_instance("other").await;
    let receiver = Receiver::start().await;
    for (place, more) in [
        ("type", json!({"events": ["custom.a"]})),
        ("family", json!({"events": ["instance.*"]})),
        ("instance", json!({"events": ["*"], "instances": [instance]})),
        ("chat", json!({"events": ["custom.*"], "chats": ["+4915550003"]})),
    ] {
        api.make_webhook(&format!("{}/{place}", receiver.url()), more)
            .await;
    }
    let publish = |kind: &str, instance: Option<&str>, chat: Option<&str>| {
        let body = json!({"type": kind, "data": {}, "instance_id": instance, "chat": chat});
        let api = api.clone();
        async move {
            api.post("/v1/events", body).await.expect(201)["seq"]
                .as_i64()
                .unwrap()
        }
    };
    let mut wanted: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let seq = publish("custom.a", None, None).await;
    wanted.entry("/type").or_default().push(seq);
    publish("custom.b", Some(&other), Some("+4915550002")).await;
    let seq = publish("custom.b", Some(&instance), Some("+4915550003")).await;
    wanted.entry("/instance").or_default().push(seq);
    wanted.entry("/chat").or_default().push(seq);
    // Each of them gets these last ones, so that what was filtered out cannot be still on its way.
    let seq = publish("custom.a", Some(&instance), Some("+4915550003")).await;
    for place in ["/type", "/instance", "/chat"] {
        wanted.entry(place).or_default().push(seq);
    }
    api.delete(&format!("/v1/instances/{instance}")).await.expect(204);
    let deleted = api.event("instance.deleted", |_| true).await["seq"]
        .as_i64()
        .unwrap();
    for place in ["/family", "/instance"] {
        wanted.entry(place).or_default().push(deleted);
    }
    receiver.until(wanted.values().map(Vec::len).sum()).await;
    let mut got: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for post in receiver.received() {
        got.entry(post.path.clone()).or_default().push(post.seq());
    }
    for (place, mut seqs) in wanted {
        // Events of different chats come in any order.
        let mut found = got.remove(place).unwrap_or_default();
        seqs.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, seqs, "{place}");
    }
    assert!(got.is_empty(), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_waits_for_its_failed_event_and_other_chats_do_not() {
    let world = World::start_with(&[("webhooks.retry_schedule", "0s,20ms,20ms,20ms,20ms")]).await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let sick = api.clone();
    let mut refusals = 0;
    receiver.answer_with(move |post| {
        // The first event of the first chat needs three attempts.
        if post.json()["data"]["n"] == 0 && refusals < 2 {
            refusals += 1;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        StatusCode::OK
    });
    let webhook = sick
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    for n in 0..5 {
        api.publish_in("custom.n", json!({"n": n}), Some("+4915550003"))
            .await;
    }
    let other = api
        .publish_in("custom.other", json!({}), Some("+4915550002"))
        .await;
    delivery_becomes(&api, &webhook, &other, "delivered").await;
    receiver.until(8).await;
    let taken: Vec<i64> = receiver
        .of_type("custom.n")
        .iter()
        .filter(|post| post.status == 200)
        .map(|post| post.json()["data"]["n"].as_i64().unwrap())
        .collect();
    assert_eq!(taken, [0, 1, 2, 3, 4]);
    let refused: Vec<_> = receiver
        .received()
        .into_iter()
        .filter(|post| post.status == 500)
        .collect();
    assert_eq!(refused.len(), 2);
    // The id is the same on every attempt.
    let ids: Vec<_> = refused
        .iter()
        .map(|post| post.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_order_a_failed_event_holds_up_nothing() {
    let world = World::start_with(LONG).await;
    let api = world.api();
    let receiver = Receiver::start().await;
    receiver.answer_with(|post| match post.json()["data"]["n"].as_i64() {
        Some(0) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::OK,
    });
    let more = json!({"events": ["custom.*"], "mode": "unordered"});
    let webhook = api.make_webhook(receiver.url(), more).await;
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(
            api.publish_in("custom.n", json!({"n": n}), Some("+4915550003"))
                .await,
        );
    }
    for event in &events[1..] {
        delivery_becomes(&api, &webhook, event, "delivered").await;
    }
    let waiting = delivery_becomes(&api, &webhook, &events[0], "pending").await;
    assert_eq!(waiting["attempt_count"], 1);
    assert!(waiting["next_attempt_at"].is_string());
    let page = api
        .get(&path(&webhook, "/deliveries?status=pending"))
        .await
        .expect(200);
    assert_eq!(page["data"], json!([waiting]));

    // Its turn comes at once when somebody asks for it.
    receiver.answer(StatusCode::OK);
    let retry = format!("/v1/deliveries/{}/retry", id(&waiting));
    api.post(&retry, json!({})).await.expect(202);
    let done = delivery_becomes(&api, &webhook, &events[0], "delivered").await;
    assert_eq!(done["attempt_count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_to_the_end_is_a_dead_letter_and_can_be_driven_again() {
    let world = World::start_with(SHORT).await;
    let api = world.api();
    let receiver = Receiver::start().await;
    receiver.answer(StatusCode::INTERNAL_SERVER_ERROR);
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let mut events = Vec::new();
    for chat in ["+4915550002", "+4915550003"] {
        events.push(api.publish_in("custom.n", json!({}), Some(chat)).await);
    }
    let mut dead = Vec::new();
    for event in &events {
        dead.push(delivery_becomes(&api, &webhook, event, "dead").await);
    }
    assert!(
        dead.iter()
            .all(|delivery| delivery["dead_reason"] == "attempts_exhausted")
    );
    let page = api
        .get(&path(&webhook, "/dead-letters?limit=1"))
        .await
        .expect(200);
    assert_eq!(page["data"][0]["event_id"], events[1]["id"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = api
        .get(&path(&webhook, &format!("/dead-letters?cursor={cursor}")))
        .await
        .expect(200);
    assert_eq!(page["data"][0]["event_id"], events[0]["id"]);
    assert_eq!(api.get(&path(&webhook, "/stats")).await.expect(200)["dead"], 2);
    let one = api
        .get(&format!("/v1/deliveries/{}", id(&dead[0])))
        .await
        .expect(200);
    let attempt = one["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&attempt["status"], &attempt["answer"]),
        (&json!(500), &json!("no, thank you"))
    );

    receiver.answer(StatusCode::OK);
    let redrive = path(&webhook, "/dead-letters/redrive");
    api.post(&redrive, json!({"delivery_ids": [dead[0]["id"]]}))
        .await
        .expect(202);
    delivery_becomes(&api, &webhook, &events[0], "delivered").await;
    delivery_becomes(&api, &webhook, &events[1], "dead").await;
    api.post(&redrive, json!({"all": true})).await.expect(202);
    delivery_becomes(&api, &webhook, &events[1], "delivered").await;
    let none = api.get(&path(&webhook, "/dead-letters")).await.expect(200);
    assert_eq!(none["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_again_on_request() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let mut events = Vec::new();
    for n in 0..4 {
        events.push(api.publish("custom.n", json!({"n": n})).await);
    }
    delivery_becomes(&api, &webhook, &events[3], "delivered").await;
    let count = |event: &Value| {
        let wanted = event["id"].clone();
        let posts = receiver.received();
        posts
            .iter()
            .filter(|post| post.header("webhook-id") == wanted)
            .count()
    };
    let replay = path(&webhook, "/replay");
    api.post(&replay, json!({"event_ids": [events[1]["id"]]}))
        .await
        .expect(202);
    receiver.until(5).await;
    assert_eq!((count(&events[0]), count(&events[1])), (1, 2));

    // From an event's own time on it is that event and those after it.
    let from = events[2]["timestamp"].clone();
    api.post(&replay, json!({"from": from})).await.expect(202);
    eventually("the last two come again", || async {
        (count(&events[2]) == 2 && count(&events[3]) == 2).then_some(())
    })
    .await;
    let again = receiver.of_type("custom.n");
    assert!(
        again
            .iter()
            .all(|post| post.is_signed_with(webhook["secret"].as_str().unwrap()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_failed_since_a_time_is_delivered_again() {
    let world = World::start_with(SHORT).await;
    let api = world.api();
    let receiver = Receiver::start().await;
    receiver.answer(StatusCode::NOT_FOUND);
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let event = api.publish("custom.n", json!({})).await;
    delivery_becomes(&api, &webhook, &event, "dead").await;
    receiver.answer(StatusCode::OK);
    let since = event["timestamp"].clone();
    api.post(&path(&webhook, "/replay"), json!({"failed_since": since}))
        .await
        .expect(202);
    delivery_becomes(&api, &webhook, &event, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_webhook_gets_everything_when_it_is_resumed() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let paused = api
        .post(&path(&webhook, "/pause"), json!({"reason": "maintenance"}))
        .await
        .expect(200);
    assert_eq!(
        (&paused["state"], &paused["state_reason"]),
        (&json!("paused"), &json!("maintenance"))
    );
    for n in 0..3 {
        api.publish("custom.n", json!({"n": n})).await;
    }
    let stats = api.get(&path(&webhook, "/stats")).await.expect(200);
    assert_eq!(stats["lag_events"], 3, "{stats}");
    assert!(receiver.received().is_empty());
    let resumed = api.post(&path(&webhook, "/resume"), json!({})).await.expect(200);
    assert_eq!(
        (&resumed["state"], &resumed["state_reason"]),
        (&json!("enabled"), &Value::Null)
    );
    let order: Vec<_> = receiver.until(3).await.iter().map(Received::seq).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_disables_its_webhook() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    receiver.answer(StatusCode::GONE);
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let event = api.publish("custom.n", json!({})).await;
    let disabled = api
        .event("webhook.disabled", |event| {
            event["data"]["webhook"]["id"] == webhook["id"]
        })
        .await;
    assert_eq!(disabled["data"]["webhook"]["state"], "disabled");
    assert!(disabled["data"]["webhook"]["state_reason"].is_string());
    let shown = api.get(&path(&webhook, "")).await.expect(200);
    assert_eq!(shown["state"], "disabled");
    let dead = delivery_becomes(&api, &webhook, &event, "dead").await;
    assert_eq!(dead["dead_reason"], "gone");
    // It can be enabled again.
    receiver.answer(StatusCode::OK);
    api.post(&path(&webhook, "/resume"), json!({})).await.expect(200);
    let next = api.publish("custom.n", json!({})).await;
    delivery_becomes(&api, &webhook, &next, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_full_says_for_how_long() {
    let world = World::start_with(LONG).await;
    let api = world.api();
    let receiver = Receiver::start().await;
    receiver.answer(StatusCode::SERVICE_UNAVAILABLE);
    receiver.answer_header("retry-after", "3000");
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    api.publish("custom.n", json!({})).await;
    let stats = stats_when(&api, &webhook, "it is paused", |stats| {
        stats["paused_until"].is_string()
    })
    .await;
    assert_eq!(stats["breaker"], "closed", "{stats}");
    // Other webhooks of the same host are asked on.
    let other = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    receiver.answer(StatusCode::OK);
    let event = api.publish("custom.m", json!({})).await;
    delivery_becomes(&api, &other, &event, "delivered").await;
    let posts = receiver.of_type("custom.m");
    assert_eq!(posts.len(), 1, "{posts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_tells_at_once_what_came_of_it() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    // It is sent whatever the filter says.
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["message.*"]}))
        .await;
    let before = api.events(0, "").await.len();
    let result = api.post(&path(&webhook, "/test"), json!({})).await.expect(200);
    assert_eq!(result["attempt"]["status"], 204, "{result}");
    let post = receiver.until(1).await.remove(0);
    assert!(post.is_signed_with(webhook["secret"].as_str().unwrap()));
    assert_eq!(
        (&post.json()["type"], &post.json()["seq"]),
        (&json!("webhook.test"), &json!(0))
    );
    receiver.answer(StatusCode::IM_A_TEAPOT);
    let result = api.post(&path(&webhook, "/test"), json!({})).await.expect(200);
    assert_eq!(
        (&result["attempt"]["status"], &result["attempt"]["answer"]),
        (&json!(418), &json!("no, thank you"))
    );
    // It leaves no trace.
    assert_eq!(api.events(0, "").await.len(), before);
    assert_eq!(
        api.get(&path(&webhook, "/deliveries")).await.expect(200)["data"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_answer_shows_why() {
    let world = World::start_with(LONG).await;
    let api = world.api();
    let refusing = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let webhook = api.make_webhook(&refusing, json!({"events": ["custom.*"]})).await;
    let event = api.publish("custom.n", json!({})).await;
    let delivery = delivery_becomes(&api, &webhook, &event, "pending").await;
    let one = api
        .get(&format!("/v1/deliveries/{}", id(&delivery)))
        .await
        .expect(200);
    assert_eq!(one["attempts"][0]["error"]["code"], "connect", "{one}");
    assert_eq!(one["attempts"][0]["status"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_is_delivered_after_a_restart() {
    let mut world = World::start_with(SHORT).await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    api.post(&path(&webhook, "/pause"), json!({})).await.expect(200);
    let event = api.publish("custom.n", json!({})).await;
    world.stop_app().await;
    world.start_app().await;
    let api = world.api();
    api.post(&path(&webhook, "/resume"), json!({})).await.expect(200);
    delivery_becomes(&api, &webhook, &event, "delivered").await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_attempts_without_naming_a_webhook() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let event = api.publish("custom.n", json!({})).await;
    delivery_becomes(&api, &webhook, &event, "delivered").await;
    let text = world.client(None).get("/metrics").await.text;
    for name in [
        "roost_webhook_attempts_total{result=\"delivered\"}",
        "roost_webhook_attempts_total{result=\"refused\"}",
        "roost_webhook_dead_total",
        "roost_webhook_deliveries_pending",
        "roost_webhook_in_flight",
        "roost_webhook_lag_seconds",
        "roost_events_total{type=\"custom\"}",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "no {name} in {text}"
        );
    }
    assert!(!text.contains("whk_") && !text.contains("custom.n"), "{text}");
}
