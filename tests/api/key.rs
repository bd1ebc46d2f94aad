use std::time::Duration;

use reqwest::Method;
use roost::system::SystemClock;
use roost_domain::Clock;
use serde_json::{Value, json};

use crate::world::{Client, World, eventually};

/// Makes a key; its id and a client with it come back.
async fn make(world: &World, api: &Client, body: Value) -> (String, Client) {
    let made = api.post("/v1/api-keys", body).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    (id, world.client(Some(made["key"].as_str().unwrap().to_owned())))
}

fn soon(time: Duration) -> String {
    SystemClock.now().plus(time).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_shown_once_changed_and_revoked() {
    let world = World::start().await;
    let api = world.api();
    let reply = api
        .post(
            "/v1/api-keys",
            json!({"name": "ci", "scopes": ["messages:send", "instances:read"], "calls_per_minute": 60,
                   "allowed_networks": ["127.0.0.1", "10.0.0.0/8"]}),
        )
        .await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let location = reply.headers["location"].to_str().unwrap().to_owned();
    let made = reply.expect(201);
    let id = made["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/api-keys/{id}"));
    assert!(made["key"].as_str().unwrap().starts_with("rst_"));
    assert_eq!(made["scopes"], json!(["instances:read", "messages:send"]));
    assert_eq!(made["allowed_networks"], json!(["10.0.0.0/8", "127.0.0.1/32"]));
    assert_eq!(
        (&made["instances"], &made["expires_at"], &made["last_used_at"]),
        (&json!([]), &Value::Null, &Value::Null)
    );

    let shown = api.get(&location).await.expect(200);
    assert_eq!(shown.get("key"), None);
    let listed = api.get("/v1/api-keys").await.expect(200)["data"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed.as_array().unwrap().contains(&shown));
    assert!(!listed.to_string().contains(made["key"].as_str().unwrap()));

    let patched = api
        .patch(
            &location,
            json!({"name": "ci 2", "calls_per_minute": null, "allowed_networks": null}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &patched["name"],
            &patched["calls_per_minute"],
            &patched["allowed_networks"]
        ),
        (&json!("ci 2"), &Value::Null, &json!([]))
    );
    let client = world.client(Some(made["key"].as_str().unwrap().to_owned()));
    client.get("/v1/instances").await.expect(200);
    api.delete(&location).await.expect(204);
    let problem = client
        .get("/v1/instances")
        .await
        .expect_problem(401, "unauthorized");
    assert_eq!(problem["detail"], "the API key is not valid");
    api.get(&location).await.expect_problem(404, "not_found");
    api.delete(&location).await.expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let world = World::start().await;
    let api = world.api();
    let instance = api.make_instance("one").await;
    let (id, client) = make(
        &world,
        &api,
        json!({"name": "reader", "scopes": ["instances:read"]}),
    )
    .await;
    client.get("/v1/instances").await.expect(200);
    client.get(&format!("/v1/instances/{instance}")).await.expect(200);
    for (method, path, scope) in [
        ("POST", "/v1/instances".to_owned(), "instances:manage"),
        (
            "GET",
            format!("/v1/instances/{instance}/messages"),
            "messages:read",
        ),
        (
            "POST",
            format!("/v1/instances/{instance}/messages"),
            "messages:send",
        ),
        ("GET", "/v1/events".to_owned(), "events:read"),
        ("POST", "/v1/stream-tokens".to_owned(), "events:read"),
        ("POST", "/v1/events".to_owned(), "events:write"),
        ("GET", "/v1/webhooks".to_owned(), "webhooks:read"),
        ("POST", "/v1/webhooks".to_owned(), "webhooks:manage"),
        ("GET", "/v1/api-keys".to_owned(), "keys:manage"),
        ("DELETE", format!("/v1/api-keys/{id}"), "keys:manage"),
    ] {
        let request = client.request(method.parse::<Method>().unwrap(), &path);
        let problem = Client::send(request).await.expect_problem(403, "forbidden");
        assert!(problem["detail"].as_str().unwrap().ends_with(scope), "{problem}");
    }
    let body = json!({"scopes": ["*"]});
    api.patch(&format!("/v1/api-keys/{id}"), body).await.expect(200);
    client.get("/v1/webhooks").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_gives_or_touches_more_than_it_has() {
    let world = World::start().await;
    let api = world.api();
    let scopes = json!(["keys:manage", "messages:read"]);
    let (_, manager) = make(&world, &api, json!({"name": "manager", "scopes": scopes})).await;
    let (weak, _) = make(
        &world,
        &manager,
        json!({"name": "weak", "scopes": ["messages:read"]}),
    )
    .await;
    let (strong, _) = make(
        &world,
        &api,
        json!({"name": "strong", "scopes": ["messages:send"]}),
    )
    .await;
    for scopes in [json!(["messages:send"]), json!(["*"])] {
        let body = json!({"name": "x", "scopes": scopes});
        manager
            .post("/v1/api-keys", body)
            .await
            .expect_problem(403, "forbidden");
        manager
            .patch(&format!("/v1/api-keys/{weak}"), json!({"scopes": scopes}))
            .await
            .expect_problem(403, "forbidden");
    }
    let path = format!("/v1/api-keys/{strong}");
    manager
        .patch(&path, json!({"name": "mine"}))
        .await
        .expect_problem(403, "forbidden");
    manager
        .post(&format!("{path}/rotate"), json!({}))
        .await
        .expect_problem(403, "forbidden");
    manager.delete(&path).await.expect_problem(403, "forbidden");
    manager.delete(&format!("/v1/api-keys/{weak}")).await.expect(204);

    let stranger = world.stranger().await;
    stranger.get(&path).await.expect_problem(404, "not_found");
    stranger
        .patch(&path, json!({"name": "mine"}))
        .await
        .expect_problem(404, "not_found");
    stranger
        .post(&format!("{path}/rotate"), json!({}))
        .await
        .expect_problem(404, "not_found");
    stranger.delete(&path).await.expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rotated_has_two_texts_for_the_overlap() {
    let world = World::start().await;
    let api = world.api();
    let (id, old) = make(&world, &api, json!({"name": "x", "scopes": ["instances:read"]})).await;
    let path = format!("/v1/api-keys/{id}/rotate");
    let rotated = api
        .post(&path, json!({"overlap_seconds": 3600}))
        .await
        .expect(200);
    assert_eq!(rotated["id"], id.as_str());
    let new = world.client(Some(rotated["key"].as_str().unwrap().to_owned()));
    old.get("/v1/instances").await.expect(200);
    new.get("/v1/instances").await.expect(200);

    let again = api.post(&path, json!({"overlap_seconds": 0})).await.expect(200);
    let newest = world.client(Some(again["key"].as_str().unwrap().to_owned()));
    newest.get("/v1/instances").await.expect(200);
    for past in [&old, &new] {
        past.get("/v1/instances")
            .await
            .expect_problem(401, "unauthorized");
    }
    let problem = api
        .post(&path, json!({"overlap_seconds": 31 * 86_400}))
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/overlap_seconds");

    let request = api.request(Method::POST, &path).header("idempotency-key", "r");
    let first = Client::send(request.try_clone().unwrap()).await.expect(200);
    let replay = Client::send(request).await;
    assert_eq!(replay.headers["idempotency-replayed"], "true");
    let replay = replay.expect(200);
    assert!(first["key"].is_string() && replay["key"].is_null(), "{replay}");
    assert_eq!(replay["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_at_its_time() {
    let world = World::start().await;
    let api = world.api();
    let body = json!({"name": "x", "scopes": ["*"], "expires_at": soon(Duration::from_secs(2))});
    let (id, client) = make(&world, &api, body).await;
    let problem = eventually("the key expires", || async {
        let reply = client.get("/v1/instances").await;
        (reply.status != 200).then_some(reply)
    })
    .await
    .expect_problem(401, "unauthorized");
    assert_eq!(problem["detail"], "the API key has expired");
    // Whoever does not know the secret is not told.
    let (prefix, _) = client.key().rsplit_once('_').unwrap();
    let guess = world.client(Some(format!("{prefix}_{}", "a".repeat(40))));
    let problem = guess
        .get("/v1/instances")
        .await
        .expect_problem(401, "unauthorized");
    assert_eq!(problem["detail"], "the API key is not valid");
    let path = format!("/v1/api-keys/{id}");
    api.patch(&path, json!({"expires_at": null})).await.expect(200);
    client.get("/v1/instances").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_from_its_networks_only() {
    let world = World::start_with(&[("http.trusted_proxies", "127.0.0.1/32")]).await;
    let api = world.api();
    let body = json!({"name": "x", "scopes": ["*"], "allowed_networks": ["203.0.113.0/24", "2001:db8::/32"]});
    let (id, client) = make(&world, &api, body).await;
    let from = |address: &str| {
        let request = client.request(Method::GET, "/v1/instances");
        Client::send(request.header("x-forwarded-for", address))
    };
    for address in ["203.0.113.7", "2001:db8::7"] {
        from(address).await.expect(200);
    }
    for address in ["198.51.100.7", "203.0.113.7, 198.51.100.7", "127.0.0.1"] {
        let problem = from(address).await.expect_problem(401, "unauthorized");
        assert!(
            problem["detail"].as_str().unwrap().contains("network"),
            "{problem}"
        );
    }
    let path = format!("/v1/api-keys/{id}");
    let body = json!({"allowed_networks": ["198.51.100.7"]});
    api.patch(&path, body).await.expect(200);
    from("198.51.100.7").await.expect(200);
    from("203.0.113.7").await.expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_key_is_noted_also_by_a_stop() {
    let mut world = World::start_with(&[("keys.last_used_flush", "1h")]).await;
    let api = world.api();
    let (id, client) = make(&world, &api, json!({"name": "x", "scopes": ["*"]})).await;
    let path = format!("/v1/api-keys/{id}");
    assert_eq!(api.get(&path).await.expect(200)["last_used_at"], Value::Null);
    client.get("/v1/instances").await.expect(200);
    world.stop_app().await;
    world.start_app().await;
    let key = world.api().get(&path).await.expect(200);
    let used = key["last_used_at"].as_str().unwrap();
    assert!(used >= key["created_at"].as_str().unwrap());
    assert_eq!(key["updated_at"], key["created_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_makes_no_second_key_and_shows_no_text() {
    let world = World::start().await;
    let api = world.api();
    let request = |name: &str| {
        let request = api.request(Method::POST, "/v1/api-keys");
        let body = json!({"name": name, "scopes": ["*"]});
        Client::send(request.header("idempotency-key", "one").json(&body))
    };
    let made = request("x").await.expect(201);
    let replay = request("x").await;
    assert_eq!(replay.headers["idempotency-replayed"], "true");
    let mut expected = made.clone();
    expected["key"] = Value::Null;
    assert_eq!(replay.expect(201), expected);
    request("y").await.expect_problem(422, "idempotency_key_reused");
    let listed = api.get("/v1/api-keys").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_keys_and_no_more() {
    let world = World::start_with(&[("keys.per_tenant_max", "3")]).await;
    let api = world.api();
    let body = || json!({"name": "x", "scopes": ["*"]});
    let made = futures::future::join_all((0..6).map(|_| api.post("/v1/api-keys", body()))).await;
    let count = made.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(count, 2);
    for reply in made {
        if reply.status != 201 {
            reply.expect_problem(403, "limit_reached");
        }
    }
    let made = api
        .post("/v1/instances", json!({"name": "x", "create_key": true}))
        .await;
    made.expect_problem(403, "limit_reached");
    assert_eq!(api.get("/v1/instances").await.expect(200)["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_key_is_pointed_at() {
    let world = World::start().await;
    let api = world.api();
    let stranger = world.stranger().await;
    let foreign = stranger.make_instance("theirs").await;
    let (id, _) = make(&world, &api, json!({"name": "x", "scopes": ["*"]})).await;
    let path = format!("/v1/api-keys/{id}");
    for (body, pointers) in [
        (json!({"name": "x"}), vec!["/scopes"]),
        (
            json!({"name": "", "scopes": [], "expires_at": "2020-01-01T00:00:00Z", "calls_per_minute": 0}),
            vec!["/name", "/scopes", "/calls_per_minute", "/expires_at"],
        ),
        (
            json!({"name": "x", "scopes": ["*"], "instances": [foreign]}),
            vec!["/instances/0"],
        ),
    ] {
        let problem = api
            .post("/v1/api-keys", body)
            .await
            .expect_problem(422, "validation_failed");
        let found: Vec<_> = problem["errors"].as_array().unwrap().iter().collect();
        assert_eq!(
            found.iter().map(|error| &error["pointer"]).collect::<Vec<_>>(),
            pointers
        );
    }
    for (body, pointer) in [
        (json!({"scopes": null}), "/scopes"),
        (json!({"name": null}), "/name"),
        (json!({"instances": [foreign]}), "/instances/0"),
    ] {
        let problem = api
            .patch(&path, body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    for id in ["key_00000000000000000000000000", "x", "ins_x"] {
        api.get(&format!("/v1/api-keys/{id}"))
            .await
            .expect_problem(404, "not_found");
    }
}
