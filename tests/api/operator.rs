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

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_in_quarantine_stays_down_until_an_operator_clears_it() {
    let (world, api, id) = World::start_paired().await;
    let operator = world.operator().await;
    let path = format!("/v1/operator/actors/instance/{id}");
    operator
        .post(&format!("{path}/quarantine?node=local"), json!({}))
        .await
        .expect(202);
    eventually("it is in quarantine", || async {
        let actor = operator.get(&path).await;
        (actor.status == 200 && actor.json()["state"] == "quarantined").then_some(())
    })
    .await;
    api.state_becomes(&id, "disconnected").await;
    let sent = api.request(Method::POST, &format!("/v1/instances/{id}/messages"));
    let text = json!({"to": BOB, "type": "text", "text": {"body": "in vain"}});
    Client::send(sent.json(&text))
        .await
        .expect_problem(503, "unavailable");
    let worst = operator
        .get("/v1/operator/actors?order=worst&limit=1")
        .await
        .expect(200);
    assert_eq!(worst["data"][0]["key"], id.as_str());
    assert_eq!(worst["data"][0]["needs_operator"], true);
    let nodes = operator.get("/v1/operator/nodes").await.expect(200);
    assert_eq!(nodes["data"][0]["load"]["need_operator"], 1);

    operator
        .post(&format!("{path}/clear-quarantine"), json!({}))
        .await
        .expect(202);
    api.state_becomes(&id, "connected").await;
    let acts = operator
        .get("/v1/operator/audit-events?action=order_actor")
        .await
        .expect(200);
    let targets: Vec<_> = acts["data"].as_array().unwrap().iter().collect();
    assert_eq!(
        targets[1]["target"],
        format!("instance/{id}/quarantine"),
        "{acts}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_cluster_is_one_node_with_every_slot() {
    let (world, _, id) = World::start_paired().await;
    let operator = world.operator().await;
    let nodes = operator.get("/v1/operator/nodes").await.expect(200);
    assert_eq!(nodes["data"].as_array().unwrap().len(), 1);
    let node = &nodes["data"][0];
    assert_eq!(
        (&node["node"], &node["here"], &node["status"]),
        (&json!("local"), &json!(true), &json!("ok"))
    );
    assert_eq!(node["slots"], json!({"owned": 1024, "desired": 1024}));
    assert_eq!(node["lease"], json!(null));
    assert_eq!(node["load"]["sessions"]["states"], json!({"connected": 1}));
    let actors = operator
        .get("/v1/operator/actors?kind=instance&node=local")
        .await
        .expect(200);
    assert_eq!(
        actors["nodes"],
        json!([{"node": "local", "status": "ok", "error": null}])
    );
    let slot = actors["data"][0]["slot"].as_u64().unwrap();
    assert_eq!(actors["data"][0]["key"], id.as_str());

    let slots = operator.get("/v1/operator/slots?node=local").await.expect(200);
    let rows = slots["data"].as_array().unwrap();
    assert_eq!((rows.len(), &slots["next_cursor"]), (1024, &json!(null)));
    let row = &rows[usize::try_from(slot).unwrap()];
    assert_eq!(
        (&row["slot"], &row["owner"], &row["held"], &row["moving"]),
        (&json!(slot), &json!("local"), &json!(true), &json!(false))
    );
    assert_eq!(row["epoch"], actors["data"][0]["epoch"]);
    let other = operator.get("/v1/operator/slots?node=other").await.expect(200);
    assert_eq!(other["data"], json!([]));

    let (mut seen, mut path) = (Vec::new(), "/v1/operator/slots?limit=300".to_owned());
    loop {
        let page = operator.get(&path).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["slot"].as_u64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/operator/slots?limit=300&cursor={cursor}");
    }
    assert_eq!(seen, (0..1024).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_cluster_can_do_is_refused_without_one() {
    let world = World::start().await;
    let operator = world.operator().await;
    for method in [Method::POST, Method::DELETE] {
        let request = operator.request(method.clone(), "/v1/operator/nodes/local/drain");
        let refused = Client::send(request).await.expect_problem(409, "wrong_state");
        assert!(
            refused["detail"].as_str().unwrap().contains("cluster"),
            "{refused}"
        );
        let request = operator.request(method, "/v1/operator/nodes/No%20Node/drain");
        Client::send(request).await.expect_problem(404, "not_found");
    }
    for path in [
        "actors?node=other",
        "actors/upkeep?node=other",
        "actors?order=newest",
        "slots?limit=1025",
        "slots?colour=red",
        "nodes?node=local",
    ] {
        let answer = operator.get(&format!("/v1/operator/{path}")).await;
        answer.expect_problem(422, "validation_failed");
    }
    for path in ["slots?cursor=x", "actors?cursor=x"] {
        let answer = operator.get(&format!("/v1/operator/{path}")).await;
        answer.expect_problem(400, "invalid_cursor");
    }
    operator
        .get("/v1/operator/actors/upkeep?node=local")
        .await
        .expect(200);
    let page = operator.get("/v1/operator/actors?limit=1").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let answer = operator
        .get(&format!(
            "/v1/operator/actors?order=worst&limit=1&cursor={cursor}"
        ))
        .await;
    answer.expect_problem(422, "validation_failed");
}
