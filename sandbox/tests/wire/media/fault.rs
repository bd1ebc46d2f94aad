//! Faults that strike transfers.

use serde_json::{Value, json};

use super::{ADA, BOB, Host, name_of, noise, scene};
use crate::stage::{Stage, eventually};

#[tokio::test]
async fn a_status_is_answered_instead() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = host.uploaded("image", b"blob").await;
    let fault = json!({"kind": "media_status", "status": 503, "action": "upload", "count": 1});
    stage.fault(fault).await;
    assert_eq!(host.get(&path).await.status(), 200);
    assert_eq!(host.upload("image", b"blob").await.status(), 503);
    assert_eq!(host.upload("image", b"blob").await.status(), 200);
    // One that is meant for an account strikes those who show its token.
    for (number, status) in [(BOB, 200), (ADA, 500)] {
        let fault = json!({"kind": "media_status", "status": 500, "account": number});
        stage.fault(fault).await;
        let with_auth = format!("{path}?auth={}&token=x", host.auth);
        assert_eq!(host.get(&with_auth).await.status(), status, "{number}");
    }
    assert_eq!(host.get(&path).await.status(), 200);
}

#[tokio::test]
async fn half_an_upload_can_be_resumed() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(400_000);
    stage
        .fault(json!({"kind": "half_upload", "account": ADA, "count": 1}))
        .await;
    let url = host.upload_url("image", &name_of(&blob));
    assert!(host.http.post(&url).body(blob.clone()).send().await.is_err());
    eventually(|| async {
        let probe = host.http.post(format!("{url}&resume=1")).send().await.unwrap();
        let answer: Value = probe.json().await.unwrap();
        (answer["resume"] == json!("200000")).then_some(())
    })
    .await;
    let rest = host
        .http
        .post(format!("{url}&file_offset=200000"))
        .body(blob[200_000..].to_vec());
    assert_eq!(rest.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_slow_transfer_is_complete_in_the_end() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(200_000);
    stage
        .fault(json!({"kind": "slow_media", "bytes_per_second": 2_000_000}))
        .await;
    let path = host.uploaded("image", &blob).await;
    assert_eq!(host.get(&path).await.bytes().await.unwrap(), blob);
    let (_, faults) = stage.get("/faults").await;
    assert_eq!(faults["data"][0]["strikes"], 2);
}
