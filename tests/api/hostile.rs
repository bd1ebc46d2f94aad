//! A corpus of hostile requests: every answer is a problem with a code, or a bare refusal where it is
//! HTTP itself that is broken; nothing is a fault of the gateway.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::raw::{connect, exchange, until_closed};
use crate::world::{Client, Reply, World};

const REQUESTS: &str = include_str!("hostile/requests.json");
const PATHS: &str = include_str!("hostile/paths.json");
const VALUES: &str = include_str!("hostile/values.json");

/// Every call with a body, and one that would be valid.
const CALLS: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/v1/instances",
        r#"{"name":"a","proxy":"socks5://127.0.0.1:1","create_key":false,"pacing":{"messages_per_minute":60,"jitter_percent":1,"typing":true},"policy":{"reply_only":true}}"#,
    ),
    (
        "PATCH",
        "/v1/instances/{ins}",
        r#"{"name":"a","proxy":"socks5://127.0.0.1:1","pacing":{"messages_per_minute":60,"jitter_percent":1,"typing":true},"policy":{"reply_only":true}}"#,
    ),
    (
        "POST",
        "/v1/instances/{ins}/connect",
        r#"{"method":"code","phone_number":"+4915550009"}"#,
    ),
    ("POST", "/v1/instances/{ins}/disconnect", "{}"),
    ("POST", "/v1/instances/{ins}/logout", "{}"),
    (
        "POST",
        "/v1/instances/{ins}/messages",
        r#"{"to":"4915550002","type":"text","text":{"body":"x"},"reply_to":"3EB0"}"#,
    ),
    ("POST", "/v1/messages/msg_00000000000000000000000000/read", "{}"),
    (
        "POST",
        "/v1/events",
        r#"{"type":"custom.a","data":{"a":1},"chat":"4915550002","instance_id":"{ins}"}"#,
    ),
    (
        "POST",
        "/v1/webhooks",
        r#"{"url":"http://127.0.0.1:19009/","events":["*"],"instances":["{ins}"],"chats":["4915550002"],"mode":"ordered","headers":{"x-a":"b"},"max_concurrency":1,"rate_per_second":1,"api_version":"x","legacy_signature":false,"description":"a","secret":"whsec_x"}"#,
    ),
    (
        "PATCH",
        "/v1/webhooks/{whk}",
        r#"{"url":"http://127.0.0.1:19009/","events":["*"],"instances":["{ins}"],"chats":["4915550002"],"mode":"ordered","headers":{"x-a":"b"},"max_concurrency":1,"rate_per_second":1,"api_version":"x","legacy_signature":false,"description":"a"}"#,
    ),
    ("POST", "/v1/webhooks/{whk}/pause", "{}"),
    ("POST", "/v1/webhooks/{whk}/resume", "{}"),
    (
        "POST",
        "/v1/webhooks/{whk}/rotate-secret",
        r#"{"secret":"whsec_x","overlap_seconds":1}"#,
    ),
    ("POST", "/v1/webhooks/{whk}/test", "{}"),
    (
        "POST",
        "/v1/webhooks/{whk}/replay",
        r#"{"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:00:00Z","event_ids":["evt_00000000000000000000000000"],"failed_since":"2026-01-01T00:00:00Z"}"#,
    ),
    (
        "POST",
        "/v1/webhooks/{whk}/dead-letters/redrive",
        r#"{"delivery_ids":["dlv_x"],"all":true}"#,
    ),
    ("POST", "/v1/deliveries/dlv_x/retry", "{}"),
    (
        "POST",
        "/v1/api-keys",
        r#"{"name":"a","scopes":["messages:send"],"instances":["{ins}"],"allowed_networks":["203.0.113.0/24"],"calls_per_minute":1,"expires_at":"2036-01-01T00:00:00Z"}"#,
    ),
    (
        "PATCH",
        "/v1/api-keys/{key}",
        r#"{"name":"a","scopes":["messages:send"],"instances":["{ins}"],"allowed_networks":["203.0.113.0/24"],"calls_per_minute":1,"expires_at":"2036-01-01T00:00:00Z"}"#,
    ),
    ("POST", "/v1/api-keys/{key}/rotate", r#"{"overlap_seconds":1}"#),
    (
        "POST",
        "/v1/stream-tokens",
        r#"{"ttl_seconds":1,"types":["message.*"],"instances":["{ins}"]}"#,
    ),
];

