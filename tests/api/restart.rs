use serde_json::json;

use crate::world::{ALICE, BOB, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_gateway_connects_again_without_a_scan() {
    let mut world = World::start().await;
    let id = world.paired(ALICE).await;
    let api = world.api();
    let stopped = api.make_instance("never connected").await;
    let sent = api.send_text(&id, BOB, "before").await;
    api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;
    let before = api.events(0, "").await;

    world.stop_app().await;
    let missed = world.phone_sends(BOB, ALICE, "while it was down").await;
    world.start_app().await;

    let api = world.api();
    api.state_becomes(&id, "connected").await;
    assert_eq!(
        api.get(&format!("/v1/instances/{stopped}")).await.expect(200)["state"],
        "created"
    );
    api.received(&missed).await;
    let after = api.send_text(&id, BOB, "after").await;
    api.status_becomes(after["id"].as_str().unwrap(), "delivered")
        .await;
    world.phone_has(BOB, "after").await;

    let events = api.events(0, "").await;
    assert_eq!(
        events[..before.len()],
        before[..],
        "the log of before is unchanged"
    );
    let seqs: Vec<_> = events
        .iter()
        .map(|event| event["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_stopped_stays_stopped() {
    let mut world = World::start().await;
    let id = world.paired(ALICE).await;
    world
        .api()
        .post(&format!("/v1/instances/{id}/disconnect"), json!({}))
        .await
        .expect(200);
    world.api().state_becomes(&id, "disconnected").await;
    world.stop_app().await;
    world.start_app().await;
    let instance = world.api().get(&format!("/v1/instances/{id}")).await.expect(200);
    assert_eq!(
        (&instance["state"], &instance["desired_state"]),
        (&json!("disconnected"), &json!("stopped"))
    );
    assert_eq!(instance["phone_number"], format!("+{ALICE}"));
}
