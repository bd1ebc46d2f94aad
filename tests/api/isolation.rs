use reqwest::Method;
use serde_json::json;

use crate::receiver::Receiver;
use crate::world::{ALICE, BOB, Client, World, eventually};

/// Every route with an id in it, and a body that would be valid.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/v1/instances/{ins}", ""),
    ("PATCH", "/v1/instances/{ins}", r#"{"name":"mine"}"#),
    ("DELETE", "/v1/instances/{ins}", ""),
    ("POST", "/v1/instances/{ins}/connect", r#"{"method":"qr"}"#),
    ("POST", "/v1/instances/{ins}/disconnect", ""),
    ("POST", "/v1/instances/{ins}/logout", ""),
    ("GET", "/v1/instances/{ins}/qr", ""),
    ("GET", "/v1/instances/{ins}/pairing-code", ""),
    ("GET", "/v1/instances/{ins}/history", ""),
    ("GET", "/v1/instances/{ins}/messages", ""),
    (
        "POST",
        "/v1/instances/{ins}/messages",
        r#"{"to":"4915550003","type":"text","text":{"body":"x"}}"#,
    ),
    ("GET", "/v1/messages/{msg}", ""),
    ("POST", "/v1/messages/{msg}/read", ""),
    ("GET", "/v1/webhooks/{whk}", ""),
    ("PATCH", "/v1/webhooks/{whk}", r#"{"description":"mine"}"#),
    ("DELETE", "/v1/webhooks/{whk}", ""),
    ("POST", "/v1/webhooks/{whk}/pause", ""),
    ("POST", "/v1/webhooks/{whk}/resume", ""),
    ("GET", "/v1/webhooks/{whk}/secret", ""),
    ("POST", "/v1/webhooks/{whk}/rotate-secret", ""),
    ("POST", "/v1/webhooks/{whk}/test", ""),
    ("GET", "/v1/webhooks/{whk}/stats", ""),
    (
        "POST",
        "/v1/webhooks/{whk}/replay",
        r#"{"failed_since":"2026-01-01T00:00:00Z"}"#,
    ),
    ("GET", "/v1/webhooks/{whk}/deliveries", ""),
    ("GET", "/v1/webhooks/{whk}/dead-letters", ""),
    (
        "POST",
        "/v1/webhooks/{whk}/dead-letters/redrive",
        r#"{"all":true}"#,
    ),
    ("GET", "/v1/deliveries/{dlv}", ""),
    ("POST", "/v1/deliveries/{dlv}/retry", ""),
];

const COLLECTIONS: &[(&str, &str, &str)] = &[
    ("GET", "/v1/instances", ""),
    ("POST", "/v1/instances", r#"{"name":"x"}"#),
    ("GET", "/v1/webhooks", ""),
    (
        "POST",
        "/v1/webhooks",
        r#"{"url":"http://127.0.0.1:19009/","events":["*"]}"#,
    ),
    ("GET", "/v1/events", ""),
    ("POST", "/v1/events", r#"{"type":"custom.x","data":{}}"#),
    ("GET", "/v1/events/ws", ""),
];

const OPERATOR: &[(&str, &str, &str)] = &[
    ("GET", "/v1/operator/actors", ""),
    ("GET", "/v1/operator/actors/node", ""),
    ("POST", "/v1/operator/actors/node/restart", ""),
    ("POST", "/v1/operator/actors/node/stop", ""),
    ("GET", "/v1/operator/nodes", ""),
    ("GET", "/v1/operator/slots", ""),
    ("POST", "/v1/operator/nodes/local/drain", ""),
    ("DELETE", "/v1/operator/nodes/local/drain", ""),
];

async fn call(
    client: &Client,
    (method, path, body): (&str, &str, &str),
    ids: &[(&str, &str)],
) -> crate::world::Reply {
    let path = ids
        .iter()
        .fold(path.to_owned(), |path, (name, id)| path.replace(name, id));
    let mut request = client.request(method.parse::<Method>().unwrap(), &path);
    if !body.is_empty() {
        request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
    }
    Client::send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_a_tenant_what_is_another_tenants() {
    let world = World::start().await;
    let api = world.api();
    let instance = world.paired(ALICE).await;
    let message = api.send_text(&instance, BOB, "secret").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let receiver = Receiver::start().await;
    let webhook = api
        .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
        .await;
    let webhook = webhook["id"].as_str().unwrap();
    api.publish("custom.secret", json!({})).await;
    let delivery = eventually("a delivery", || async {
        let page = api
            .get(&format!("/v1/webhooks/{webhook}/deliveries"))
            .await
            .expect(200);
        page["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let ids = &[
        ("{ins}", instance.as_str()),
        ("{msg}", &message),
        ("{whk}", webhook),
        ("{dlv}", &delivery),
    ];
    let shown = async || {
        let mut all = Vec::new();
        for path in [
            format!("/v1/instances/{instance}"),
            format!("/v1/webhooks/{webhook}"),
            format!("/v1/webhooks/{webhook}/secret"),
            format!("/v1/deliveries/{delivery}"),
        ] {
            all.push(api.get(&path).await.expect(200));
        }
        all
    };
    let before = shown().await;

    let stranger = world.stranger().await;
    for &route in ROUTES {
        call(&stranger, route, ids).await.expect_problem(404, "not_found");
    }
    assert_eq!(stranger.get("/v1/instances").await.expect(200)["data"], json!([]));
    assert!(stranger.events(0, "").await.is_empty());
    assert!(
        stranger
            .events(0, &format!("&instance_id={instance}"))
            .await
            .is_empty()
    );
    assert_eq!(stranger.get("/v1/webhooks").await.expect(200)["data"], json!([]));
    let foreign = json!({"url": receiver.url(), "events": ["*"], "instances": [instance]});
    stranger
        .post("/v1/webhooks", foreign)
        .await
        .expect_problem(422, "validation_failed");
    let foreign = json!({"type": "custom.x", "data": {}, "instance_id": instance});
    stranger
        .post("/v1/events", foreign)
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(shown().await, before);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_needs_a_key_of_the_right_kind() {
    let world = World::start().await;
    let ids = &[
        ("{ins}", "ins_00000000000000000000000000"),
        ("{msg}", "msg_00000000000000000000000000"),
        ("{whk}", "whk_00000000000000000000000000"),
        ("{dlv}", "dlv_00000000000000000000000000_1"),
    ];
    let nobody = world.client(None);
    let operator = world.operator().await;
    let tenant = world.api();
    let (start, end) = tenant.key().split_at(tenant.key().len() - 1);
    let forged = world.client(Some(format!("{start}{}", if end == "x" { "y" } else { "x" })));
    for &route in ROUTES.iter().chain(COLLECTIONS) {
        let reply = call(&nobody, route, ids).await;
        assert!(
            reply.headers["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        reply.expect_problem(401, "unauthorized");
        call(&forged, route, ids)
            .await
            .expect_problem(401, "unauthorized");
        call(&operator, route, ids).await.expect_problem(403, "forbidden");
    }
    for &route in OPERATOR {
        call(&nobody, route, ids)
            .await
            .expect_problem(401, "unauthorized");
        call(&forged, route, ids)
            .await
            .expect_problem(401, "unauthorized");
        call(&tenant, route, ids).await.expect_problem(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_from_either_header_but_not_from_both() {
    let world = World::start().await;
    let key = world.api().key().to_owned();
    let plain = world.client(None);
    let get = || plain.request(Method::GET, "/v1/instances");
    Client::send(get().header("x-api-key", &key)).await.expect(200);
    Client::send(get().header("authorization", format!("bearer {key}")))
        .await
        .expect(200);
    for request in [
        get().header("x-api-key", &key).bearer_auth(&key),
        get().header("authorization", &key),
        get().basic_auth("user", Some(&key)),
        get().header("authorization", "Bearer"),
        get().header("authorization", "Bearer rst_x"),
        get().header("x-api-key", ""),
        get().header("x-api-key", vec![0xff, 0xfe]),
    ] {
        Client::send(request).await.expect_problem(401, "unauthorized");
    }
}