/// Fields in which any JSON may stand.
const FREE: &[&str] = &["/data", "/data/a"];
const HERE: &str = "@@here@@";

/// What no answer may be: a fault of the gateway, or a refusal that does not say what is wrong.
#[track_caller]
fn judge(what: &str, reply: &Reply) {
    let status = reply.status.as_u16();
    assert!(status < 500, "{what}: {} {}", reply.status, reply.text);
    if status < 400 {
        return;
    }
    let problem = reply.json();
    assert_eq!(
        reply.headers["content-type"], "application/problem+json",
        "{what}"
    );
    assert!(
        problem["code"].is_string() && problem["request_id"].is_string(),
        "{what}: {problem}"
    );
    assert_eq!(problem["status"], status, "{what}");
}

struct Ground {
    world: World,
    api: Client,
    instance: String,
    webhook: String,
    key: String,
}

impl Ground {
    async fn new() -> Self {
        let world = World::start().await;
        let api = world.api();
        let instance = api.make_instance("target").await;
        let webhook = api
            .make_webhook("http://127.0.0.1:19009/", json!({"events": ["instance.qr"]}))
            .await;
        let webhook = webhook["id"].as_str().unwrap().to_owned();
        let key = json!({"name": "target", "scopes": ["instances:read"]});
        let key = api.post("/v1/api-keys", key).await.expect(201);
        let key = key["id"].as_str().unwrap().to_owned();
        Self {
            world,
            api,
            instance,
            webhook,
            key,
        }
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{ins}", &self.instance)
            .replace("{whk}", &self.webhook)
            .replace("{key}", &self.key)
    }

    async fn call(&self, method: &str, path: &str, body: String) -> Reply {
        let request = self
            .api
            .request(method.parse().unwrap(), &self.filled(path))
            .header("content-type", "application/json")
            .body(body);
        Client::send(request).await
    }
}

fn is_wrong_kind(usual: &Value, value: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(value) else {
        return true;
    };
    match usual {
        Value::String(_) => !value.is_string() && !value.is_null(),
        Value::Bool(_) => !value.is_boolean() && !value.is_null(),
        Value::Number(_) => !value.is_u64() && !value.is_null(),
        Value::Array(_) => !value.is_array() && !value.is_null(),
        Value::Object(_) => !value.is_object() && !value.is_null(),
        Value::Null => false,
    }
}

