use std::num::NonZeroU32;

use reqwest::Method;
use roost_domain::limit::Limits;
use serde_json::{Value, json};

use crate::world::{ALICE, BOB, Client, Reply, World, eventually};

/// A text of the right form that is no key.
const WRONG: &str = "rst_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn header(reply: &Reply, name: &str) -> u64 {
    reply.headers[name].to_str().unwrap().parse().unwrap()
}

/// Checks a refusal by a limit, and returns its detail.
#[track_caller]
fn refused(reply: Reply, limit: &str) -> String {
    assert!(header(&reply, "retry-after") >= 1, "{reply:?}");
    assert_eq!(reply.headers["ratelimit-remaining"], "0", "{reply:?}");
    let problem = reply.expect_problem(429, "rate_limited");
    let detail = problem["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains(limit) && detail.contains("try again in"),
        "{detail}"
    );
    assert_eq!(problem["retryable"], true);
    detail
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fourth_of_three_calls_is_refused_and_says_when() {
    let options = &[
        ("plans.tiny.calls_per_hour", "3"),
        ("limits.default_plan", "tiny"),
    ];
    let world = World::start_with(options).await;
    let api = world.api();
    for left in [2, 1, 0] {
        let reply = api.get("/v1/instances").await;
        assert_eq!(reply.headers["ratelimit-limit"], "3");
        assert_eq!(header(&reply, "ratelimit-remaining"), left);
        assert_eq!(
            reply.headers["ratelimit-policy"],
            "3;w=3600;name=\"calls_per_hour\""
        );
        assert!(
            (1..=3600).contains(&header(&reply, "ratelimit-reset")),
            "{reply:?}"
        );
        reply.expect(200);
    }
    for path in ["/v1/instances", "/v1/messages/nonsense"] {
        let detail = refused(api.get(path).await, "calls_per_hour");
        assert!(detail.contains("3 calls of this tenant per hour"), "{detail}");
    }
    let other = world.stranger().await.get("/v1/instances").await;
    assert_eq!(header(&other, "ratelimit-remaining"), 2);
    other.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_refills() {
    let options = &[("limits.address_calls", "2"), ("limits.address_window", "200ms")];
    let world = World::start_with(options).await;
    let guess = world.client(Some(WRONG.into()));
    let statuses = async || {
        let calls = (0..20).map(|_| guess.get("/v1/instances"));
        let replies = futures::future::join_all(calls).await;
        replies
            .iter()
            .map(|reply| reply.status.as_u16())
            .collect::<Vec<_>>()
    };
    eventually("an address is refused", || async {
        statuses().await.contains(&429).then_some(())
    })
    .await;
    eventually("an address may try again", || async {
        statuses().await.contains(&401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_messages_that_are_to_be_sent_count_as_messages_and_what_comes_in_is_never_refused() {
    let options = &[
        ("plans.tiny.messages_per_hour", "2"),
        ("limits.default_plan", "tiny"),
    ];
    let (world, api, id) = World::start_paired_with(options).await;
    let path = format!("/v1/instances/{id}/messages");
    api.post(&path, json!({"to": BOB, "type": "text"}))
        .await
        .expect_problem(422, "validation_failed");
    for left in [1, 0] {
        let body = json!({"to": BOB, "type": "text", "text": {"body": "hi"}});
        let reply = api.post(&path, body).await;
        assert_eq!(header(&reply, "ratelimit-remaining"), left);
        reply.expect(202);
    }
    let body = json!({"to": BOB, "type": "text", "text": {"body": "one too many"}});
    refused(api.post(&path, body).await, "messages_per_hour");
    // Other calls go on, and so do messages that come in.
    let read = api.get(&path).await;
    assert!(!read.headers.contains_key("ratelimit-limit"), "{read:?}");
    assert_eq!(read.expect(200)["data"].as_array().unwrap().len(), 2);
    let sent = world.phone_sends(BOB, ALICE, "from outside").await;
    api.received(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_on_sessions_are_limited_by_themselves() {
    let options = &[
        ("plans.tiny.session_operations_per_minute", "2"),
        ("limits.default_plan", "tiny"),
    ];
    let world = World::start_with(options).await;
    let api = world.api();
    let id = api.make_instance("one").await;
    for _ in 0..2 {
        let reply = api
            .post(&format!("/v1/instances/{id}/disconnect"), json!({}))
            .await;
        assert_eq!(reply.headers["ratelimit-limit"], "2");
        reply.expect(200);
    }
    for (order, body) in [
        ("connect", json!({"method": "qr"})),
        ("disconnect", json!({})),
        ("logout", json!({})),
    ] {
        let reply = api.post(&format!("/v1/instances/{id}/{order}"), body).await;
        refused(reply, "session_operations_per_minute");
    }
    api.get(&format!("/v1/instances/{id}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_limits_come_before_its_plans() {
    let options = &[
        ("plans.gold.calls_per_hour", "100"),
        ("plans.gold.instances", "1"),
        ("plans.gold.webhooks", "1"),
    ];
    let world = World::start_with(options).await;
    let limits = Limits {
        calls_per_hour: NonZeroU32::new(7),
        ..Limits::default()
    };
    let api = world.client_of(Some("gold"), limits).await;
    let reply = api.get("/v1/instances").await;
    assert_eq!(reply.headers["ratelimit-limit"], "7");
    api.make_instance("first").await;
    let second = api.post("/v1/instances", json!({"name": "second"})).await;
    let problem = second.expect_problem(403, "limit_reached");
    assert!(
        problem["detail"].as_str().unwrap().contains("at most 1"),
        "{problem}"
    );
    api.make_webhook("http://127.0.0.1:19009/", json!({})).await;
    let body = json!({"url": "http://127.0.0.1:19009/", "events": ["*"]});
    api.post("/v1/webhooks", body)
        .await
        .expect_problem(403, "limit_reached");
    // A plan that is not in the configuration is no plan, and without a default there are no limits.
    let free = world.client_of(Some("gone"), Limits::default()).await;
    let reply = free.get("/v1/instances").await;
    assert!(!reply.headers.contains_key("ratelimit-limit"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_instance_that_a_tenant_may_have_is_made_once_and_answered_twice() {
    let world = World::start_with(&[("plans.one.instances", "1")]).await;
    let api = world.client_of(Some("one"), Limits::default()).await;
    let make = || {
        api.request(Method::POST, "/v1/instances")
            .header("idempotency-key", "first")
            .json(&json!({"name": "only"}))
    };
    let first = Client::send(make()).await.expect(201);
    let again = Client::send(make()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201)["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_keeps_as_much_as_it_may_makes_nothing_more() {
    let options = &[("limits.storage_age_max", "1ms")];
    let world = World::start_with(options).await;
    let limits = Limits {
        storage_bytes: Some(2_000),
        ..Limits::default()
    };
    let api = world.client_of(None, limits).await;
    let text = "x".repeat(1_500);
    let publish = async || {
        let body = json!({"type": "custom.note", "data": text});
        api.post("/v1/events", body).await
    };
    let refused = eventually("the storage is full", || async {
        let reply = publish().await;
        (reply.status.as_u16() != 201).then_some(reply)
    })
    .await;
    let problem = refused.expect_problem(403, "limit_reached");
    assert!(
        problem["detail"].as_str().unwrap().contains("storage"),
        "{problem}"
    );
    api.post("/v1/instances", json!({"name": "x"}))
        .await
        .expect_problem(403, "limit_reached");
    api.get("/v1/instances").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_keys_is_refused_without_the_database_and_hurts_no_right_key() {
    let options = &[
        ("limits.address_calls", "5"),
        ("limits.address_window", "24h"),
        ("http.trusted_proxies", "127.0.0.0/8"),
    ];
    let world = World::start_with(options).await;
    let (api, operator) = (world.api(), world.operator().await);
    api.get("/v1/instances").await.expect(200);
    operator.get("/v1/operator/actors").await.expect(200);
    let wrong = |n: usize| {
        let text = format!(
            "rst_{:a>12}_{}",
            ["b", "c", "d", "e", "f", "g"][n % 6],
            "a".repeat(40)
        );
        world.client(Some(text))
    };
    for n in 0..5 {
        let reply = wrong(n).get("/v1/instances").await;
        assert_eq!(header(&reply, "ratelimit-remaining"), 4 - n as u64);
        reply.expect_problem(401, "unauthorized");
    }
    for n in 0..20 {
        let detail = refused(wrong(n).get("/v1/instances").await, "address");
        assert!(detail.contains("5 calls from this address"), "{detail}");
    }
    // Without a key, too, and with one of no form.
    refused(world.client(None).get("/v1/instances").await, "address");
    refused(
        world.client(Some("nonsense".into())).get("/v1/instances").await,
        "address",
    );
    // A key that the node knows is not asked for its address; one that it does not know has none left.
    for _ in 0..20 {
        api.get("/v1/instances").await.expect(200);
    }
    let elsewhere = async |client: &Client| {
        let request = client.request(Method::GET, "/v1/instances");
        Client::send(request.header("x-forwarded-for", "203.0.113.7")).await
    };
    elsewhere(&wrong(0)).await.expect_problem(401, "unauthorized");

    // Who is refused is refused without the database, and who needs none goes on.
    world.app().store().close().await;
    for n in 0..20 {
        refused(wrong(n).get("/v1/instances").await, "address");
    }
    operator.get("/v1/operator/actors").await.expect(200);
    elsewhere(&world.client(Some(WRONG.into())))
        .await
        .expect_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_counts_for_its_address_where_the_operator_wants_it() {
    let options = &[
        ("limits.address_calls", "4"),
        ("limits.address_window", "24h"),
        ("limits.address_counts", "all"),
    ];
    let world = World::start_with(options).await;
    let api = world.api();
    for left in [3, 2, 1, 0] {
        let reply = api.get("/v1/instances").await;
        assert_eq!(header(&reply, "ratelimit-remaining"), left);
        reply.expect(200);
    }
    refused(api.get("/v1/instances").await, "address");
    let health = world.client(None).get("/healthz").await;
    assert_eq!(health.status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_have_a_limit_of_its_own() {
    let world = World::start().await;
    let body = json!({"name": "slow", "scopes": ["instances:read"], "calls_per_minute": 2});
    let key: Value = world.api().post("/v1/api-keys", body).await.expect(201);
    let slow = world.client(Some(key["key"].as_str().unwrap().to_owned()));
    for left in [1, 0] {
        let reply = slow.get("/v1/instances").await;
        assert_eq!(reply.headers["ratelimit-policy"], "2;w=60;name=\"key\"");
        assert_eq!(header(&reply, "ratelimit-remaining"), left);
        reply.expect(200);
    }
    refused(slow.get("/v1/instances").await, "key");
    world.api().get("/v1/instances").await.expect(200);
}

/// CPU time of this process so far, in microseconds.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of a hundredth of a second.
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000
}

/// A measurement, not a test: `cargo test --release … -- --ignored what_a_call_costs --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
#[allow(clippy::print_stderr, reason = "this is what it is for")]
async fn what_a_call_costs() {
    const CALLS: u64 = 20_000;
    let options = &[
        ("plans.large.calls_per_hour", "4000000000"),
        ("limits.default_plan", "large"),
    ];
    let world = World::start_with(options).await;
    let api = world.api();
    let cost = async |client: &Client, path: &str| {
        let before = cpu_us();
        for _ in 0..CALLS / 50 {
            futures::future::join_all((0..50).map(|_| client.get(path))).await;
        }
        (cpu_us() - before) as f64 / CALLS as f64
    };
    cost(&api, "/v1/messages/none").await;
    // Both answers are a 404 without a row read; only the second asks who calls.
    let outside = cost(&api, "/nothing").await;
    let inside = cost(&api, "/v1/messages/none").await;
    eprintln!(
        "without /v1: {outside:.1} µs, within: {inside:.1} µs, so authentication, limits, usage and audit: {:.1} µs",
        inside - outside
    );
}
