use reqwest::Method;
use serde_json::{Value, json};

use crate::event::Stream;
use crate::websocket::Socket;
use crate::world::{Client, World, eventually};

async fn token(api: &Client, body: Value) -> String {
    let made = api.post("/v1/stream-tokens", body).await.expect(201);
    assert!(made["expires_at"].is_string());
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_streams_again_and_again_and_nothing_else() {
    let world = World::start().await;
    let api = world.api();
    let token = token(&api, json!({})).await;
    let browser = world.client(None);
    for _ in 0..2 {
        let mut stream = Stream::open(&browser, &format!("?token={token}&types=custom.*"), None).await;
        api.publish("custom.x", json!({})).await;
        stream.until("custom.x").await;
    }
    let mut socket = Socket::open_with_token(browser.base(), &token).await;
    socket.say(json!({"type": "subscribe"})).await;
    assert_eq!(socket.hear().await["type"], "subscribed");
    api.publish("custom.y", json!({})).await;
    socket.event("custom.y").await;
    let page = browser
        .request(Method::GET, &format!("/v1/events?token={token}"))
        .header("accept", "application/json");
    Client::send(page).await.expect(200);

    for path in ["/v1/instances", "/v1/api-keys", "/v1/operator/actors"] {
        let problem = browser.get(&format!("{path}?token={token}")).await;
        problem.expect_problem(401, "unauthorized");
    }
    let publish = browser
        .request(Method::POST, &format!("/v1/events?token={token}"))
        .json(&json!({"type": "custom.x", "data": {}}));
    Client::send(publish).await.expect_problem(401, "unauthorized");
    let header = browser.request(Method::GET, "/v1/events").bearer_auth(&token);
    Client::send(header).await.expect_problem(401, "unauthorized");
    api.get(&format!("/v1/instances?token={token}"))
        .await
        .expect_problem(422, "validation_failed");
    api.get(&format!("/v1/events?token={token}"))
        .await
        .expect_problem(401, "unauthorized");
    browser
        .get(&format!("/v1/events?token={}", api.key()))
        .await
        .expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_what_it_is_for() {
    let world = World::start().await;
    let api = world.api();
    let (mine, other) = (api.make_instance("mine").await, api.make_instance("other").await);
    let token = token(&api, json!({"types": ["custom.*"], "instances": [mine]})).await;
    let browser = world.client(None);
    let mut stream = Stream::open(&browser, &format!("?token={token}&after=0"), None).await;
    api.publish("custom.whole", json!({})).await;
    for (kind, id) in [("custom.a", &other), ("custom.b", &mine)] {
        let event = json!({"type": kind, "data": {}, "instance_id": id});
        api.post("/v1/events", event).await.expect(201);
    }
    assert_eq!(stream.next().await.event, "custom.b");
    for query in [
        "types=*",
        "types=message.received",
        &format!("instance_id={other}"),
    ] {
        browser
            .get(&format!("/v1/events?token={token}&{query}"))
            .await
            .expect_problem(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_time_its_key_and_its_letters() {
    let world = World::start().await;
    let api = world.api();
    let made = api
        .post("/v1/api-keys", json!({"name": "x", "scopes": ["events:read"]}))
        .await
        .expect(201);
    let maker = world.client(Some(made["key"].as_str().unwrap().to_owned()));
    let browser = world.client(None);
    let short = token(&maker, json!({"ttl_seconds": 1})).await;
    let problem = eventually("the token expires", || async {
        let request = browser
            .request(Method::GET, &format!("/v1/events?token={short}"))
            .header("accept", "application/json");
        let reply = Client::send(request).await;
        (reply.status != 200).then_some(reply)
    })
    .await
    .expect_problem(401, "unauthorized");
    assert!(
        problem["detail"].as_str().unwrap().contains("expired"),
        "{problem}"
    );

    let long = token(&maker, json!({})).await;
    let mut forged = long.clone().into_bytes();
    let last = forged.len() - 10;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for wrong in [forged.as_str(), "", "rst_stream_", "x"] {
        browser
            .get(&format!("/v1/events?token={wrong}"))
            .await
            .expect_problem(401, "unauthorized");
    }
    let mut stream = Stream::open(&browser, &format!("?token={long}"), None).await;
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    api.delete(&path).await.expect(204);
    stream.ended().await;
    browser
        .get(&format!("/v1/events?token={long}"))
        .await
        .expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_shows_no_token_and_what_is_wrong_is_pointed_at() {
    let world = World::start().await;
    let api = world.api();
    let request = api.request(Method::POST, "/v1/stream-tokens").json(&json!({}));
    let request = request.header("idempotency-key", "one");
    let first = Client::send(request.try_clone().unwrap()).await.expect(201);
    let replay = Client::send(request).await.expect(201);
    assert!(first["token"].is_string() && replay["token"].is_null());
    assert_eq!(first["expires_at"], replay["expires_at"]);
    for (body, pointer) in [
        (json!({"ttl_seconds": 3601}), "/ttl_seconds"),
        (json!({"types": ["x"]}), "/types/0"),
        (
            json!({"instances": ["ins_00000000000000000000000000"]}),
            "/instances/0",
        ),
    ] {
        let problem = api
            .post("/v1/stream-tokens", body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let mine = api.make_instance("mine").await;
    let other = api.make_instance("other").await;
    let body = json!({"name": "x", "scopes": ["events:read"], "instances": [mine]});
    let made = api.post("/v1/api-keys", body).await.expect(201);
    let bound = world.client(Some(made["key"].as_str().unwrap().to_owned()));
    bound
        .post("/v1/stream-tokens", json!({"instances": [other]}))
        .await
        .expect_problem(403, "forbidden");
    let token = token(&bound, json!({})).await;
    let browser = world.client(None);
    let request = browser
        .request(Method::GET, &format!("/v1/events?token={token}&after=0"))
        .header("accept", "application/json");
    let page = Client::send(request).await.expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 1, "{page}");
}