/// Pointers of everything in a value.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let mut below = |key: String, value: &Value| {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, all);
        all.push(pointer);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| below(key.clone(), value)),
        Value::Array(entries) => (0..)
            .zip(entries)
            .for_each(|(n, value): (usize, _)| below(n.to_string(), value)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_call_takes_hostile_values() {
    let ground = Ground::new().await;
    let mut values: Vec<String> = serde_json::from_str(VALUES).unwrap();
    values.push(format!("\"{}\"", "x".repeat(100_000)));
    values.push(format!("\"{}\"", "\u{1F469}\u{200D}".repeat(10_000)));
    values.push("[".repeat(10_000));
    values.push(format!("{}{}", "[".repeat(127), "]".repeat(127)));
    values.push(format!("{}1{}", "{\"a\":".repeat(1_000), "}".repeat(1_000)));
    values.push(format!("[{}1]", "1,".repeat(50_000)));
    values.push("9".repeat(100_000));
    for &(method, path, body) in CALLS {
        let usual: Value = serde_json::from_str(&ground.filled(body)).unwrap();
        let mut all = vec![String::new()];
        pointers(&usual, "", &mut all);
        for pointer in all {
            for value in &values {
                let mut body = usual.clone();
                *body.pointer_mut(&pointer).unwrap() = json!(HERE);
                let body = body.to_string().replace(&format!("\"{HERE}\""), value);
                let what = format!("{method} {path} {pointer} = {value:.60}");
                let reply = ground.call(method, path, body).await;
                judge(&what, &reply);
                let wrong =
                    is_wrong_kind(usual.pointer(&pointer).unwrap(), value) && !FREE.contains(&&*pointer);
                assert!(!wrong || reply.status.as_u16() >= 400, "{what}: {}", reply.status);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_comes_twice_or_is_not_known_is_refused_wherever_it_is() {
    let ground = Ground::new().await;
    // An id that is none is refused before the body is read.
    for &(method, path, body) in CALLS.iter().filter(|call| !call.1.contains("dlv_x")) {
        let body = ground.filled(body);
        let usual: Value = serde_json::from_str(&body).unwrap();
        let unknown = body.replacen('{', if body == "{}" { "{\"zzz\":1" } else { "{\"zzz\":1," }, 1);
        let reply = ground.call(method, path, unknown).await;
        assert_eq!(
            reply.expect_problem(400, "invalid_body")["errors"][0]["pointer"],
            "/zzz"
        );
        for (key, value) in usual.as_object().unwrap() {
            let twice = body.replacen('{', &format!("{{\"{key}\":{value},"), 1);
            ground
                .call(method, path, twice)
                .await
                .expect_problem(400, "invalid_body");
        }
    }
    for (method, path, body) in [
        (
            "POST",
            "/v1/instances/{ins}/messages",
            r#"{"to":"4915550002","type":"text","text":{"body":"x","body":"y"}}"#,
        ),
        (
            "POST",
            "/v1/webhooks",
            r#"{"url":"http://127.0.0.1:19009/","events":["*"],"headers":{"x-a":"b","x-a":"c"}}"#,
        ),
        (
            "POST",
            "/v1/webhooks",
            r#"{"url":"http://127.0.0.1:19009/","events":["*"],"headers":{"x-a":"b","X-A":"c"}}"#,
        ),
        (
            "PATCH",
            "/v1/webhooks/{whk}",
            r#"{"headers":{"x-a":"b","x-a":"c"}}"#,
        ),
        (
            "POST",
            "/v1/events",
            r#"{"type":"custom.a","data":{"a":1,"a":2}}"#,
        ),
        (
            "POST",
            "/v1/events",
            r#"{"type":"custom.a","data":[{"b":{"a":1,"\u0061":2}}]}"#,
        ),
    ] {
        let reply = ground.call(method, path, body.into()).await;
        assert!(
            [400, 422].contains(&reply.status.as_u16()),
            "{body}: {}",
            reply.text
        );
        judge(body, &reply);
    }
}

#[derive(Deserialize)]
struct Broken {
    name: String,
    /// Characters are bytes.
    text: String,
    statuses: Vec<u16>,
    /// How many answers may come: what was hidden in a body is not answered.
    answers: usize,
    /// Whether a key is added.
    #[serde(default)]
    key: bool,
    /// Whether the client stops sending.
    #[serde(default)]
    ends: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_http_is_refused_and_hides_nothing() {
    let world = World::start().await;
    let corpus: Vec<Broken> = serde_json::from_str(REQUESTS).unwrap();
    for broken in corpus {
        let key = format!("host: x\r\nx-api-key: {}\r\n", world.api().key());
        let text = if broken.key {
            broken.text.replace("host: x\r\n", &key)
        } else {
            broken.text
        };
        let bytes: Vec<u8> = text
            .chars()
            .map(|char| u8::try_from(u32::from(char)).unwrap())
            .collect();
        let answer = if broken.ends {
            let mut stream = connect(&world).await;
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&until_closed(&mut stream).await).into_owned()
        } else {
            exchange(&world, &bytes).await
        };
        let name = broken.name;
        assert!(!answer.contains("smuggled"), "{name}: {answer}");
        let answers = answer.matches("HTTP/1.1 ").count();
        // A clean close says as much.
        assert!(answers <= broken.answers, "{name}: {answer}");
        if let Some(status) = answer.strip_prefix("HTTP/1.1 ") {
            let status: u16 = status[..3].parse().unwrap();
            assert!(broken.statuses.contains(&status), "{name}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                body.is_empty() || head.contains("application/problem+json"),
                "{name}: {answer}"
            );
        }
    }
    world.api().get("/v1/instances").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_try_tricks_name_nothing() {
    let world = World::start().await;
    let (key, operator) = (
        world.api().key().to_owned(),
        world.operator().await.key().to_owned(),
    );
    let tricks: Vec<String> = serde_json::from_str(PATHS).unwrap();
    let long = "a".repeat(20_000);
    let tricks = tricks
        .iter()
        .map(String::as_str)
        .chain(["\u{e9}", "\u{202e}", &long]);
    let mut paths = vec![
        "//".to_owned(),
        "/.".into(),
        "/v1".into(),
        "/v1/".into(),
        "/V1/instances".into(),
    ];
    for path in [
        "//v1/instances",
        "/v1//instances",
        "/v1/./instances",
        "/v1/instances/",
        "/v1/instances%2f",
    ] {
        paths.push(path.to_owned());
    }
    for path in [
        "/%761/instances",
        "/v1/instances;x",
        "/v1/instances%00",
        "/v1/instances%20",
        "/v1%2finstances",
    ] {
        paths.push(path.to_owned());
    }
    for trick in tricks {
        for (before, after) in [
            ("/v1/instances/", ""),
            ("/v1/instances/", "/messages"),
            ("/v1/instances/", "/qr"),
            ("/v1/messages/", ""),
            ("/v1/webhooks/", "/deliveries"),
            ("/v1/deliveries/", ""),
            ("/v1/operator/actors/", ""),
            ("/v1/", ""),
            ("/", ""),
        ] {
            paths.push(format!("{before}{trick}{after}"));
        }
    }
    for path in paths {
        let key = if path.starts_with("/v1/operator") {
            &operator
        } else {
            &key
        };
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n");
        let answer = exchange(&world, request.as_bytes()).await;
        let status = answer
            .get(9..12)
            .unwrap_or_else(|| panic!("{path:.80}: no answer"));
        // The root of a list of actors is the list; everything else names nothing.
        let fine = ["400", "404", "405", "414", "431"].contains(&status);
        assert!(fine, "{path:.80}: {answer:.300}");
        assert!(!answer.to_ascii_lowercase().contains("\r\nx-injected"), "{path}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            body.is_empty() || head.contains("application/problem+json"),
            "{path}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_queries_take_hostile_values() {
    let ground = Ground::new().await;
    let long = "a".repeat(20_000);
    let texts: [&[u8]; 14] = [
        b"",
        b" ",
        b"\xff\xfe",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"a\tb",
        b"\"",
        b"rst_",
        b"rst__",
        b"Bearer",
        b"*/*;q=nonsense, ;;;,,,",
        b"99999999999999999999999999",
        b"-1",
        long.as_bytes(),
    ];
    for header in [
        "authorization",
        "x-api-key",
        "accept",
        "accept-encoding",
        "content-type",
        "content-encoding",
        "idempotency-key",
        "last-event-id",
        "x-request-id",
        "x-forwarded-for",
        "forwarded",
        "origin",
        "range",
        "if-none-match",
        "expect",
        "te",
        "upgrade",
        "sec-websocket-key",
        "cookie",
    ] {
        for text in texts {
            for (method, path) in [
                ("POST", "/v1/instances"),
                ("GET", "/v1/events/ws"),
                ("GET", "/v1/instances"),
            ] {
                let mut request =
                    format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").into_bytes();
                if !["authorization", "x-api-key"].contains(&header) {
                    request.extend(format!("x-api-key: {}\r\n", ground.api.key()).bytes());
                }
                request.extend([header.as_bytes(), b": ", text, b"\r\n\r\n"].concat());
                let answer = exchange(&ground.world, &request).await;
                let what = format!(
                    "{method} {path} {header}: {:.40}",
                    text.escape_ascii().to_string()
                );
                let status = answer.get(9..12).unwrap_or_else(|| panic!("{what}: no answer"));
                assert!(status < "500", "{what}: {answer}");
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                let told = body.is_empty() || status < "400" || head.contains("application/problem+json");
                assert!(told, "{what}: {answer}");
            }
        }
    }
    let megabyte = "a".repeat(1 << 20);
    for head in [
        format!("GET /v1/instances/{megabyte} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /v1/instances?cursor={megabyte} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /v1/instances HTTP/1.1\r\nhost: x\r\nx-api-key: {megabyte}\r\n\r\n"),
        format!("GET /v1/instances HTTP/1.1\r\nhost: x\r\n{megabyte}: 1\r\n\r\n"),
        format!("{megabyte} /v1/instances HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        let answer = exchange(&ground.world, head.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 414"),
            "{answer:.200}"
        );
    }
    for path in [
        "/v1/instances",
        "/v1/events",
        "/v1/instances/{ins}/messages",
        "/v1/webhooks/{whk}/deliveries",
    ] {
        for parameter in [
            "limit",
            "cursor",
            "after",
            "wait_ms",
            "types",
            "instance_id",
            "chat",
            "status",
            "nothing",
            "",
        ] {
            for text in texts {
                let text: String = text.iter().map(|byte| format!("%{byte:02x}")).collect();
                let path = ground.filled(&format!("{path}?{parameter}={text:.6000}"));
                let request = ground
                    .api
                    .request(Method::GET, &path)
                    .header("accept", "application/json");
                judge(&format!("{path:.120}"), &Client::send(request).await);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_its_own_list_and_tenant_alone() {
    let ground = Ground::new().await;
    let (api, stranger) = (&ground.api, ground.world.stranger().await);
    for client in [api, &stranger] {
        client.make_instance("one").await;
        client.make_instance("two").await;
    }
    let page = async |client: &Client, path: &str| client.get(path).await.expect(200)["next_cursor"].clone();
    let own = page(api, "/v1/instances?limit=1")
        .await
        .as_str()
        .unwrap()
        .to_owned();
    let theirs = page(&stranger, "/v1/instances?limit=1")
        .await
        .as_str()
        .unwrap()
        .to_owned();
    api.get(&format!("/v1/instances?limit=1&cursor={own}"))
        .await
        .expect(200);
    let mut forged = vec![
        theirs,
        own.to_uppercase(),
        format!("{own}A"),
        format!("{own}="),
        format!("{own}{own}"),
    ];
    forged.extend((0..own.len()).map(|end| own[..end].to_owned()));
    forged.extend((0..own.len()).step_by(3).map(|at| {
        let mut bytes = own.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }));
    let mut places_changed = 0;
    for cursor in forged {
        let reply = api.get(&format!("/v1/instances?limit=1&cursor={cursor}")).await;
        // A place that was changed into another of the same list is a place of that list.
        if reply.status == 200 {
            places_changed += 1;
            continue;
        }
        reply.expect_problem(400, "invalid_cursor");
    }
    assert!(places_changed < own.len() / 3, "a cursor is checked");
    for path in [
        "/v1/webhooks?",
        "/v1/instances/{ins}/history?",
        "/v1/instances/{ins}/messages?",
        "/v1/webhooks/{whk}/deliveries?",
        "/v1/webhooks/{whk}/dead-letters?",
    ] {
        let reply = api.get(&ground.filled(&format!("{path}cursor={own}"))).await;
        reply.expect_problem(400, "invalid_cursor");
    }
}
