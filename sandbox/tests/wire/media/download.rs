//! Fetching.

use reqwest::header::{CONTENT_RANGE, RANGE};
use serde_json::json;

use super::{Host, noise, scene};
use crate::stage::Stage;

#[tokio::test]
async fn clients_may_append_what_they_like_to_a_direct_path() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = host.uploaded("image", b"blob").await;
    let (bare, _) = path.split_once('?').unwrap();
    for appended in [
        format!("{path}&hash=abc&mms-type=image&__wa-mms="),
        format!("{path}?auth={}&token=abc", host.auth),
        bare.to_owned(),
    ] {
        let answer = host.get(&appended).await;
        assert_eq!(answer.status(), 200, "{appended}");
        assert_eq!(answer.bytes().await.unwrap(), "blob");
    }
}

#[tokio::test]
async fn a_range_is_answered_with_that_part() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(300_000);
    let url = format!("https://{}{}", host.name, host.uploaded("video", &blob).await);
    let get = |range: &'static str| host.http.get(&url).header(RANGE, range).send();
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=16-", 16, 300_000),
        ("bytes=131000-132000", 131_000, 132_001),
        ("bytes=299999-400000", 299_999, 300_000),
        ("bytes=-10", 299_990, 300_000),
    ] {
        let answer = get(range).await.unwrap();
        assert_eq!(answer.status(), 206, "{range}");
        let said = answer.headers()[CONTENT_RANGE].to_str().unwrap().to_owned();
        assert_eq!(said, format!("bytes {start}-{}/300000", end - 1));
        assert_eq!(answer.bytes().await.unwrap(), &blob[start..end]);
    }
    let behind = get("bytes=300000-").await.unwrap();
    assert_eq!(
        (behind.status().as_u16(), &behind.headers()[CONTENT_RANGE]),
        (416, &"bytes */300000".parse().unwrap())
    );
    for odd in ["bytes=0-1,5-6", "lines=1-2", "bytes=9-2", "bytes=x-"] {
        assert_eq!(get(odd).await.unwrap().status(), 200, "{odd}");
    }
}

#[tokio::test]
async fn an_expired_address_is_gone_and_a_wrong_one_is_not_found() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = host.uploaded("image", b"blob").await;
    let other = host.uploaded("image", b"other").await;
    let (status, body) = stage.post("/media/expire", json!({"direct_path": path})).await;
    assert_eq!((status, &body["expired"]), (200, &json!(1)));
    assert_eq!(host.get(&path).await.status(), 410);
    assert_eq!(host.get(&other).await.status(), 200);
    // The same bytes uploaded again get a new address.
    let again = host.uploaded("image", b"blob").await;
    assert_ne!(again, path);
    assert_eq!(host.get(&again).await.status(), 200);
    for wrong in [
        path.replace("/1_", "/99_"),
        path.replace("_n.enc", "0_n.enc"),
        path.replace("&oe=", "&oe=1"),
        "/v/t62.7118-24/".to_owned(),
        "/".to_owned(),
    ] {
        assert_eq!(host.get(&wrong).await.status(), 404, "{wrong}");
    }
    for (body, status, code) in [
        (json!({"direct_path": "/v/t/1_2_n.enc"}), 404, "media_not_found"),
        (json!({"whatsapp_id": "nothing"}), 404, "media_not_found"),
        (json!({}), 422, "invalid_field"),
        (json!({"all": true, "direct_path": path}), 422, "invalid_field"),
    ] {
        let (got, problem) = stage.post("/media/expire", body.clone()).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{body}");
    }
}

#[tokio::test]
async fn methods_the_host_does_not_serve_are_refused() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = host.uploaded("image", b"blob").await;
    let url = format!("https://{}{path}", host.name);
    assert_eq!(host.http.delete(&url).send().await.unwrap().status(), 405);
    let head = host.http.head(&url).send().await.unwrap();
    assert_eq!(
        (
            head.status().as_u16(),
            head.headers()["content-length"].to_str().unwrap()
        ),
        (200, "4")
    );
}
