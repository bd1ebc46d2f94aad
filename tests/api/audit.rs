use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{BOB, Client, World, eventually};

/// The audit log that a client may read, newest first.
async fn log(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(200)["data"]
        .as_array()
        .unwrap()
        .clone()
}

async fn own(api: &Client) -> Vec<Value> {
    log(api, "/v1/audit-events?limit=500").await
}

async fn operators(operator: &Client) -> Vec<Value> {
    log(operator, "/v1/operator/audit-events?limit=500").await
}

fn actions(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

fn count(rows: &[Value], matches: impl Fn(&Value) -> bool) -> u64 {
    let found = rows.iter().filter(|row| matches(row));
    found.map(|row| row["count"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_row_when_its_answer_is_there_and_outlives_what_it_names() {
    let (_world, api, id) = World::start_paired().await;
    let before = own(&api).await.len();
    let reply = api
        .patch(&format!("/v1/instances/{id}"), json!({"name": "renamed"}))
        .await;
    let request_id = reply.headers["x-request-id"].to_str().unwrap().to_owned();
    reply.expect(200);
    let message = api.send_text(&id, BOB, "hello").await;
    let event = api.publish("custom.note", json!(1)).await;
    let webhook = api.make_webhook("http://127.0.0.1:19009/", json!({})).await;
    // Reading changes nothing.
    api.get("/v1/instances").await.expect(200);
    let removed = api.delete(&format!("/v1/instances/{id}")).await;
    assert_eq!(removed.status.as_u16(), 204);

    let rows = own(&api).await;
    let rows = &rows[..rows.len() - before];
    let told: Vec<(&str, &Value, &Value)> = rows
        .iter()
        .map(|row| (row["action"].as_str().unwrap(), &row["target"], &row["status"]))
        .collect();
    assert_eq!(
        told,
        [
            ("delete_instance", &json!(id), &json!(204)),
            ("create_webhook", &webhook["id"], &json!(201)),
            ("publish_event", &event["id"], &json!(201)),
            ("send_message", &message["id"], &json!(202)),
            ("update_instance", &json!(id), &json!(200)),
        ]
    );
    for row in rows {
        assert_eq!(
            (&row["result"], &row["actor_kind"], &row["source"], &row["count"]),
            (&json!("done"), &json!("key"), &json!("127.0.0.1"), &json!(1)),
            "{row}"
        );
        assert!(row["actor_id"].as_str().unwrap().starts_with("key_"), "{row}");
        assert_eq!(row["code"], Value::Null);
    }
    assert_eq!(rows.last().unwrap()["request_id"], request_id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_given_again_is_not_an_act() {
    let world = World::start().await;
    let api = world.api();
    for path in ["/v1/instances", "/v1/events"] {
        for _ in 0..3 {
            let body = match path {
                "/v1/instances" => json!({"name": "once"}),
                _ => json!({"type": "custom.note", "data": 1}),
            };
            let request = api.request(Method::POST, path).header("idempotency-key", path);
            Client::send(request.json(&body)).await.expect(201);
        }
    }
    assert_eq!(actions(&own(&api).await), ["publish_event", "create_instance"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_changed_nothing_says_why_and_a_row_stands_for_many() {
    let world = World::start_with(&[("audit.fold_for", "50ms")]).await;
    let api = world.api();
    for n in 0..30 {
        let body = json!({"name": "x", "wrong": n});
        api.post("/v1/instances", body)
            .await
            .expect_problem(400, "invalid_body");
    }
    eventually("thirty failures are in the log", || async {
        let rows = own(&api).await;
        assert!(rows.len() <= 30);
        let failed = |row: &Value| {
            row["result"] == "failed"
                && row["action"] == "create_instance"
                && row["code"] == "invalid_body"
                && row["status"] == 400
        };
        (count(&rows, failed) == 30).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_calls_stand_in_the_tenants_log_where_a_tenant_is_known_and_else_in_the_operators() {
    let mut world = World::start_with(&[("audit.fold_for", "1h")]).await;
    let (api, operator) = (world.api(), world.operator().await);
    let body = json!({"name": "reader", "scopes": ["instances:read"]});
    let made = api.post("/v1/api-keys", body).await.expect(201);
    let reader = world.client(Some(made["key"].as_str().unwrap().to_owned()));

    // What is forbidden is written at once, and again only by its number.
    for _ in 0..3 {
        reader.get("/v1/webhooks").await.expect_problem(403, "forbidden");
    }
    let rows = own(&api).await;
    let forbidden = |row: &Value| row["action"] == "list_webhooks";
    assert_eq!(count(&rows, forbidden), 1);
    let row = rows.iter().find(|row| forbidden(row)).unwrap();
    assert_eq!(
        (&row["result"], &row["code"], &row["status"], &row["actor_id"]),
        (&json!("denied"), &json!("forbidden"), &json!(403), &made["id"])
    );

    // Nobody knows whose these are.
    for _ in 0..4 {
        let wrong = "rst_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let stranger = world.client(Some(wrong.into()));
        stranger
            .get("/v1/instances")
            .await
            .expect_problem(401, "unauthorized");
    }
    operator
        .get("/v1/instances")
        .await
        .expect_problem(403, "forbidden");

    // What is folded in memory is written when the node stops.
    world.stop_app().await;
    world.start_app().await;
    let (api, operator) = (world.api(), world.client(Some(operator.key().to_owned())));
    assert_eq!(count(&own(&api).await, forbidden), 3);
    let rows = operators(&operator).await;
    let anonymous = |row: &Value| row["actor_kind"] == "anonymous" && row["code"] == "unauthorized";
    assert_eq!(count(&rows, anonymous), 4);
    let row = rows.iter().find(|row| anonymous(row)).unwrap();
    assert_eq!(
        (&row["action"], &row["source"], &row["actor_id"], &row["result"]),
        (
            &json!("list_instances"),
            &json!("127.0.0.1"),
            &Value::Null,
            &json!("denied")
        )
    );
    let denied = |row: &Value| row["actor_kind"] == "operator" && row["code"] == "forbidden";
    assert_eq!(count(&rows, denied), 1);
    assert!(own(&api).await.iter().all(|row| row["actor_kind"] == "key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_filtered_and_read_page_by_page() {
    let world = World::start().await;
    let api = world.api();
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(api.make_instance(&format!("i{n}")).await);
    }
    api.delete(&format!("/v1/instances/{}", made[3])).await;

    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/audit-events?action=create_instance&limit=3{query}");
        let page = api.get(&path).await.expect(200);
        seen.extend(page["data"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("&cursor={cursor}");
    }
    let of_all = |name: &str| -> Vec<&str> { seen.iter().map(|row| row[name].as_str().unwrap()).collect() };
    // Rows of one millisecond are in no order among themselves.
    assert!(of_all("at").is_sorted_by(|one, next| one >= next), "{seen:?}");
    let (mut targets, mut expected) = (of_all("target"), made.clone());
    targets.sort_unstable();
    expected.sort_unstable();
    assert_eq!(targets, expected);

    let of_one = log(&api, &format!("/v1/audit-events?target={}", made[3])).await;
    assert_eq!(actions(&of_one), ["delete_instance", "create_instance"]);
    let at = |row: &Value| row["at"].as_str().unwrap().to_owned();
    let from = log(&api, &format!("/v1/audit-events?from={}", at(&of_one[0]))).await;
    assert!(from.iter().any(|row| row["action"] == "delete_instance"));
    let until = log(&api, &format!("/v1/audit-events?to={}", at(seen.last().unwrap()))).await;
    assert_eq!(until, Vec::<Value>::new());
    let key = seen[0]["actor_id"].as_str().unwrap();
    assert_eq!(
        log(&api, &format!("/v1/audit-events?actor_id={key}")).await.len(),
        8
    );
    assert_eq!(log(&api, "/v1/audit-events?result=denied").await.len(), 0);

    let cursor = query.strip_prefix("&cursor=").unwrap();
    for (path, status, code) in [
        (format!("/v1/audit-events?cursor={cursor}"), 400, "invalid_cursor"),
        ("/v1/audit-events?cursor=x".into(), 400, "invalid_cursor"),
        ("/v1/audit-events?result=fine".into(), 422, "validation_failed"),
        ("/v1/audit-events?from=yesterday".into(), 422, "validation_failed"),
        ("/v1/audit-events?action=".into(), 422, "validation_failed"),
        ("/v1/audit-events?who=me".into(), 422, "validation_failed"),
    ] {
        api.get(&path).await.expect_problem(status, code);
    }
    let stranger = world.stranger().await;
    assert_eq!(own(&stranger).await, Vec::<Value>::new());
    let path = format!("/v1/audit-events?action=create_instance&limit=3&cursor={cursor}");
    stranger.get(&path).await.expect_problem(400, "invalid_cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_the_log_through_the_api() {
    let world = World::start().await;
    let (api, operator) = (world.api(), world.operator().await);
    api.make_instance("one").await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for (client, path) in [
            (&api, "/v1/audit-events"),
            (&operator, "/v1/operator/audit-events"),
        ] {
            let reply = Client::send(client.request(method.clone(), path)).await;
            assert_eq!(reply.status.as_u16(), 405, "{method} {path}");
        }
    }
    api.get("/v1/operator/audit-events")
        .await
        .expect_problem(403, "forbidden");
    operator
        .get("/v1/audit-events")
        .await
        .expect_problem(403, "forbidden");
    assert!(actions(&own(&api).await).contains(&"create_instance"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_to_a_tenant_stands_in_both_logs() {
    let world = World::start().await;
    let operator = world.operator().await;
    let body = json!({"name": "customer", "create_key": true});
    let tenant = operator.post("/v1/operator/tenants", body).await.expect(201);
    let id = tenant["id"].as_str().unwrap();
    operator
        .patch(&format!("/v1/operator/tenants/{id}"), json!({"name": "renamed"}))
        .await
        .expect(200);
    let api = world.client(Some(tenant["api_key"]["key"].as_str().unwrap().to_owned()));
    let mine = own(&api).await;
    assert_eq!(actions(&mine), ["update_tenant", "create_tenant"]);
    for row in &mine {
        assert_eq!(
            (
                &row["actor_kind"],
                &row["target"],
                &row["actor_id"],
                &row["source"]
            ),
            (&json!("operator"), &json!(id), &Value::Null, &Value::Null),
            "a tenant does not learn which operator it was: {row}"
        );
    }
    let theirs = operators(&operator).await;
    assert_eq!(actions(&theirs), ["update_tenant", "create_tenant"]);
    for row in &theirs {
        assert_eq!(
            (&row["target"], &row["source"]),
            (&json!(id), &json!("127.0.0.1"))
        );
        assert!(row["actor_id"].is_string(), "{row}");
    }
}
