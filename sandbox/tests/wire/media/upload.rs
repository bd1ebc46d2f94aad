//! Uploading.

use futures::StreamExt;
use reqwest::Body;
use roost_sandbox::server::SandboxConfig;
use serde_json::{Value, json};

use super::{Host, media_conn, name_of, noise, scene};
use crate::stage::{Stage, eventually};

#[tokio::test]
async fn what_is_uploaded_can_be_fetched_by_url_and_by_direct_path() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(300_000);
    let answer: Value = host.upload("image", &blob).await.json().await.unwrap();
    assert!(!answer["handle"].as_str().unwrap().is_empty());
    let url = answer["url"].as_str().unwrap();
    let path = answer["direct_path"].as_str().unwrap();
    assert!(
        url.starts_with(&format!("https://{}{path}", host.name)),
        "{answer}"
    );
    assert_eq!(
        host.http.get(url).send().await.unwrap().bytes().await.unwrap(),
        blob
    );
    assert_eq!(host.get(path).await.bytes().await.unwrap(), blob);
    let (_, listed) = stage.get("/media").await;
    assert_eq!(listed["bytes_stored"], 300_000);
    let file = &listed["data"][0];
    assert_eq!(
        (
            &file["direct_path"],
            &file["bytes"],
            &file["uploaded_by"],
            &file["expired"]
        ),
        (&json!(path), &json!(300_000), &json!(super::ADA), &json!(false))
    );
}

#[tokio::test]
async fn the_same_bytes_are_stored_once() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(1_000);
    let first = host.uploaded("image", &blob).await;
    assert_eq!(host.uploaded("image", &blob).await, first);
    let probe = format!("{}&resume=1", host.upload_url("image", &name_of(&blob)));
    let answer: Value = host.http.post(probe).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&answer["resume"], &answer["direct_path"]),
        (&json!("complete"), &json!(first))
    );
    assert_ne!(host.uploaded("document", &blob).await, first);
    assert_eq!(stage.get("/media").await.1["bytes_stored"], 1_000);
}

