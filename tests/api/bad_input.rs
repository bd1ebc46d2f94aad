use reqwest::Method;
use serde_json::json;

use crate::world::{Client, World};

const POST: &str = "POST";
const GET: &str = "GET";

/// Method, path, body, status, code, pointer.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    u16,
    &'static str,
    Option<&'static str>,
);

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Bodies that are no JSON, or not of the shape.
    (POST, "/v1/instances", "", 400, "invalid_body", Some("/name")),
    (POST, "/v1/instances", "{", 400, "invalid_body", Some("")),
    (POST, "/v1/instances", "null", 400, "invalid_body", Some("")),
    (POST, "/v1/instances", "[]", 400, "invalid_body", Some("")),
    (POST, "/v1/instances", "{\"name\":\"a\"} {}", 400, "invalid_body", Some("")),
    (POST, "/v1/instances", r#"{"name":5}"#, 400, "invalid_body", Some("/name")),
    (POST, "/v1/instances", r#"{"name":"a","nmae":1}"#, 400, "invalid_body", Some("/nmae")),
    (POST, "/v1/instances", r#"{"name":"a","name":"b"}"#, 400, "invalid_body", None),
    (POST, "/v1/instances", r#"{"name":"\ud800"}"#, 400, "invalid_body", None),
    (POST, "/v1/instances", r#"{"name":"a","proxy":[]}"#, 400, "invalid_body", Some("/proxy")),
    // Values that cannot be accepted.
    (POST, "/v1/instances", r#"{"name":""}"#, 422, "validation_failed", Some("/name")),
    (POST, "/v1/instances", r#"{"name":"a\u0000b"}"#, 422, "validation_failed", Some("/name")),
    (POST, "/v1/instances", r#"{"name":"a\nb"}"#, 422, "validation_failed", Some("/name")),
    (POST, "/v1/instances", r#"{"name":"a","proxy":"nonsense"}"#, 422, "validation_failed", Some("/proxy")),
    (POST, "/v1/instances", r#"{"name":"a","proxy":"ftp://host:1"}"#, 422, "validation_failed", Some("/proxy")),
    (POST, "/v1/instances", r#"{"name":"a","proxy":"socks5://"}"#, 422, "validation_failed", Some("/proxy")),
    ("PATCH", "/v1/instances/{ins}", r#"{"name":null}"#, 422, "validation_failed", Some("/name")),
    ("PATCH", "/v1/instances/{ins}", r#"{"name":""}"#, 422, "validation_failed", Some("/name")),
    ("PATCH", "/v1/instances/{ins}", r#"{"state":"connected"}"#, 400, "invalid_body", Some("/state")),
    ("PATCH", "/v1/instances/{ins}", r#"{"proxy":"nonsense"}"#, 422, "validation_failed", Some("/proxy")),
    (POST, "/v1/instances/{ins}/connect", r#"{"method":"telepathy"}"#, 400, "invalid_body", Some("/method")),
    (POST, "/v1/instances/{ins}/connect", r#"{"method":"code"}"#, 422, "validation_failed", Some("/phone_number")),
    (POST, "/v1/instances/{ins}/connect", r#"{"method":"code","phone_number":"12"}"#, 422, "validation_failed", Some("/phone_number")),
    (POST, "/v1/instances/{ins}/connect", r#"{"method":"code","phone_number":"+0151"}"#, 422, "validation_failed", Some("/phone_number")),
    (POST, "/v1/instances/{ins}/connect", r#"{"method":"qr","phone_number":"+4915550001"}"#, 422, "validation_failed", Some("/phone_number")),
    (POST, "/v1/instances/{ins}/connect", r#"{"phone_number":"+4915550001"}"#, 422, "validation_failed", Some("/phone_number")),
    (POST, "/v1/instances/{ins}/disconnect", r#"{"force":true}"#, 400, "invalid_body", Some("/force")),
    (POST, "/v1/instances/{ins}/messages", r#"{"type":"text","text":{"body":"x"}}"#, 400, "invalid_body", Some("/to")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","text":{"body":"x"}}"#, 400, "invalid_body", Some("/type")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"me","type":"text","text":{"body":"x"}}"#, 422, "validation_failed", Some("/to")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"","type":"text","text":{"body":"x"}}"#, 422, "validation_failed", Some("/to")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002@example.org","type":"text","text":{"body":"x"}}"#, 422, "validation_failed", Some("/to")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"image","text":{"body":"x"}}"#, 422, "validation_failed", Some("/type")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"text"}"#, 422, "validation_failed", Some("/text")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"text","text":{"body":""}}"#, 422, "validation_failed", Some("/text/body")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"text","text":{"body":1}}"#, 400, "invalid_body", Some("/text/body")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"text","text":{"body":"x","bold":1}}"#, 400, "invalid_body", Some("/text/bold")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"text","text":{"body":"x"},"reply_to":"msg_x"}"#, 422, "validation_failed", Some("/reply_to")),
    (POST, "/v1/instances/{ins}/messages", r#"{"to":"4915550002","type":"text","text":{"body":"x"},"reply_to":""}"#, 422, "validation_failed", Some("/reply_to")),
    // Queries.
    (POST, "/v1/instances/{ins}/messages?wait=forever", MESSAGE, 422, "validation_failed", Some("/query/wait")),
    (POST, "/v1/instances/{ins}/messages?wait=server_ack&timeout_ms=0", MESSAGE, 422, "validation_failed", Some("/query/timeout_ms")),
    (POST, "/v1/instances/{ins}/messages?wait=server_ack&timeout_ms=99999999", MESSAGE, 422, "validation_failed", Some("/query/timeout_ms")),
    (POST, "/v1/instances/{ins}/messages?timeout_ms=5", MESSAGE, 422, "validation_failed", Some("/query/timeout_ms")),
    (GET, "/v1/instances?limit=0", "", 422, "validation_failed", Some("/query/limit")),
    (GET, "/v1/instances?limit=501", "", 422, "validation_failed", Some("/query/limit")),
    (GET, "/v1/instances?limit=1&limit=2", "", 422, "validation_failed", Some("/query/limit")),
    (GET, "/v1/instances?colour=red", "", 422, "validation_failed", Some("/query/colour")),
    (GET, "/v1/instances?cursor=nonsense", "", 400, "invalid_cursor", Some("/query/cursor")),
    (GET, "/v1/instances?cursor=", "", 400, "invalid_cursor", Some("/query/cursor")),
    (GET, "/v1/instances/{ins}/history?cursor=AAAA", "", 400, "invalid_cursor", Some("/query/cursor")),
    (GET, "/v1/instances/{ins}/messages?direction=up", "", 422, "validation_failed", Some("/query/direction")),
    (GET, "/v1/instances/{ins}/messages?status=lost", "", 422, "validation_failed", Some("/query/status")),
    (GET, "/v1/instances/{ins}/messages?chat=me", "", 422, "validation_failed", Some("/query/chat")),
    (POST, "/v1/instances?dry_run=1", r#"{"name":"a"}"#, 422, "validation_failed", Some("/query/dry_run")),
    ("DELETE", "/v1/instances/{ins}?force=1", "", 422, "validation_failed", Some("/query/force")),
    (GET, "/v1/instances/{ins}/qr?size=9", "", 422, "validation_failed", Some("/query/size")),
    // Ids and routes.
    (GET, "/v1/instances/nonsense", "", 404, "not_found", None),
    (GET, "/v1/instances/msg_00000000000000000000000000", "", 404, "not_found", None),
    (GET, "/v1/instances/ins_00000000000000000000000000", "", 404, "not_found", None),
    (GET, "/v1/instances/%ff", "", 404, "not_found", None),
    (GET, "/v1/messages/msg_00000000000000000000000000", "", 404, "not_found", None),
    (POST, "/v1/instances/ins_00000000000000000000000000/messages", MESSAGE, 404, "not_found", None),
    (POST, "/v1/instances/ins_00000000000000000000000000/connect", r#"{"method":"qr"}"#, 404, "not_found", None),
    (GET, "/v1/nowhere", "", 404, "not_found", None),
    (GET, "/", "", 404, "not_found", None),
    ("PUT", "/v1/instances", "{}", 405, "method_not_allowed", None),
    ("DELETE", "/v1/events", "", 405, "method_not_allowed", None),
    (POST, "/healthz", "", 405, "method_not_allowed", None),
    // States.
    (GET, "/v1/instances/{ins}/qr", "", 409, "wrong_state", None),
    (GET, "/v1/instances/{ins}/pairing-code", "", 409, "wrong_state", None),
    (POST, "/v1/instances/{ins}/connect", "{}", 422, "validation_failed", Some("/method")),
    (POST, "/v1/instances/{ins}/messages", MESSAGE, 409, "wrong_state", None),
    (POST, "/v1/instances/{ins}/logout", "", 409, "wrong_state", None),
];

const MESSAGE: &str = r#"{"to":"4915550002","type":"text","text":{"body":"x"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_gets_its_own_problem() {
    let world = World::start().await;
    let api = world.api();
    let id = api.make_instance("never connected").await;
    let before = api.events(0, "").await.len();
    for &(method, path, body, status, code, pointer) in CASES {
        let mut request = api.request(method.parse::<Method>().unwrap(), &path.replace("{ins}", &id));
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
            assert!(
                problem["errors"][0]["detail"].is_string() && problem["errors"][0]["code"].is_string(),
                "{case}"
            );
        }
    }
    // Nothing of it was written.
    assert_eq!(api.events(0, "").await.len(), before);
    assert_eq!(
        api.get("/v1/instances").await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_have_at_most_a_hundred_characters() {
    let world = World::start().await;
    let api = world.api();
    api.post("/v1/instances", json!({"name": "ä".repeat(100)}))
        .await
        .expect(201);
    let problem = api
        .post("/v1/instances", json!({"name": "ä".repeat(101)}))
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_the_wrong_type_or_length_is_refused() {
    let world = World::start_with(&[("http.body_bytes_max", "1KiB")]).await;
    let api = world.api();
    let post = || api.request(Method::POST, "/v1/instances");
    let body = r#"{"name":"x"}"#;
    for content_type in [
        "text/plain",
        "application/xml",
        "application/json; charset=latin1",
        "nonsense",
    ] {
        let reply = Client::send(post().header("content-type", content_type).body(body)).await;
        reply.expect_problem(415, "unsupported_media_type");
    }
    Client::send(post().body(body))
        .await
        .expect_problem(415, "unsupported_media_type");
    let zipped = post()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(body);
    Client::send(zipped)
        .await
        .expect_problem(415, "unsupported_media_type");
    for content_type in ["application/json", "Application/JSON; charset=UTF-8"] {
        Client::send(post().header("content-type", content_type).body(body))
            .await
            .expect(201);
    }
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(2000));
    Client::send(
        post()
            .header("content-type", "application/json")
            .body(long.clone()),
    )
    .await
    .expect_problem(413, "payload_too_large");
    // Without a length in the head too.
    let chunks = futures::stream::iter(
        long.into_bytes()
            .chunks(100)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let streamed = post()
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    Client::send(streamed)
        .await
        .expect_problem(413, "payload_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_is_refused_without_a_crash() {
    let world = World::start().await;
    let api = world.api();
    let body = format!("{{\"name\":{}", "[".repeat(100_000));
    let request = api
        .request(Method::POST, "/v1/instances")
        .header("content-type", "application/json")
        .body(body);
    Client::send(request).await.expect_problem(400, "invalid_body");
    api.get("/v1/instances").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_an_unknown_message_is_refused() {
    let (_world, api, id) = World::start_paired().await;
    for reply_to in ["msg_00000000000000000000000000", "3EB0UNHEARDOF"] {
        let body = json!({"to": "4915550002", "type": "text", "text": {"body": "x"}, "reply_to": reply_to});
        let problem = api
            .post(&format!("/v1/instances/{id}/messages"), body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], "/reply_to");
    }
}
