//! What goes wrong on demand, as Baileys sees it.

use serde_json::{Value, json};

use crate::ground::{CAROL, Ground};
use crate::world::{BOB, eventually};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn it_is_told_why_it_is_refused_and_comes_back() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let mut closes = 0;
    for (fault, code) in [
        (json!({"kind": "conflict_replaced"}), 440),
        (json!({"kind": "stream_error", "code": 503}), 503),
        (json!({"kind": "drop_connection"}), 428),
        (json!({"kind": "refuse_logins", "reason": 403}), 403),
        (json!({"kind": "refuse_logins", "reason": 500}), 500),
        (json!({"kind": "temporary_ban", "code": 101, "expire_s": 60}), 402),
    ] {
        let strikes_logins = matches!(code, 402 | 403 | 500);
        if strikes_logins {
            // It is the next login that is refused.
            ground
                .act(&format!("accounts/{CAROL}/disconnect-devices"), Value::Null)
                .await;
            closes += 1;
            baileys.closed_again(closes).await;
        }
        let mut fault = fault;
        fault["account"] = json!(CAROL);
        fault["count"] = json!(1);
        ground.act("faults", fault).await;
        if strikes_logins {
            baileys.call("open", json!([])).await;
        }
        closes += 1;
        assert_eq!(baileys.closed_again(closes).await, code);
        let opened = baileys.openings();
        baileys.call("open", json!([])).await;
        baileys.opened(opened + 1).await;
    }
    ground.world.phone_sends(BOB, CAROL, "all over").await;
    baileys.has("all over").await;
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_rejected_message_is_marked() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    for (error, shown) in [(463, "463"), (479, "479"), (429, "429")] {
        let fault = json!({"kind": "reject_sends", "error": error, "account": CAROL, "count": 1});
        ground.act("faults", fault).await;
        let id = baileys.send_text(BOB, "not today").await;
        baileys
            .becomes(&id, |message| message["messageStubParameters"][0] == shown)
            .await;
    }
    baileys.send_text(BOB, "tomorrow").await;
    ground.world.phone_has(BOB, "tomorrow").await;
    let messages = ground.phone_messages(BOB).await;
    assert!(messages.iter().all(|message| message["text"] != "not today"));
    baileys.quit().await;
    ground.end_despite(&["messages_refused"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn what_comes_twice_or_out_of_order_is_shown_once() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let mut expected = Vec::new();
    for kind in ["duplicate_deliveries", "reorder_deliveries"] {
        let fault = json!({"kind": kind, "class": "message", "account": CAROL, "count": 2});
        ground.act("faults", fault).await;
        for number in 0..4 {
            let text = format!("{kind} {number}");
            ground.world.phone_sends(BOB, CAROL, &text).await;
            expected.push(text);
        }
        for text in &expected {
            baileys.has(text).await;
        }
        ground.all_confirmed(CAROL).await;
    }
    let faults = ground.look("faults").await;
    for fault in faults["data"].as_array().unwrap() {
        assert!(fault["strikes"].as_u64().unwrap() > 0, "{fault}");
    }
    let mut texts = baileys.texts();
    texts.sort();
    assert_eq!(texts, expected);
    eventually("nothing is queued", || async {
        (ground.look("stats").await["queued"] == 0).then_some(())
    })
    .await;
    baileys.quit().await;
    ground.end().await;
}
