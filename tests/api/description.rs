use reqwest::Method;
use serde_json::Value;

use crate::world::contract::DOCUMENT;
use crate::world::{Client, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_to_anybody_and_told_unchanged() {
    let world = World::start().await;
    let nobody = world.client(None);
    let first = nobody.get("/openapi.json").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.headers["content-type"], "application/json");
    let tag = first.headers["etag"].clone();
    assert_eq!(first.json(), *DOCUMENT);
    let request = nobody.request(Method::GET, "/openapi.json");
    let again = Client::send(request.header("if-none-match", &tag)).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.headers["etag"], tag);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewer_may_fetch_nothing_from_elsewhere() {
    let world = World::start().await;
    let nobody = world.client(None);
    let page = nobody.get("/docs").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let files: Vec<&str> = page.text.split("\"docs/").skip(1).collect();
    assert_eq!(files.len(), 3, "{}", page.text);
    for file in files {
        let path = format!("/docs/{}", file.split('"').next().unwrap());
        let request = nobody
            .request(Method::GET, &path)
            .header("accept-encoding", "gzip");
        let answer = Client::send(request).await;
        assert_eq!(answer.status, 200, "{path}");
        for answer in [&page, &answer] {
            let policy = answer.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
            assert!(!policy.contains("http") && !policy.contains("unsafe"), "{policy}");
        }
    }
    nobody
        .get("/docs/secret.js")
        .await
        .expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_switch_both_off() {
    let world = World::start_with(&[("http.docs", "false")]).await;
    for path in ["/openapi.json", "/docs", "/docs/start.js"] {
        let answer = world.client(None).get(path).await;
        answer.expect_problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_shows_the_bounds_of_its_gateway() {
    let options = [("http.wait_max", "20s"), ("webhooks.concurrency_max", "50")];
    let world = World::start_with(&options).await;
    let document = world.client(None).get("/openapi.json").await.expect(200);
    let parameters = &document["paths"]["/v1/events"]["get"]["parameters"];
    let bound = |name: &str| -> Value {
        let mut all = parameters.as_array().unwrap().iter();
        all.find(|parameter| parameter["name"] == name).unwrap()["schema"]["maximum"].clone()
    };
    assert_eq!(bound("wait_ms"), 20_000);
    let schema = &document["components"]["schemas"]["CreateWebhook"];
    assert_eq!(schema["properties"]["max_concurrency"]["maximum"], 50);
}
