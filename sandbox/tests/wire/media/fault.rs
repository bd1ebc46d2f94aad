//! Trouble that is injected.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use roost_sandbox::server::{MediaFaults, Transfer, TransferDirection, Verdict};
use serde_json::{Value, json};

use super::{Host, name_of, noise, scene};
use crate::stage::{Stage, eventually};

/// One verdict for all transfers of a direction; remembers who was asked about.
struct Always {
    direction: TransferDirection,
    verdict: Verdict,
    asked: Mutex<Vec<String>>,
}

impl MediaFaults for Always {
    fn verdict(&self, transfer: &Transfer<'_>) -> Verdict {
        let holder = transfer.holder.map(|holder| holder.device);
        let said = format!("{:?} {} {holder:?}", transfer.direction, transfer.kind);
        self.asked.lock().unwrap().push(said);
        if transfer.direction == self.direction {
            self.verdict
        } else {
            Verdict::default()
        }
    }
}

fn install(stage: &Stage, direction: TransferDirection, verdict: Verdict) -> Arc<Always> {
    let faults = Arc::new(Always {
        direction,
        verdict,
        asked: Mutex::default(),
    });
    stage.here().set_media_faults(faults.clone());
    faults
}

#[tokio::test]
async fn a_status_is_answered_instead() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = host.uploaded("image", b"blob").await;
    let verdict = Verdict {
        status: Some(503),
        ..Verdict::default()
    };
    install(&stage, TransferDirection::Upload, verdict);
    assert_eq!(host.upload("image", b"blob").await.status(), 503);
    assert_eq!(host.get(&path).await.status(), 200);
    let faults = install(&stage, TransferDirection::Download, verdict);
    assert_eq!(host.get(&path).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(host.upload("image", b"blob").await.status(), 200);
    let asked = faults.asked.lock().unwrap().clone();
    assert_eq!(asked, ["Download image None", "Upload image Some(1)"]);
}

#[tokio::test]
async fn half_an_upload_can_be_resumed() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(400_000);
    let verdict = Verdict {
        cut_after: Some(200_000),
        ..Verdict::default()
    };
    install(&stage, TransferDirection::Upload, verdict);
    let url = host.upload_url("image", &name_of(&blob));
    assert!(host.http.post(&url).body(blob.clone()).send().await.is_err());
    install(&stage, TransferDirection::Upload, Verdict::default());
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
async fn a_download_breaks_off_or_crawls() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let blob = noise(200_000);
    let path = host.uploaded("image", &blob).await;
    let cut = Verdict {
        cut_after: Some(100_000),
        ..Verdict::default()
    };
    install(&stage, TransferDirection::Download, cut);
    assert!(host.get(&path).await.bytes().await.is_err());
    let slow = Verdict {
        bytes_per_second: NonZeroU64::new(2_000_000),
        ..Verdict::default()
    };
    install(&stage, TransferDirection::Download, slow);
    assert_eq!(host.get(&path).await.bytes().await.unwrap(), blob);
}
