//! What browsers ask and are told: HEAD, OPTIONS, other origins, compression, protecting headers.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::world::{Client, World};

const ORIGIN: &str = "https://app.example.com";

async fn preflight(api: &Client, origin: &str, path: &str) -> (u16, HeaderMap) {
    let request = api
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,idempotency-key,content-type",
        );
    let reply = Client::send(request).await;
    (reply.status.as_u16(), reply.headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_get_route_answers_head_in_the_same_way_without_a_body() {
    let world = World::start().await;
    let api = world.api();
    let id = api.make_instance("headed").await;
    for path in [
        "/healthz".to_owned(),
        "/readyz".into(),
        "/metrics".into(),
        "/v1/instances".into(),
        format!("/v1/instances/{id}"),
        format!("/v1/instances/{id}/history"),
        format!("/v1/instances/{id}/qr"),
        format!("/v1/instances/{id}/messages"),
        "/v1/messages/msg_00000000000000000000000000".into(),
        "/v1/events?after=0".into(),
        "/v1/events/ws".into(),
        "/v1/webhooks".into(),
        "/v1/operator/actors".into(),
        "/v1/nowhere".into(),
    ] {
        let ask = |method: Method| {
            let request = api.request(method, &path).header("accept", "application/json");
            Client::send(request)
        };
        let (get, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
        assert_eq!(get.status, head.status, "{path}");
        assert_eq!(
            get.headers.get("content-type"),
            head.headers.get("content-type"),
            "{path}"
        );
        assert!(head.text.is_empty(), "{path}: {}", head.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_tells_the_methods_of_a_route() {
    let world = World::start().await;
    let api = world.api();
    for (path, allow) in [("/v1/instances", "GET,HEAD,POST"), ("/healthz", "GET,HEAD")] {
        let reply = Client::send(api.request(Method::OPTIONS, path)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.headers["allow"].to_str().unwrap()),
            (204, allow)
        );
        assert!(reply.headers.get("access-control-allow-origin").is_none());
    }
    let reply = Client::send(api.request(Method::OPTIONS, "/v1/nowhere")).await;
    reply.expect_problem(404, "not_found");
    let wrong = Client::send(api.request(Method::DELETE, "/v1/instances")).await;
    assert_eq!(wrong.headers["allow"], "GET,HEAD,POST");
    wrong.expect_problem(405, "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_call_only_when_they_are_configured() {
    let world = World::start().await;
    let api = world.api();
    let (_, headers) = preflight(&api, ORIGIN, "/v1/instances").await;
    assert!(
        headers
            .keys()
            .all(|name| !name.as_str().starts_with("access-control-"))
    );

    let world = World::start_with(&[("http.cors.allowed_origins", ORIGIN)]).await;
    let api = world.api();
    let (status, headers) = preflight(&world.client(None), ORIGIN, "/v1/instances").await;
    assert_eq!(status, 200);
    assert_eq!(headers["access-control-allow-origin"], ORIGIN);
    for (header, value) in [
        ("access-control-allow-methods", "PATCH"),
        ("access-control-allow-headers", "idempotency-key"),
        ("vary", "origin"),
    ] {
        let all: String = headers
            .get_all(header)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert!(all.contains(value), "{header}: {all}");
    }
    assert!(!headers.contains_key("access-control-allow-credentials"));
    for stranger in [
        "https://evil.example.com",
        "http://app.example.com",
        "null",
        "https://app.example.com.evil.com",
    ] {
        let (_, headers) = preflight(&api, stranger, "/v1/instances").await;
        assert!(!headers.contains_key("access-control-allow-origin"), "{stranger}");
    }
    // Refusals can be read too, or a page could not tell why.
    let refused = world
        .client(None)
        .request(Method::GET, "/v1/instances")
        .header("origin", ORIGIN);
    let refused = Client::send(refused).await;
    assert_eq!(
        (
            refused.status.as_u16(),
            &refused.headers["access-control-allow-origin"]
        ),
        (401, &ORIGIN.parse().unwrap())
    );
    assert!(
        refused.headers["access-control-expose-headers"]
            .to_str()
            .unwrap()
            .contains("retry-after")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_compressed_for_those_who_accept_it() {
    let world = World::start().await;
    let api = world.api();
    for n in 0..20 {
        api.make_instance(&format!("number {n}")).await;
    }
    let ask = |path: &'static str| {
        let request = api
            .request(Method::GET, path)
            .header("accept-encoding", "gzip, br, zstd");
        Client::send_for_bytes(request)
    };
    let (headers, bytes) = ask("/v1/instances").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(
        headers
            .get_all("vary")
            .iter()
            .any(|value| value.to_str().unwrap().contains("accept-encoding"))
    );
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(page["data"].as_array().unwrap().len(), 20);
    for short in ["/healthz", "/v1/instances?limit=1", "/v1/nowhere"] {
        assert!(!ask(short).await.0.contains_key("content-encoding"), "{short}");
    }
    let plain = api.get("/v1/instances").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let request = api
        .request(Method::GET, "/v1/events?after=0")
        .header("accept-encoding", "gzip");
    let stream = request.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(!stream.headers().contains_key("content-encoding"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_that_it_is_nothing_to_show_or_to_keep() {
    let world = World::start().await;
    let api = world.api();
    let made = api.post("/v1/instances", json!({"name": "x"})).await;
    let replies = [
        made,
        api.get("/v1/instances").await,
        api.get("/nowhere").await,
        api.get("/healthz").await,
        world.client(None).get("/v1/instances").await,
    ];
    for reply in replies {
        for (header, value) in [
            ("cache-control", "no-store"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(reply.headers[header], value, "{reply:?}");
        }
    }
}
