use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::world::{Client, World};

const URL: &str = "http://127.0.0.1:19009/hook";

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_made_shown_changed_and_deleted() {
    let world = World::start().await;
    let api = world.api();
    let instance = api.make_instance("one").await;
    let body = json!({
        "url": URL, "events": ["message.*", "instance.created"], "instances": [instance],
        "chats": ["+4915550003"], "mode": "unordered", "headers": {"Authorization": "Bearer hunter2"},
        "max_concurrency": 4, "rate_per_second": 100, "api_version": "2026-11-01",
        "legacy_signature": true, "description": "orders",
    });
    let reply = api.post("/v1/webhooks", body).await;
    let location = reply.headers["location"].to_str().unwrap().to_owned();
    let made = reply.expect(201);
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{made}");
    assert_eq!(location, format!("/v1/webhooks/{}", made["id"].as_str().unwrap()));

    let mut shown = api.get(&location).await.expect(200);
    assert_eq!(shown["secret"], Value::Null);
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(shown["headers"], json!({"authorization": "***"}));
    assert_eq!(shown["chats"], json!(["4915550003@s.whatsapp.net"]));
    assert_eq!(shown["state"], "enabled");
    shown["secret"] = secret.into();
    assert_eq!(shown, made);

    let patch = json!({"events": ["*"], "instances": null, "chats": null, "description": null, "mode": "ordered",
        "rate_per_second": null, "headers": {"x-one": "1"}, "url": "http://127.0.0.1:19009/other"});
    let patched = api.patch(&location, patch).await.expect(200);
    for (field, value) in [
        ("events", json!(["*"])),
        ("instances", json!([])),
        ("chats", json!([])),
        ("description", Value::Null),
        ("mode", json!("ordered")),
        ("rate_per_second", Value::Null),
        ("headers", json!({"x-one": "***"})),
        ("url", json!("http://127.0.0.1:19009/other")),
        ("max_concurrency", json!(4)),
        ("legacy_signature", json!(true)),
    ] {
        assert_eq!(patched[field], value, "{field}");
    }
    assert_eq!(api.get(&location).await.expect(200), patched);

    api.delete(&location).await.expect(204);
    api.get(&location).await.expect_problem(404, "not_found");
    assert_eq!(api.get("/v1/webhooks").await.expect(200)["data"], json!([]));
    let events = api.events(0, "&types=webhook.created,webhook.deleted").await;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["webhook.created", "webhook.deleted"]);
    assert_eq!(events[0]["data"]["webhook"]["id"], made["id"]);
    assert!(!json!(events).to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_said_has_a_default() {
    let world = World::start().await;
    let made = world.api().make_webhook(URL, json!({})).await;
    for (field, value) in [
        ("mode", json!("ordered")),
        ("max_concurrency", json!(16)),
        ("rate_per_second", Value::Null),
        ("api_version", json!("2026-11-01")),
        ("legacy_signature", json!(false)),
        ("description", Value::Null),
        ("instances", json!([])),
        ("chats", json!([])),
        ("headers", json!({})),
        ("state", json!("enabled")),
        ("state_reason", Value::Null),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_listed_in_pages() {
    let world = World::start().await;
    let api = world.api();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(api.make_webhook(URL, json!({})).await["id"].clone());
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api
            .get(&format!("/v1/webhooks?limit=2{cursor}"))
            .await
            .expect(200);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2 && data.iter().all(|webhook| webhook.get("secret").is_none()));
        listed.extend(data.iter().map(|webhook| webhook["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_no_more_webhooks_than_it_may_have() {
    let world = World::start_with(&[("webhooks.per_tenant_max", "2")]).await;
    let api = world.api();
    let first = api.make_webhook(URL, json!({})).await;
    api.make_webhook(URL, json!({})).await;
    let body = json!({"url": URL, "events": ["*"]});
    api.post("/v1/webhooks", body.clone())
        .await
        .expect_problem(403, "limit_reached");
    world
        .stranger()
        .await
        .post("/v1/webhooks", body.clone())
        .await
        .expect(201);
    api.delete(&format!("/v1/webhooks/{}", first["id"].as_str().unwrap()))
        .await
        .expect(204);
    api.post("/v1/webhooks", body).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_is_one_webhook_and_shows_its_secret_once() {
    let world = World::start().await;
    let api = world.api();
    let post = || {
        api.request(Method::POST, "/v1/webhooks")
            .header("idempotency-key", "once")
            .json(&json!({"url": URL, "events": ["*"]}))
    };
    let mut first = Client::send(post()).await.expect(201);
    assert!(first["secret"].is_string());
    let again = Client::send(post()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let again = again.expect(201);
    first["secret"] = Value::Null;
    assert_eq!(again, first);
    assert_eq!(
        api.get("/v1/webhooks").await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_on_request_and_replaced_with_an_overlap() {
    let world = World::start().await;
    let api = world.api();
    let receiver = Receiver::start().await;
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let made = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"], "secret": own}))
        .await;
    assert_eq!(made["secret"], own);
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let shown = api.get(&format!("{path}/secret")).await;
    assert_eq!(shown.headers["cache-control"], "no-store");
    assert_eq!(shown.expect(200), json!({"secret": own, "previous": []}));

    let rotate = || {
        api.request(Method::POST, &format!("{path}/rotate-secret"))
            .header("idempotency-key", "rotate")
            .json(&json!({"overlap_seconds": 3600}))
    };
    let rotated = Client::send(rotate()).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, own);
    assert_eq!(rotated["previous"][0]["secret"], own);
    assert!(rotated["previous"][0]["expires_at"].is_string());
    assert_eq!(api.get(&format!("{path}/secret")).await.expect(200), rotated);
    // The repetition changes nothing and shows nothing.
    let again = Client::send(rotate()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), json!({"secret": null, "previous": []}));
    assert_eq!(api.get(&format!("{path}/secret")).await.expect(200), rotated);

    api.publish("custom.both", json!({})).await;
    let both = receiver.until(1).await.remove(0);
    assert!(both.is_signed_with(new) && both.is_signed_with(own));
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);

    api.post(
        &format!("{path}/rotate-secret"),
        json!({"secret": own, "overlap_seconds": 0}),
    )
    .await
    .expect(200);
    api.publish("custom.one", json!({})).await;
    let one = receiver.until(2).await.remove(1);
    assert!(one.is_signed_with(own) && !one.is_signed_with(new));
    assert_eq!(
        api.get(&format!("{path}/secret")).await.expect(200)["secret"],
        own
    );
}

/// Method, path, body, status, code, pointer.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    u16,
    &'static str,
    Option<&'static str>,
);

const POST: &str = "POST";
const GET: &str = "GET";
const PATCH: &str = "PATCH";

#[rustfmt::skip]
const CASES: &[Case] = &[
    (POST, "/v1/webhooks", r#"{"events":["*"]}"#, 400, "invalid_body", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/"}"#, 400, "invalid_body", Some("/events")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"secrets":1}"#, 400, "invalid_body", Some("/secrets")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"max_concurrency":-1}"#, 400, "invalid_body", Some("/max_concurrency")),
    (POST, "/v1/webhooks", r#"{"url":"","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"nonsense","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"ftp://example.org/","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://user:pw@127.0.0.1:19009/","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://10.0.0.1/","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://169.254.169.254/latest","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://[::ffff:10.0.0.1]/","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://0x0a000001/","events":["*"]}"#, 422, "validation_failed", Some("/url")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":[]}"#, 422, "validation_failed", Some("/events")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["message"]}"#, 422, "validation_failed", Some("/events/0")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*","msg.*"]}"#, 422, "validation_failed", Some("/events/1")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"instances":["x"]}"#, 422, "validation_failed", Some("/instances/0")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"instances":["ins_00000000000000000000000000"]}"#, 422, "validation_failed", Some("/instances/0")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"chats":["me"]}"#, 422, "validation_failed", Some("/chats/0")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"mode":"random"}"#, 422, "validation_failed", Some("/mode")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"headers":{"Host":"x"}}"#, 422, "validation_failed", Some("/headers/Host")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"headers":{"a b":"x"}}"#, 422, "validation_failed", Some("/headers/a b")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"headers":{"x-a":"b\r\nc: d"}}"#, 422, "validation_failed", Some("/headers/x-a")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"headers":{"x-a":1}}"#, 400, "invalid_body", Some("/headers/x-a")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"max_concurrency":0}"#, 422, "validation_failed", Some("/max_concurrency")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"max_concurrency":257}"#, 422, "validation_failed", Some("/max_concurrency")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"rate_per_second":0}"#, 422, "validation_failed", Some("/rate_per_second")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"api_version":"2020-01-01"}"#, 422, "validation_failed", Some("/api_version")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"secret":"whsec_c2hvcnQ="}"#, 422, "validation_failed", Some("/secret")),
    (POST, "/v1/webhooks", r#"{"url":"http://127.0.0.1:19009/","events":["*"],"description":"a\u0000b"}"#, 422, "validation_failed", Some("/description")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"url":null}"#, 422, "validation_failed", Some("/url")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"url":"http://10.0.0.1/"}"#, 422, "validation_failed", Some("/url")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"events":[]}"#, 422, "validation_failed", Some("/events")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"mode":null}"#, 422, "validation_failed", Some("/mode")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"headers":{"x-a":"***"}}"#, 422, "validation_failed", Some("/headers/x-a")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"state":"paused"}"#, 400, "invalid_body", Some("/state")),
    (PATCH, "/v1/webhooks/{whk}", r#"{"secret":"x"}"#, 400, "invalid_body", Some("/secret")),
    (POST, "/v1/webhooks/{whk}/pause", r#"{"reason":"a\nb"}"#, 422, "validation_failed", Some("/reason")),
    (POST, "/v1/webhooks/{whk}/resume", r#"{"reason":"x"}"#, 400, "invalid_body", Some("/reason")),
    (POST, "/v1/webhooks/{whk}/rotate-secret", r#"{"secret":"x"}"#, 422, "validation_failed", Some("/secret")),
    (POST, "/v1/webhooks/{whk}/rotate-secret", r#"{"overlap_seconds":99999999}"#, 422, "validation_failed", Some("/overlap_seconds")),
    (POST, "/v1/webhooks/{whk}/replay", "{}", 422, "validation_failed", Some("")),
    (POST, "/v1/webhooks/{whk}/replay", r#"{"from":"yesterday"}"#, 422, "validation_failed", Some("/from")),
    (POST, "/v1/webhooks/{whk}/replay", r#"{"event_ids":["x"]}"#, 422, "validation_failed", Some("/event_ids/0")),
    (POST, "/v1/webhooks/{whk}/dead-letters/redrive", "{}", 422, "validation_failed", Some("/delivery_ids")),
    (POST, "/v1/webhooks/{whk}/dead-letters/redrive", r#"{"delivery_ids":["dlv_00000000000000000000000000_1"]}"#, 422, "validation_failed", Some("/delivery_ids/0")),
    (POST, "/v1/webhooks/{whk}/test", r#"{"event":"x"}"#, 400, "invalid_body", Some("/event")),
    (GET, "/v1/webhooks/{whk}/deliveries?status=lost", "", 422, "validation_failed", Some("/query/status")),
    (GET, "/v1/webhooks/{whk}/deliveries?event_type=x", "", 422, "validation_failed", Some("/query/event_type")),
    (GET, "/v1/webhooks/{whk}/deliveries?since=x", "", 422, "validation_failed", Some("/query/since")),
    (GET, "/v1/webhooks/{whk}/deliveries?cursor=AAAA", "", 400, "invalid_cursor", Some("/query/cursor")),
    (GET, "/v1/webhooks/{whk}/dead-letters?status=dead", "", 422, "validation_failed", Some("/query/status")),
    (GET, "/v1/webhooks/{whk}/stats?x=1", "", 422, "validation_failed", Some("/query/x")),
    (GET, "/v1/webhooks/nonsense", "", 404, "not_found", None),
    (GET, "/v1/webhooks/whk_00000000000000000000000000", "", 404, "not_found", None),
    (GET, "/v1/deliveries/dlv_00000000000000000000000000_1", "", 404, "not_found", None),
    (GET, "/v1/deliveries/nonsense", "", 404, "not_found", None),
    (POST, "/v1/deliveries/dlv_00000000000000000000000000_1/retry", "", 404, "not_found", None),
    (POST, "/v1/events", r#"{"type":"custom.a"}"#, 400, "invalid_body", Some("/data")),
    (POST, "/v1/events", r#"{"type":"message.received","data":{}}"#, 422, "validation_failed", Some("/type")),
    (POST, "/v1/events", r#"{"type":"custom.A","data":{}}"#, 422, "validation_failed", Some("/type")),
    (POST, "/v1/events", r#"{"type":"custom.a","data":{},"chat":"me"}"#, 422, "validation_failed", Some("/chat")),
    (POST, "/v1/events", r#"{"type":"custom.a","data":{},"instance_id":"ins_00000000000000000000000000"}"#, 422, "validation_failed", Some("/instance_id")),
    (POST, "/v1/events", r#"{"type":"custom.a","data":"\ud800"}"#, 422, "validation_failed", Some("/data")),
    (POST, "/v1/events?x=1", r#"{"type":"custom.a","data":{}}"#, 422, "validation_failed", Some("/query/x")),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_call_about_webhooks_gets_its_own_problem() {
    let world = World::start().await;
    let api = world.api();
    let webhook = api.make_webhook(URL, json!({"events": ["message.*"]})).await;
    let id = webhook["id"].as_str().unwrap();
    let before = api.events(0, "").await.len();
    for &(method, path, body, status, code, pointer) in CASES {
        let mut request = api.request(method.parse::<Method>().unwrap(), &path.replace("{whk}", id));
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        let reply = Client::send(request).await;
        let case = format!("{method} {path} {body}: {}", reply.text);
        assert_eq!(
            (reply.status.as_u16(), reply.json()["code"].as_str()),
            (status, Some(code)),
            "{case}"
        );
        let problem = reply.expect_problem(status, code);
        if let Some(pointer) = pointer {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{case}");
        }
    }
    assert_eq!(api.events(0, "").await.len(), before);
    let mut now = api.get(&format!("/v1/webhooks/{id}")).await.expect(200);
    now["secret"] = webhook["secret"].clone();
    assert_eq!(now, webhook);
}
