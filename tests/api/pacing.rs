//! The pace and the policy of an instance, as its owner and the phones see them.

use reqwest::Method;
use roost::system::SystemClock;
use roost_domain::time::Clock as _;
use serde_json::{Value, json};

use crate::world::{ALICE, BOB, Client, ECHO, World, eventually};

/// What the sandbox has read from the instance, oldest first.
async fn frames(world: &World) -> Vec<Value> {
    let path = format!("accounts/{ALICE}/ledger?device=1&limit=10000");
    let page = world.control(Method::GET, &path, None).await;
    let frames = page["data"].as_array().unwrap().iter();
    frames.filter(|frame| frame["event"] == "in").cloned().collect()
}

async fn send(api: &Client, id: &str, to: &str, text: &str) -> crate::world::Reply {
    let body = json!({"to": to, "type": "text", "text": {"body": text}});
    api.post(&format!("/v1/instances/{id}/messages"), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pace_and_a_policy_are_set_changed_and_removed() {
    let world = World::start().await;
    let api = world.api();
    let plain = api
        .post("/v1/instances", json!({"name": "plain"}))
        .await
        .expect(201);
    assert_eq!(
        (&plain["pacing"], &plain["policy"]),
        (&Value::Null, &json!({"reply_only": false}))
    );
    let body = json!({"name": "slow", "pacing": {"messages_per_minute": 20}, "policy": {"reply_only": true}});
    let slow = api.post("/v1/instances", body).await.expect(201);
    let whole = json!({"messages_per_minute": 20, "jitter_percent": 0, "typing": false});
    assert_eq!(
        (&slow["pacing"], &slow["policy"]),
        (&whole, &json!({"reply_only": true}))
    );
    let path = format!("/v1/instances/{}", slow["id"].as_str().unwrap());
    // What is not named stays.
    let typing = api
        .patch(&path, json!({"pacing": {"typing": true, "jitter_percent": 30}}))
        .await
        .expect(200);
    let whole = json!({"messages_per_minute": 20, "jitter_percent": 30, "typing": true});
    assert_eq!(
        (&typing["pacing"], &typing["policy"]),
        (&whole, &json!({"reply_only": true}))
    );
    let free = json!({"pacing": null, "policy": {"reply_only": false}});
    api.patch(&path, free).await.expect(200);
    let free = api.get(&path).await.expect(200);
    assert_eq!(
        (&free["pacing"], &free["policy"]),
        (&Value::Null, &json!({"reply_only": false}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pace_and_a_policy_beyond_their_limits_are_refused_with_pointers() {
    let world = World::start().await;
    let api = world.api();
    let id = api.make_instance("plain").await;
    let path = format!("/v1/instances/{id}");
    let everything = json!({"pacing": {"messages_per_minute": 6001, "jitter_percent": 101}});
    let problem = api
        .patch(&path, everything)
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
    for (change, pointer) in [
        (
            json!({"pacing": {"messages_per_minute": 0}}),
            "/pacing/messages_per_minute",
        ),
        (
            json!({"pacing": {"messages_per_minute": -1}}),
            "/pacing/messages_per_minute",
        ),
        (
            json!({"pacing": {"messages_per_minute": null}}),
            "/pacing/messages_per_minute",
        ),
        (json!({"pacing": {"typing": true}}), "/pacing/messages_per_minute"),
        (json!({"pacing": {}}), "/pacing/messages_per_minute"),
        (
            json!({"pacing": {"messages_per_minute": 1, "jitter_percent": -1}}),
            "/pacing/jitter_percent",
        ),
        (
            json!({"pacing": {"messages_per_minute": 1, "typing": null}}),
            "/pacing/typing",
        ),
        (json!({"policy": {"reply_only": null}}), "/policy/reply_only"),
    ] {
        let refused = api.patch(&path, change.clone()).await;
        let problem = refused.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{change}");
        let mut create = change;
        create["name"] = json!("new");
        let refused = api.post("/v1/instances", create.clone()).await;
        let problem = refused.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{create}");
    }
    let refused = api.patch(&path, json!({"policy": null})).await;
    let problem = refused.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/policy");
    for (change, pointer) in [
        (
            json!({"pacing": {"messages_per_minute": "20"}}),
            "/pacing/messages_per_minute",
        ),
        (json!({"pacing": {"speed": 1}}), "/pacing/speed"),
        (json!({"policy": {"reply_only": 1}}), "/policy/reply_only"),
    ] {
        let refused = api.patch(&path, change).await;
        let problem = refused.expect_problem(400, "invalid_body");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    assert_eq!(api.get(&path).await.expect(200)["pacing"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn paced_messages_leave_in_order_with_the_pause_between_them() {
    const PAUSE_US: u64 = 1_000_000;
    let (world, api, id) = World::start_paired().await;
    let pace = json!({"pacing": {"messages_per_minute": 60}});
    api.patch(&format!("/v1/instances/{id}"), pace).await.expect(200);
    let before_us = SystemClock.now().unix_ms().unsigned_abs() * 1000;
    let mut sent = Vec::new();
    for (to, text) in [(BOB, "one"), (ECHO, "two"), (BOB, "three")] {
        sent.push(api.send_text(&id, to, text).await);
    }
    // Nothing is refused, and a caller that waits for the server is answered as before.
    let path = format!("/v1/instances/{id}/messages?wait=server_ack&timeout_ms=1");
    let body = json!({"to": BOB, "type": "text", "text": {"body": "four"}});
    let answer = api.post(&path, body).await.expect(202);
    assert_eq!(answer["status"], "accepted");
    sent.push(answer);
    for (phone, text) in [(BOB, "one"), (ECHO, "two"), (BOB, "three"), (BOB, "four")] {
        world.phone_has(phone, text).await;
    }
    let frames = frames(&world).await;
    let at: Vec<u64> = sent
        .iter()
        .map(|message| {
            let mut of = frames
                .iter()
                .filter(|frame| frame["tag"] == "message" && frame["id"] == message["whatsapp_id"]);
            of.next().unwrap()["at_us"].as_u64().unwrap()
        })
        .collect();
    assert!(at.is_sorted(), "{at:?}");
    // Each can only have come later than its turn, however slow the machine is.
    for (turn, at) in at.iter().enumerate() {
        let earliest = before_us + turn as u64 * PAUSE_US;
        assert!(*at >= earliest, "message {turn} came {} µs early", earliest - at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_who_waits_for_a_pace() {
    let (world, api, id) = World::start_paired().await;
    let path = format!("/v1/instances/{id}");
    let pace = |per_minute: u32| json!({"pacing": {"messages_per_minute": per_minute}});
    api.patch(&path, pace(1)).await.expect(200);
    let first = api.send_text(&id, BOB, "now").await;
    api.status_becomes(first["id"].as_str().unwrap(), "delivered")
        .await;
    let second = api.send_text(&id, BOB, "in a minute").await;
    let operator = world.operator().await;
    let seen = eventually("the pace is shown", || async {
        let actor = operator
            .get(&format!("/v1/operator/actors/instance/{id}"))
            .await
            .expect(200);
        (actor["pacing"]["waiting"] == 1).then_some(actor)
    })
    .await;
    assert!(seen["pacing"]["next_send_at"].is_string(), "{seen}");
    assert_eq!(
        api.get(&format!("/v1/messages/{}", second["id"].as_str().unwrap()))
            .await
            .expect(200)["status"],
        "accepted"
    );
    // A faster pace holds for what waits.
    api.patch(&path, pace(6000)).await.expect(200);
    world.phone_has(BOB, "in a minute").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_sees_typing_before_the_text() {
    let (world, api, id) = World::start_paired().await;
    let pace = json!({"pacing": {"messages_per_minute": 600, "jitter_percent": 20, "typing": true}});
    api.patch(&format!("/v1/instances/{id}"), pace).await.expect(200);
    let sent = api.send_text(&id, BOB, "typed by hand").await;
    eventually("Bob sees typing", || async {
        let states = world
            .control(Method::GET, &format!("accounts/{BOB}/chat-states"), None)
            .await;
        let states = states["data"].as_array().unwrap().clone();
        states
            .iter()
            .any(|heard| heard["from"] == ALICE && heard["state"] == "composing")
            .then_some(())
    })
    .await;
    world.phone_has(BOB, "typed by hand").await;
    let frames = frames(&world).await;
    let typing = frames.iter().position(|frame| frame["tag"] == "chatstate");
    let text = frames
        .iter()
        .position(|frame| frame["tag"] == "message" && frame["id"] == sent["whatsapp_id"]);
    assert!(typing.unwrap() < text.unwrap());
    // Echo was shown nothing: nobody wrote to it.
    let echo = world
        .control(Method::GET, &format!("accounts/{ECHO}/chat-states"), None)
        .await;
    assert_eq!(echo["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_only_instance_answers_and_never_begins() {
    let (mut world, api, id) = World::start_paired().await;
    let policy = json!({"policy": {"reply_only": true}});
    api.patch(&format!("/v1/instances/{id}"), policy)
        .await
        .expect(200);
    let bob = world.control(Method::GET, &format!("accounts/{BOB}"), None).await;
    let lid = format!("{}@lid", bob["lid"].as_str().unwrap());
    for stranger in [BOB, lid.as_str()] {
        let problem = send(&api, &id, stranger, "buy now")
            .await
            .expect_problem(403, "policy_violation");
        assert_eq!(problem["errors"][0]["pointer"], "/to");
        assert_eq!(problem["retryable"], false);
    }
    let listed = api.get(&format!("/v1/instances/{id}/messages")).await.expect(200);
    assert_eq!(listed["data"], json!([]), "nothing was accepted");

    let whatsapp_id = world.phone_sends(BOB, ALICE, "hello?").await;
    api.received(&whatsapp_id).await;
    for (name, text) in [(BOB, "by number"), (lid.as_str(), "by lid")] {
        let answer = send(&api, &id, name, text).await.expect(202);
        api.status_becomes(answer["id"].as_str().unwrap(), "delivered")
            .await;
    }
    send(&api, &id, ECHO, "buy now")
        .await
        .expect_problem(403, "policy_violation");

    world.stop_app().await;
    world.start_app().await;
    let api = world.api();
    send(&api, &id, ECHO, "buy now")
        .await
        .expect_problem(403, "policy_violation");
    let answer = send(&api, &id, &lid, "still here").await.expect(202);
    api.status_becomes(answer["id"].as_str().unwrap(), "delivered")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_under_a_hidden_number_is_answered_under_both() {
    let (world, api, id) = World::start_paired().await;
    let policy = json!({"policy": {"reply_only": true}});
    api.patch(&format!("/v1/instances/{id}"), policy)
        .await
        .expect(200);
    let bob = world.control(Method::GET, &format!("accounts/{BOB}"), None).await;
    let lid = format!("{}@lid", bob["lid"].as_str().unwrap());
    let body = json!({"to": ALICE, "text": "guess who", "addressing": "lid"});
    let sent = world
        .control(Method::POST, &format!("accounts/{BOB}/messages"), Some(body))
        .await;
    api.received(sent["whatsapp_id"].as_str().unwrap()).await;
    for name in [BOB, lid.as_str()] {
        let answer = send(&api, &id, name, "hello").await.expect(202);
        api.status_becomes(answer["id"].as_str().unwrap(), "delivered")
            .await;
    }
}