#[tokio::test]
async fn a_token_has_to_be_one_that_was_given_out_and_is_good() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let mut host = Host::of(&stage, &mut wire).await;
    let good = std::mem::replace(&mut host.auth, "sandbox".to_owned());
    assert_eq!(host.upload("image", b"blob").await.status(), 401);
    host.auth = good;
    let path = host.uploaded("image", b"blob").await;
    let (status, _) = stage.post("/media/expire", json!({"auth": true})).await;
    assert_eq!(status, 200);
    assert_eq!(host.upload("image", b"blob").await.status(), 401);
    let with_auth = format!("{path}?auth={}&token=x", host.auth);
    assert_eq!(host.get(&with_auth).await.status(), 401);
    assert_eq!(host.get(&path).await.status(), 200, "an address needs no token");
    host = Host::of(&stage, &mut wire).await;
    assert_eq!(host.upload("image", b"blob").await.status(), 200);
    assert_eq!(
        host.get(&format!("{path}?auth={}&token=x", host.auth))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_token_expires_after_the_time_that_was_announced() {
    let stage = Stage::with(SandboxConfig {
        media_auth_ttl: std::time::Duration::ZERO,
        ..SandboxConfig::default()
    })
    .await;
    let (_ada, mut wire) = scene(&stage).await;
    let announced = media_conn(&mut wire).await;
    assert_eq!(
        (announced.get("ttl"), announced.get("auth_ttl")),
        (Some("0"), Some("0"))
    );
    let host = Host::of(&stage, &mut wire).await;
    let answer = host.upload("image", b"blob").await;
    assert_eq!(answer.status(), 401);
    assert!(answer.text().await.unwrap().contains("expired"));
}

#[tokio::test]
async fn bad_uploads_get_a_status_that_says_why_and_leave_nothing() {
    let stage = Stage::with(SandboxConfig {
        media_blob_bytes_max: 10_000,
        media_memory_bytes_max: 15_000,
        ..SandboxConfig::default()
    })
    .await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let post = |url: String, body: Vec<u8>| {
        let request = host.http.post(url).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let blob = noise(1_000);
    let name = name_of(&blob);
    let (good, other) = (host.upload_url("image", &name), name_of(b"other"));
    assert_eq!(post(good.clone(), noise(1_000)).await, 400, "wrong hash");
    assert_eq!(post(good.clone(), Vec::new()).await, 400, "no bytes");
    assert_eq!(
        post(
            good.replace(&format!("token={name}"), &format!("token={other}")),
            blob.clone()
        )
        .await,
        400
    );
    assert_eq!(post(host.upload_url("image", "x"), blob.clone()).await, 400);
    assert_eq!(post(host.upload_url("Im%2Fage", &name), blob.clone()).await, 400);
    assert_eq!(post(good.replace("/mms/", "/other/"), blob.clone()).await, 405);
    assert_eq!(post(format!("{good}&file_offset=5"), blob.clone()).await, 416);
    assert_eq!(post(format!("{good}&file_offset=x"), blob.clone()).await, 400);
    let large = noise(10_001);
    assert_eq!(host.upload("image", &large).await.status(), 413);
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>(noise(6_000)), Ok(noise(6_000))]);
    let chunked = host.http.post(good.clone()).body(Body::wrap_stream(pieces));
    assert_eq!(chunked.send().await.unwrap().status(), 413);
    assert_eq!(host.upload("image", &noise(9_000)).await.status(), 200);
    assert_eq!(
        host.upload("image", &noise(9_000)).await.status(),
        507,
        "the store is full"
    );
    let (_, listed) = stage.get("/media").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    // What has expired gives way.
    stage.post("/media/expire", json!({"all": true})).await;
    assert_eq!(host.upload("image", &noise(9_000)).await.status(), 200);
    assert_eq!(stage.get("/media").await.1["bytes_stored"], 9_000);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_interrupted() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(700_000);
    let url = host.upload_url("video", &name_of(&blob));
    let offset = interrupted(&stage, &host, &url, &blob).await;
    let rest = blob[offset..].to_vec();
    let wrong = format!("{url}&file_offset={}", offset + 1);
    let answer = host.http.post(wrong).body(rest.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 416);
    let answer = host.http.post(format!("{url}&file_offset={offset}")).body(rest);
    let answer: Value = answer.send().await.unwrap().json().await.unwrap();
    let path = answer["direct_path"].as_str().unwrap();
    assert_eq!(host.get(path).await.bytes().await.unwrap(), blob);
}

/// Breaks off an upload in the middle. Returns how far it came.
pub async fn interrupted(stage: &Stage, host: &Host, url: &str, blob: &[u8]) -> usize {
    let stored = async || stage.get("/media").await.1["bytes_stored"].as_u64().unwrap();
    let before = stored().await;
    let first = Ok(blob[..blob.len() / 2].to_vec());
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let end = async {
        let _ = left.await;
        Err(std::io::Error::other("gone"))
    };
    let pieces = futures::stream::iter([first]).chain(futures::stream::once(end));
    let request = host.http.post(url).body(Body::wrap_stream(pieces));
    let arrived = async {
        eventually(|| async { (stored().await > before).then_some(()) }).await;
        leave.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(request.send(), arrived);
    assert!(answer.is_err());
    eventually(|| async {
        let probe = host.http.post(format!("{url}&resume=1")).send().await.ok()?;
        let answer: Value = probe.json().await.ok()?;
        let offset = answer["resume"].as_str()?.parse().ok()?;
        (offset > 0).then_some(offset)
    })
    .await
}

#[tokio::test]
async fn a_client_that_has_whatsapps_host_built_in_gets_there_through_the_proxy() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = host.uploaded("image", b"blob").await;
    let proxy = reqwest::Proxy::https(format!("http://{}", host.name)).unwrap();
    let client = super::trusting(&stage).await.proxy(proxy).build().unwrap();
    let get = |name: &str| client.get(format!("https://{name}{path}")).send();
    for name in ["mmg.whatsapp.net", "media-fra1-2.whatsapp.net", "localhost"] {
        assert_eq!(get(name).await.unwrap().bytes().await.unwrap(), "blob", "{name}");
    }
    assert!(get("example.com").await.is_err());
    let plain = super::trusting(&stage).await.build().unwrap();
    let answer = plain.get(format!("http://{}/", host.name)).send().await.unwrap();
    assert_eq!(answer.status(), 400);
}
