use reqwest::Method;
use serde_json::json;

use crate::event::Stream;
use crate::websocket::Socket;
use crate::world::{ALICE, BOB, Client, World};

/// A paired instance, another one, and a client whose key is bound to the first.
async fn stage(world: &World) -> (String, String, Client) {
    let api = world.api();
    let other = api.make_instance("other").await;
    let made = api
        .post("/v1/instances", json!({"name": "mine", "create_key": true}))
        .await
        .expect(201);
    let mine = made["id"].as_str().unwrap().to_owned();
    let key = &made["api_key"];
    assert_eq!(key["instances"], json!([mine]));
    assert_eq!(key["name"], "mine");
    world.pair(&mine, ALICE).await;
    let bound = world.client(Some(key["key"].as_str().unwrap().to_owned()));
    (mine, other, bound)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_with_an_instance_runs_it_and_reaches_no_other() {
    let world = World::start().await;
    let (mine, other, bound) = stage(&world).await;
    let listed = bound.get("/v1/instances").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["id"], mine.as_str());
    bound
        .patch(&format!("/v1/instances/{mine}"), json!({"name": "renamed"}))
        .await
        .expect(200);
    let sent = bound.send_text(&mine, BOB, "hi").await;
    bound
        .status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;

    let nobodys = "ins_00000000000000000000000000";
    for id in [other.as_str(), nobodys] {
        for (method, path, body) in [
            ("GET", "", ""),
            ("PATCH", "", r#"{"name":"x"}"#),
            ("DELETE", "", ""),
            ("POST", "/connect", r#"{"method":"qr"}"#),
            ("POST", "/disconnect", ""),
            ("POST", "/logout", ""),
            ("GET", "/qr", ""),
            ("GET", "/pairing-code", ""),
            ("GET", "/history", ""),
            ("GET", "/messages", ""),
            (
                "POST",
                "/messages",
                r#"{"to":"4915550003","type":"text","text":{"body":"x"}}"#,
            ),
        ] {
            let path = format!("/v1/instances/{id}{path}");
            let mut request = bound.request(method.parse::<Method>().unwrap(), &path);
            if !body.is_empty() {
                request = request.header("content-type", "application/json").body(body);
            }
            Client::send(request).await.expect_problem(403, "forbidden");
        }
        let path = format!("/v1/events?instance_id={id}");
        bound.get(&path).await.expect_problem(403, "forbidden");
    }
    bound
        .get("/v1/instances/nonsense")
        .await
        .expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_by_another_id_and_is_another_instances_is_not_there() {
    let world = World::start().await;
    let api = world.api();
    let (_, other, bound) = stage(&world).await;
    world.pair(&other, BOB).await;
    let whatsapp_id = world.phone_sends("4915550002", BOB, "for the other").await;
    let message = api.received(&whatsapp_id).await;
    let path = format!("/v1/messages/{}", message["id"].as_str().unwrap());
    bound.get(&path).await.expect_problem(404, "not_found");
    let read = format!("{path}/read");
    bound
        .post(&read, json!({}))
        .await
        .expect_problem(404, "not_found");
    assert_eq!(api.get(&path).await.expect(200)["status"], message["status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_tenants_as_a_whole_is_closed_to_a_bound_key() {
    let world = World::start().await;
    let api = world.api();
    let mine = api.make_instance("mine").await;
    let body = json!({"name": "bound", "scopes": ["*"], "instances": [mine]});
    let made = api.post("/v1/api-keys", body).await.expect(201);
    let bound = world.client(Some(made["key"].as_str().unwrap().to_owned()));
    for (method, path, body) in [
        ("POST", "/v1/instances", r#"{"name":"x"}"#),
        ("POST", "/v1/instances", r#"{"name":"x","create_key":true}"#),
        ("GET", "/v1/webhooks", ""),
        (
            "POST",
            "/v1/webhooks",
            r#"{"url":"http://127.0.0.1:9/","events":["*"]}"#,
        ),
        ("GET", "/v1/webhooks/whk_00000000000000000000000000", ""),
        ("GET", "/v1/deliveries/dlv_00000000000000000000000000_1", ""),
        ("GET", "/v1/api-keys", ""),
        ("POST", "/v1/api-keys", r#"{"name":"x","scopes":["*"]}"#),
        ("POST", "/v1/events", r#"{"type":"custom.x","data":{}}"#),
    ] {
        let mut request = bound.request(method.parse::<Method>().unwrap(), path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        Client::send(request).await.expect_problem(403, "forbidden");
    }
    let event = json!({"type": "custom.x", "data": {}, "instance_id": mine});
    bound.post("/v1/events", event).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_streams_show_a_bound_key_its_own_instances_only() {
    let world = World::start().await;
    let api = world.api();
    let (mine, other) = (api.make_instance("mine").await, api.make_instance("other").await);
    let body = json!({"name": "bound", "scopes": ["events:read"], "instances": [mine]});
    let made = api.post("/v1/api-keys", body).await.expect(201);
    let bound = world.client(Some(made["key"].as_str().unwrap().to_owned()));
    let mut stream = Stream::open(&bound, "?after=0", None).await;
    let mut socket = Socket::open(&bound).await;
    socket.say(json!({"type": "subscribe", "resume_from": 0})).await;
    assert_eq!(socket.hear().await["instance_ids"], json!([mine]));
    api.publish("custom.whole", json!({})).await;
    for id in [&other, &mine] {
        let event = json!({"type": "custom.x", "data": {}, "instance_id": id});
        api.post("/v1/events", event).await.expect(201);
    }
    let expected = ["instance.created", "custom.x"];
    for kind in expected {
        let frame = stream.next().await;
        assert_eq!(
            (frame.event.as_str(), &frame.data["instance_id"]),
            (kind, &json!(mine))
        );
        let event = socket.event(kind).await;
        assert_eq!(event["instance_id"], mine.as_str());
    }
    let page = bound.events(0, "").await;
    let kinds: Vec<_> = page.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, expected);

    socket
        .say(json!({"type": "subscribe", "instance_ids": [other]}))
        .await;
    let (error, _) = socket.end().await;
    assert_eq!(error["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn making_a_key_with_an_instance_needs_what_the_key_gets() {
    let world = World::start().await;
    let api = world.api();
    let with = async |scopes: serde_json::Value| {
        let body = json!({"name": "x", "scopes": scopes});
        let made = api.post("/v1/api-keys", body).await.expect(201);
        world.client(Some(made["key"].as_str().unwrap().to_owned()))
    };
    let body = || json!({"name": "x", "create_key": true});
    let manager = with(json!(["instances:manage"])).await;
    let refused = manager.post("/v1/instances", body()).await;
    let problem = refused.expect_problem(403, "forbidden");
    assert!(
        problem["detail"].as_str().unwrap().ends_with("keys:manage"),
        "{problem}"
    );
    let both = with(json!(["instances:manage", "keys:manage"])).await;
    both.post("/v1/instances", body())
        .await
        .expect_problem(403, "forbidden");
    assert_eq!(api.get("/v1/instances").await.expect(200)["data"], json!([]));
    manager
        .post("/v1/instances", json!({"name": "x"}))
        .await
        .expect(201);

    let request = api.request(Method::POST, "/v1/instances").json(&body());
    let request = request.header("idempotency-key", "one");
    let first = Client::send(request.try_clone().unwrap()).await.expect(201);
    let replay = Client::send(request).await.expect(201);
    assert!(first["api_key"]["key"].is_string() && replay["api_key"]["key"].is_null());
    assert_eq!(replay["api_key"]["id"], first["api_key"]["id"]);
    assert_eq!(replay["id"], first["id"]);
}
