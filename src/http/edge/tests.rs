use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;
use crate::config::{self, Layers};
use crate::http::metrics;
use crate::system::{OsEntropy, SystemClock};

fn router(options: &[(&'static str, &str)], routes: Router<Http>) -> Router {
    let options = options
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned(), "test"))
        .collect();
    let config = config::load(&Layers {
        options,
        ..Layers::default()
    })
    .unwrap();
    let http = Http::new(
        config.http,
        config.webhooks,
        Arc::new(SystemClock),
        Arc::new(OsEntropy),
        metrics::recorder().unwrap(),
    );
    routes
        .layer(axum::middleware::from_fn_with_state(http.clone(), edge))
        .with_state(http)
}

async fn get_problem(router: &Router, path: &str) -> (u16, Value) {
    let request = Request::get(path)
        .header("x-request-id", "test-1")
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "test-1");
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let problem: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(problem["request_id"], "test-1");
    (status, problem)
}

#[tokio::test]
async fn a_panic_is_answered_500_and_tells_nothing_of_it() {
    let broken = async || -> () { panic!("a secret") };
    let router = router(&[], Router::new().route("/broken", get(broken)));
    let (status, problem) = get_problem(&router, "/broken").await;
    assert_eq!((status, problem["code"].as_str()), (500, Some("internal")));
    assert!(!problem.to_string().contains("secret"), "{problem}");
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_and_probes_are_not() {
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
        async move || {
            begun.notify_one();
            end.notified().await;
        }
    };
    let routes = Router::new()
        .route("/slow", get(slow))
        .route("/healthz", get(async || ()));
    let router = router(&[("http.requests_max", "1")], routes);
    let first = tokio::spawn(
        router
            .clone()
            .oneshot(Request::get("/slow").body(Body::empty()).unwrap()),
    );
    begun.notified().await;
    let (status, problem) = get_problem(&router, "/slow").await;
    assert_eq!((status, problem["retryable"].as_bool()), (429, Some(true)));
    let probe = router
        .clone()
        .oneshot(Request::get("/healthz").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(probe.status(), 200);
    end.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_answered_504() {
    let never = async || tokio::time::sleep(Duration::from_secs(3600)).await;
    let router = router(&[], Router::new().route("/never", get(never)));
    let (status, problem) = get_problem(&router, "/never").await;
    assert_eq!((status, problem["code"].as_str()), (504, Some("timeout")));
}
