use std::time::Duration;

use reqwest::Method;
use roost::app::Listening;
use roost::config::{self, Layers};

use crate::world::{ALICE, Client, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_is_healthy_and_ready() {
    let world = World::start().await;
    let anyone = world.client(None);
    anyone.get("/healthz").await.expect(200);
    let ready = anyone.get("/readyz").await.expect(200);
    assert_eq!(ready["ready"], true);
    let parts: Vec<_> = ready["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(parts, ["gateway", "store", "sessions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_gateway_is_healthy_and_not_ready() {
    let options = vec![("http.listen", "127.0.0.1:0".to_owned(), "test")];
    let config = config::load(&Layers {
        options,
        ..Layers::default()
    })
    .unwrap();
    let listening = Listening::bind(config).await.unwrap();
    let base = format!("http://{}", listening.address());
    assert_eq!(
        reqwest::get(format!("{base}/healthz")).await.unwrap().status(),
        200
    );
    assert_eq!(
        reqwest::get(format!("{base}/readyz")).await.unwrap().status(),
        503
    );
    let call = reqwest::get(format!("{base}/v1/instances")).await.unwrap();
    assert_eq!(call.status(), 503);
    assert!(call.headers().contains_key("retry-after"));
    assert_eq!(
        call.json::<serde_json::Value>().await.unwrap()["code"],
        "unavailable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_requests_by_route_and_never_by_path() {
    let (world, api, id) = World::start_paired().await;
    api.get(&format!("/v1/instances/{id}")).await.expect(200);
    api.get("/nowhere/at/all").await.expect_problem(404, "not_found");
    let text = world.client(None).get("/metrics").await.text;
    assert!(
        text.contains(r#"roost_http_requests_total{route="/v1/instances/{id}",method="GET",status="200"}"#),
        "{text}"
    );
    assert!(text.contains(r#"route="unmatched""#));
    for secret in [id.as_str(), ALICE, "nowhere", api.key()] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id() {
    let world = World::start().await;
    let anyone = world.client(None);
    let sent = |id: &str| Client::send(anyone.request(Method::GET, "/healthz").header("x-request-id", id));
    assert_eq!(
        sent("trace-1.2:3/4").await.headers["x-request-id"],
        "trace-1.2:3/4"
    );
    let long = "x".repeat(129);
    for unusable in ["", "two words", "\"quoted\"", &long] {
        let reply = sent(unusable).await;
        assert!(
            reply.headers["x-request-id"]
                .to_str()
                .unwrap()
                .starts_with("req_"),
            "{unusable}"
        );
    }
    anyone
        .get("/v1/instances")
        .await
        .expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start_with(&[("http.header_timeout", "1s")]).await;
    let mut socket = tokio::net::TcpStream::connect(world.app().address())
        .await
        .unwrap();
    socket
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_in_the_same_data_folder_is_refused() {
    let world = World::start().await;
    let mut config = world.app().config().clone();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    let error = format!("{:#}", roost::app::App::start(config).await.err().unwrap());
    assert!(
        error.contains("another process") && error.contains("--data-dir"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said_with_what_to_do() {
    let world = World::start().await;
    let mut config = world.app().config().clone();
    config.http.listen = world.app().address();
    let error = format!("{:#}", Listening::bind(config).await.err().unwrap());
    assert!(error.contains("--listen") && error.contains("in use"), "{error}");
}
