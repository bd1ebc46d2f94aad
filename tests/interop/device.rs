//! Several devices on one account.

use serde_json::json;

use crate::baileys::READ;
use crate::ground::{CAROL, Ground};
use crate::world::BOB;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn devices_of_one_account_see_what_the_others_do() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let desk = ground.linked("desk", CAROL).await;
    let sofa = ground.linked("sofa", CAROL).await;
    let instance = ground.world.paired(CAROL).await;
    let devices = ground.devices(CAROL).await;
    let ids: Vec<_> = devices.iter().map(|device| &device["id"]).collect();
    assert_eq!(ids, [1, 2, 3]);

    // What one writes, the others hold as the account's own, Roost among them.
    let id = desk.send_text(BOB, "from the desk").await;
    ground.world.phone_has(BOB, "from the desk").await;
    let copy = sofa.has("from the desk").await;
    assert_eq!(
        (&copy["key"]["id"], &copy["key"]["fromMe"]),
        (&json!(id), &json!(true))
    );
    assert_eq!(copy["key"]["remoteJid"], format!("{BOB}@s.whatsapp.net"));
    let event = api
        .event("message.sent", |event| {
            event["data"]["message"]["whatsapp_id"] == id
        })
        .await;
    assert_eq!(event["data"]["message"]["origin"], "device");
    ground.world.phone_has(CAROL, "from the desk").await;

    // What Roost writes, both of them hold.
    let sent = api.send_text(&instance, BOB, "from Roost").await;
    for baileys in [&desk, &sofa] {
        let copy = baileys.has("from Roost").await;
        assert_eq!(copy["key"]["id"], sent["whatsapp_id"]);
        assert_eq!(copy["key"]["fromMe"], true);
    }

    // What the phone itself writes, too.
    ground.world.phone_sends(CAROL, BOB, "from the phone").await;
    for baileys in [&desk, &sofa] {
        assert_eq!(baileys.has("from the phone").await["key"]["fromMe"], true);
    }

    // What comes from outside reaches each of them; one reads it, the others learn that.
    let question = ground.world.phone_sends(BOB, CAROL, "to all of you").await;
    let heard = desk.has("to all of you").await;
    sofa.has("to all of you").await;
    let event = api
        .event("message.received", |event| {
            event["data"]["message"]["whatsapp_id"] == question
        })
        .await;
    desk.call("readMessages", json!([[heard["key"]]])).await;
    sofa.status_becomes(&question, READ).await;
    api.status_becomes(event["data"]["message"]["id"].as_str().unwrap(), "read")
        .await;

    // One leaves; the others go on.
    desk.call("logout", json!([])).await;
    assert_eq!(desk.closed().await, 401);
    ground.world.phone_sends(BOB, CAROL, "who is left?").await;
    sofa.has("who is left?").await;
    let id = sofa.send_text(BOB, "we are").await;
    ground.world.phone_has(BOB, "we are").await;
    api.event("message.sent", |event| {
        event["data"]["message"]["whatsapp_id"] == id
    })
    .await;
    assert_eq!(ground.look("stats").await["retry_receipts"], 0);
    sofa.quit().await;
    ground.end().await;
}
