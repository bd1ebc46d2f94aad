use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ALICE, BOB, Client, ECHO, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_delivered_read_and_answered() {
    let (world, api, id) = World::start_paired().await;
    let sent = api.send_text(&id, &format!("+{ECHO}"), "Hello").await;
    assert_eq!(sent["status"], "accepted");
    assert_eq!(
        (&sent["direction"], &sent["origin"], &sent["type"]),
        (&json!("outbound"), &json!("api"), &json!("text"))
    );
    assert_eq!(sent["chat"]["id"], format!("{ECHO}@s.whatsapp.net"));
    assert_eq!(sent["chat"]["phone_number"], format!("+{ECHO}"));
    let message = sent["id"].as_str().unwrap();
    let whatsapp_id = sent["whatsapp_id"].as_str().unwrap();

    let heard = world.phone_has(ECHO, "Hello").await;
    assert_eq!(heard["whatsapp_id"], whatsapp_id);
    api.status_becomes(message, "delivered").await;
    world
        .control(
            Method::POST,
            &format!("accounts/{ECHO}/read"),
            Some(json!({"whatsapp_id": whatsapp_id})),
        )
        .await;
    let read = api.status_becomes(message, "read").await;
    assert_eq!(read["whatsapp_id"], whatsapp_id);
    for time in ["sent_at", "delivered_at", "read_at"] {
        assert!(read[time].is_string(), "{time} in {read}");
    }

    let answer = api
        .event("message.received", |event| {
            event["data"]["message"]["text"]["body"]
                .as_str()
                .is_some_and(|text| text.contains("Hello"))
        })
        .await;
    let answer = &answer["data"]["message"];
    assert_eq!(
        (&answer["direction"], &answer["status"]),
        (&json!("inbound"), &json!("received"))
    );
    assert_eq!(answer["sender"]["phone_number"], format!("+{ECHO}"));
    assert!(answer["sender"]["lid"].as_str().unwrap().ends_with("@lid"));
    for kind in ["message.sent", "message.delivered", "message.read"] {
        api.event(kind, |event| event["data"]["message"]["id"] == message)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_for_the_server_answers_with_what_came() {
    let (_world, api, id) = World::start_paired().await;
    let body = json!({"to": BOB, "type": "text", "text": {"body": "now"}});
    let reply = api
        .post(
            &format!("/v1/instances/{id}/messages?wait=server_ack&timeout_ms=20000"),
            body,
        )
        .await;
    assert!(
        reply.headers["location"]
            .to_str()
            .unwrap()
            .starts_with("/v1/messages/msg_")
    );
    let message = reply.expect(202);
    assert_ne!(message["status"], "accepted", "{message}");
    assert!(message["sent_at"].is_string(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_stopped_instance_waits_for_its_connection() {
    let (world, api, id) = World::start_paired().await;
    api.post(&format!("/v1/instances/{id}/disconnect"), json!({}))
        .await
        .expect(200);
    api.state_becomes(&id, "disconnected").await;
    let reply = api
        .post(
            &format!("/v1/instances/{id}/messages"),
            json!({"to": BOB, "type": "text", "text": {"body": "later"}}),
        )
        .await;
    if reply.status == 202 {
        let message = reply.json()["id"].as_str().unwrap().to_owned();
        api.post(&format!("/v1/instances/{id}/connect"), json!({}))
            .await
            .expect(202);
        api.status_becomes(&message, "delivered").await;
        world.phone_has(BOB, "later").await;
    } else {
        reply.expect_problem(409, "wrong_state");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_quotes_a_message_by_either_id() {
    let (world, api, id) = World::start_paired().await;
    let question = world.phone_sends(BOB, ALICE, "what time is it?").await;
    let received = api.received(&question).await;
    let own_id = received["id"].as_str().unwrap();
    for (reply_to, text) in [(own_id, "noon"), (question.as_str(), "noon, I said")] {
        let body = json!({"to": BOB, "type": "text", "text": {"body": text}, "reply_to": reply_to});
        let sent = api
            .post(&format!("/v1/instances/{id}/messages"), body)
            .await
            .expect(202);
        assert_eq!(sent["reply_to"]["message_id"], own_id);
        assert_eq!(sent["reply_to"]["whatsapp_id"], question);
        assert_eq!(sent["reply_to"]["text"], "what time is it?");
        world.phone_has(BOB, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_message_is_marked_as_read() {
    let (world, api, id) = World::start_paired().await;
    let whatsapp_id = world.phone_sends(BOB, ALICE, "read me").await;
    let received = api.received(&whatsapp_id).await;
    let message = received["id"].as_str().unwrap().to_owned();
    let read = api
        .post(&format!("/v1/messages/{message}/read"), json!({}))
        .await
        .expect(200);
    assert_eq!(read["status"], "read");
    assert_eq!(
        api.get(&format!("/v1/messages/{message}")).await.expect(200)["status"],
        "read"
    );
    let sent = api.send_text(&id, BOB, "mine").await;
    let own = sent["id"].as_str().unwrap();
    api.post(&format!("/v1/messages/{own}/read"), json!({}))
        .await
        .expect_problem(409, "wrong_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_by_chat_direction_and_status_page_by_page() {
    let (world, api, id) = World::start_paired().await;
    for n in 0..5 {
        let sent = api.send_text(&id, BOB, &format!("to bob {n}")).await;
        api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
            .await;
    }
    world.phone_sends(BOB, ALICE, "from bob").await;
    world.phone_sends(ECHO, ALICE, "from echo").await;
    let all = format!("/v1/instances/{id}/messages");
    eventually("everything has arrived", || async {
        (api.get(&all).await.expect(200)["data"].as_array().unwrap().len() == 7).then_some(())
    })
    .await;
    let count = async |query: &str| {
        api.get(&format!("{all}?{query}")).await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(&format!("chat={BOB}")).await, 6);
    assert_eq!(count(&format!("chat=%2B{BOB}")).await, 6);
    assert_eq!(count(&format!("chat=+{BOB}")).await, 6);
    assert_eq!(
        count(&format!("chat={BOB}@s.whatsapp.net&direction=inbound")).await,
        1
    );
    assert_eq!(count("direction=outbound").await, 5);
    assert_eq!(count("direction=outbound&status=delivered").await, 5);
    assert_eq!(count("status=failed").await, 0);

    let (mut texts, mut path) = (Vec::new(), format!("{all}?direction=outbound&limit=2"));
    loop {
        let page = api.get(&path).await.expect(200);
        texts.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["text"]["body"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        // The cursor belongs to the list with these filters.
        api.get(&format!("{all}?direction=inbound&cursor={cursor}"))
            .await
            .expect_problem(400, "invalid_cursor");
        path = format!("{all}?direction=outbound&limit=2&cursor={cursor}");
    }
    assert_eq!(
        texts,
        (0..5).rev().map(|n| format!("to bob {n}")).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_revocations_and_reactions_are_events() {
    let world = World::start().await;
    let api = world.api();
    world.paired(ALICE).await;
    let target = world.phone_sends(BOB, ALICE, "frist").await;
    let received = api.received(&target).await;
    let message = received["id"].as_str().unwrap();
    let path = format!("accounts/{BOB}/messages");
    for body in [
        json!({"to": ALICE, "react_to": target, "emoji": "👍"}),
        json!({"to": ALICE, "edit_of": target, "text": "first"}),
        json!({"to": ALICE, "revoke_of": target}),
    ] {
        world.control(Method::POST, &path, Some(body)).await;
    }
    let about =
        |event: &Value| event["data"]["whatsapp_id"] == target && event["data"]["message_id"] == message;
    let reaction = api.event("message.reaction", about).await;
    assert_eq!(reaction["data"]["emoji"], "👍");
    assert_eq!(reaction["data"]["sender"]["phone_number"], format!("+{BOB}"));
    let edited = api.event("message.edited", about).await;
    assert_eq!(edited["data"]["content"]["text"]["body"], "first");
    api.event("message.revoked", about).await;
    let message = api.get(&format!("/v1/messages/{message}")).await.expect(200);
    assert!(
        message["edited_at"].is_string() && message["revoked_at"].is_string(),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_the_longest_length_goes_through_and_one_byte_more_does_not() {
    let (_world, api, id) = World::start_paired().await;
    let longest = "x".repeat(roost_domain::message::TEXT_BYTES_MAX);
    let body = |text: &str| json!({"to": BOB, "type": "text", "text": {"body": text}});
    let path = format!("/v1/instances/{id}/messages");
    let sent = api.post(&path, body(&longest)).await.expect(202);
    api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;
    let problem = api
        .post(&path, body(&format!("{longest}x")))
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/text/body");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_who_is_not_on_whatsapp_fails_the_message() {
    let (_world, api, id) = World::start_paired().await;
    let sent = api.send_text(&id, "+4915559999", "anybody?").await;
    let failed = api.status_becomes(sent["id"].as_str().unwrap(), "failed").await;
    assert_eq!(failed["failure"]["code"], "recipient_not_on_whatsapp", "{failed}");
    api.event("message.failed", |event| {
        event["data"]["message"]["id"] == sent["id"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_refused_as_recipient() {
    let (_world, api, id) = World::start_paired().await;
    let body = json!({"to": "12345-678@g.us", "type": "text", "text": {"body": "x"}});
    let reply = Client::send(
        api.request(Method::POST, &format!("/v1/instances/{id}/messages"))
            .json(&body),
    )
    .await;
    let problem = reply.expect_problem(422, "unsupported_recipient");
    assert_eq!(problem["errors"][0]["pointer"], "/to");
}
