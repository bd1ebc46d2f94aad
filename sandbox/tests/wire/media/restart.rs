//! The program killed with SIGKILL: what was uploaded is there again.

use serde_json::{Value, json};

use super::upload::interrupted;
use super::{ADA, BOB, Host, name_of, noise, scene};
use crate::stage::Stage;

#[tokio::test]
async fn files_half_files_and_the_certificate_survive_a_kill() {
    let mut stage = Stage::process();
    let (ada, mut wire) = scene(&stage).await;
    let before = Host::of(&stage, &mut wire).await;
    let blob = noise(300_000);
    let path = before.uploaded("image", &blob).await;
    let gone = before.uploaded("image", b"gone").await;
    stage.post("/media/expire", json!({"direct_path": gone})).await;
    let half = noise(500_000);
    let url = before.upload_url("video", &name_of(&half));
    let offset = interrupted(&stage, &before, &url, &half).await;
    let (status, sent) = stage
        .post(
            &format!("/accounts/{BOB}/messages"),
            json!({"to": ADA, "media": {"kind": "voice", "size": 5_000}}),
        )
        .await;
    assert_eq!(status, 201, "{sent}");
    let id = sent["whatsapp_id"].as_str().unwrap();
    stage.phone_has(ADA, 1).await;
    let (_, stored) = stage.get("/media").await;
    stage.kill();
    stage.restart();

    let mut wire = ada.connect(&stage).await;
    let now = Host::of(&stage, &mut wire).await;
    // The port is another one; the authority, its tokens and all addresses are the same.
    let host = Host {
        http: before.http.clone(),
        auth: before.auth.clone(),
        name: now.name.clone(),
    };
    assert_eq!(host.get(&path).await.bytes().await.unwrap(), blob);
    assert_eq!(host.get(&gone).await.status(), 410);
    let rest = host.upload_url("video", &name_of(&half));
    let rest = host
        .http
        .post(format!("{rest}&file_offset={offset}"))
        .body(half[offset..].to_vec());
    let answer: Value = rest.send().await.unwrap().json().await.unwrap();
    let again = answer["direct_path"].as_str().unwrap();
    assert_eq!(host.get(again).await.bytes().await.unwrap(), half);
    for number in [ADA, BOB] {
        let (status, bytes) = stage
            .get_bytes(&format!("/accounts/{number}/messages/{id}/media"))
            .await;
        assert_eq!((status, bytes.len()), (200, 5_000));
    }
    let (_, listed) = stage.get("/media").await;
    let count = |listed: &Value| listed["data"].as_array().unwrap().len();
    assert_eq!(count(&listed), count(&stored) + 1);
}
