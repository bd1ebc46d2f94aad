//! Pairing, coming back, and being unlinked.

use reqwest::Method;
use serde_json::json;

use crate::ground::{CAROL, Ground};
use crate::world::{BOB, eventually};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn it_pairs_by_qr_code() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let user = baileys.call("user", json!([])).await;
    let account = ground.look(&format!("accounts/{CAROL}")).await;
    assert_eq!(user["id"], format!("{CAROL}:1@s.whatsapp.net"));
    assert_eq!(
        user["lid"].as_str().unwrap(),
        format!("{}:1@lid", account["lid"].as_str().unwrap())
    );
    let device = &account["devices"][0];
    assert_eq!((&device["id"], &device["connected"]), (&json!(1), &json!(true)));
    assert!(device["prekeys"].as_u64().unwrap() > 700, "{device}");
    // The device's signature over its identity was right, or the sandbox had not counted the pairing.
    let stats = ground.look("stats").await;
    assert_eq!(
        (&stats["pairings"], &stats["logins"]),
        (&json!(1), &json!(1)),
        "{stats}"
    );
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn it_pairs_by_code() {
    let ground = Ground::start().await;
    let baileys = ground.opened("carol").await;
    baileys.qr().await;
    let code = baileys.call("requestPairingCode", json!([CAROL])).await;
    ground
        .act(&format!("accounts/{CAROL}/link-code"), json!({"code": code}))
        .await;
    baileys.settled().await;
    baileys.send_text(BOB, "typed").await;
    ground.world.phone_has(BOB, "typed").await;
    assert_eq!(ground.look("stats").await["pairings"], 1);
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn it_comes_back_with_what_it_has_kept() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    baileys.send_text(BOB, "before").await;
    ground.world.phone_has(BOB, "before").await;

    // The connection is dropped; the application connects again.
    ground
        .control(
            Method::POST,
            &format!("accounts/{CAROL}/disconnect-devices"),
            None,
        )
        .await;
    baileys.closed().await;
    baileys.call("open", json!([])).await;
    baileys.opened(2).await;
    ground.world.phone_sends(BOB, CAROL, "between").await;
    baileys.has("between").await;

    // The process is started again.
    let place = baileys.quit().await;
    let baileys = Ground::reopened(place).await;
    baileys.opened(1).await;
    baileys.send_text(BOB, "after").await;
    ground.world.phone_has(BOB, "after").await;
    ground.world.phone_sends(BOB, CAROL, "welcome back").await;
    baileys.has("welcome back").await;
    let stats = ground.look("stats").await;
    assert_eq!(
        (&stats["pairings"], &stats["logins"]),
        (&json!(1), &json!(3)),
        "{stats}"
    );
    assert_eq!(stats["retry_receipts"], 0, "{stats}");
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn it_logs_out() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    baileys.call("logout", json!([])).await;
    assert_eq!(baileys.closed().await, 401);
    eventually("the companion is gone", || async {
        ground.devices(CAROL).await.is_empty().then_some(())
    })
    .await;

    // What it has kept is worth nothing now.
    let baileys = Ground::reopened(baileys.quit().await).await;
    assert_eq!(baileys.closed().await, 401);
    assert_eq!(ground.look("stats").await["logins_refused"], 1);
    // Others reach the account's phone as before.
    ground.world.phone_sends(BOB, CAROL, "still there?").await;
    ground.world.phone_has(CAROL, "still there?").await;
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_second_login_replaces_the_first() {
    let ground = Ground::start().await;
    let first = ground.linked("carol", CAROL).await;
    let second = Ground::reopened(first.place().clone()).await;
    second.opened(1).await;
    assert_eq!(first.closed().await, 440);
    ground.world.phone_sends(BOB, CAROL, "to the second").await;
    second.has("to the second").await;
    assert!(first.texts().is_empty());
    first.quit().await;
    second.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn its_phone_unlinks_it() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    ground
        .control(Method::DELETE, &format!("accounts/{CAROL}/devices/1"), None)
        .await;
    assert_eq!(baileys.closed().await, 401);
    let baileys = Ground::reopened(baileys.quit().await).await;
    assert_eq!(baileys.closed().await, 401);
    assert!(ground.devices(CAROL).await.is_empty());
    baileys.quit().await;
    ground.end().await;
}
