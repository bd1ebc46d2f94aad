use reqwest::Method;
use serde_json::json;

use crate::world::{ALICE, BOB, Client, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_live_actors_and_restarts_one() {
    let (world, api, id) = World::start_paired().await;
    let operator = world.operator().await;
    let list = operator.get("/v1/operator/actors?limit=500").await.expect(200);
    let actors = list["data"].as_array().unwrap();
    let session = actors
        .iter()
        .find(|actor| actor["path"].as_str().unwrap().ends_with(&id))
        .unwrap();
    let path = session["path"].as_str().unwrap();
    assert!(
        !session.to_string().contains(ALICE),
        "no phone number is shown to operators: {session}"
    );

    let one = operator
        .get(&format!("/v1/operator/actors/{path}"))
        .await
        .expect(200);
    assert_eq!(one["path"], path);
    let kind = one["kind"].as_str().unwrap();
    let filtered = operator
        .get(&format!("/v1/operator/actors?kind={kind}"))
        .await
        .expect(200);
    assert!(
        filtered["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|actor| actor["kind"] == kind)
    );
    assert_eq!(
        operator
            .get("/v1/operator/actors?kind=unheard-of")
            .await
            .expect(200)["data"],
        json!([])
    );

    let history = async || {
        api.get(&format!("/v1/instances/{id}/history")).await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len()
    };
    let before = history().await;
    operator
        .post(&format!("/v1/operator/actors/{path}/restart"), json!({}))
        .await
        .expect(202);
    eventually("the session connected anew", || async {
        (history().await > before).then_some(())
    })
    .await;
    api.state_becomes(&id, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_an_operator_stops_is_disconnected_until_it_is_needed() {
    let (world, api, id) = World::start_paired().await;
    let operator = world.operator().await;
    operator
        .post(&format!("/v1/operator/actors/instance/{id}/stop"), json!({}))
        .await
        .expect(202);
    let stopped = api.state_becomes(&id, "disconnected").await;
    assert_eq!(stopped["desired_state"], "running");
    assert!(stopped["state_reason"].as_str().unwrap().contains("operator"));
    let sent = api.send_text(&id, BOB, "needed").await;
    api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;
    api.state_becomes(&id, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_are_listed_page_by_page() {
    let world = World::start().await;
    let operator = world.operator().await;
    let all = operator.get("/v1/operator/actors?limit=500").await.expect(200)["data"]
        .as_array()
        .unwrap()
        .len();
    let (mut seen, mut path) = (0, "/v1/operator/actors?limit=1".to_owned());
    loop {
        let page = operator.get(&path).await.expect(200);
        seen += page["data"].as_array().unwrap().len();
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/operator/actors?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_actor_or_an_order_is_not_found() {
    let world = World::start().await;
    let operator = world.operator().await;
    operator
        .get("/v1/operator/actors/instance/unheard-of")
        .await
        .expect_problem(404, "not_found");
    for path in ["node", "node/dance", "instance/unheard-of/restart", "restart"] {
        let request = operator.request(Method::POST, &format!("/v1/operator/actors/{path}"));
        Client::send(request).await.expect_problem(404, "not_found");
    }
}
