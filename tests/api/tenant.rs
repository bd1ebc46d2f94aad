use reqwest::Method;
use serde_json::{Value, json};

use crate::event::Stream;
use crate::receiver::Receiver;
use crate::world::{ALICE, BOB, Client, World, eventually};

/// Makes a tenant with a key; its path, its id and its client come back.
async fn make(world: &World, operator: &Client) -> (String, String, Client) {
    let body = json!({"name": "acme", "create_key": true});
    let made = operator.post("/v1/operator/tenants", body).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let key = made["api_key"]["key"].as_str().unwrap().to_owned();
    (format!("/v1/operator/tenants/{id}"), id, world.client(Some(key)))
}

async fn gone(operator: &Client, path: &str) -> Value {
    eventually("the tenant is gone", || async {
        let tenant = operator.get(path).await.expect(200);
        (tenant["state"] == "deleted").then_some(tenant)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_a_tenant_with_its_first_key_and_changes_it() {
    let world = World::start().await;
    let operator = world.operator().await;
    let request = operator
        .request(Method::POST, "/v1/operator/tenants")
        .header("idempotency-key", "one")
        .json(&json!({"name": "acme", "plan": "basic", "retention_days": 7,
                      "limits": {"instances": 3}, "create_key": true}));
    let reply = Client::send(request.try_clone().unwrap()).await;
    let path = reply.headers["location"].to_str().unwrap().to_owned();
    let made = reply.expect(201);
    assert_eq!(
        path,
        format!("/v1/operator/tenants/{}", made["id"].as_str().unwrap())
    );
    assert_eq!(
        (
            &made["state"],
            &made["plan"],
            &made["retention_days"],
            &made["limits"]["instances"]
        ),
        (&json!("active"), &json!("basic"), &json!(7), &json!(3))
    );
    assert_eq!(made["api_key"]["scopes"], json!(["*"]));
    let client = world.client(Some(made["api_key"]["key"].as_str().unwrap().to_owned()));
    client.get("/v1/instances").await.expect(200);
    let replay = Client::send(request).await.expect(201);
    assert_eq!(
        (&replay["id"], &replay["api_key"]["key"]),
        (&made["id"], &Value::Null)
    );

    let patch = json!({"name": "acme 2", "plan": null, "limits": null, "retention_days": null});
    let patched = operator.patch(&path, patch).await.expect(200);
    assert_eq!(
        (
            &patched["name"],
            &patched["plan"],
            &patched["retention_days"],
            &patched["limits"]["instances"]
        ),
        (&json!("acme 2"), &Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(operator.get(&path).await.expect(200), patched);
    let listed = operator.get("/v1/operator/tenants").await.expect(200);
    assert!(listed["data"].as_array().unwrap().contains(&patched));

    let another = operator
        .post(&format!("{path}/api-keys"), json!({"name": "second"}))
        .await
        .expect(201);
    let second = world.client(Some(another["key"].as_str().unwrap().to_owned()));
    let keys = second.get("/v1/api-keys").await.expect(200);
    assert_eq!(keys["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_tenant_is_pointed_at() {
    let world = World::start().await;
    let operator = world.operator().await;
    let (path, ..) = make(&world, &operator).await;
    for (body, pointers) in [
        (
            json!({"name": "", "plan": "unheard-of", "retention_days": 1}),
            vec!["/name", "/plan", "/retention_days"],
        ),
        (
            json!({"name": "x", "retention_days": 3651}),
            vec!["/retention_days"],
        ),
    ] {
        let problem = operator
            .post("/v1/operator/tenants", body)
            .await
            .expect_problem(422, "validation_failed");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(
            errors.iter().map(|error| &error["pointer"]).collect::<Vec<_>>(),
            pointers
        );
    }
    for (body, pointer) in [
        (json!({"name": null}), "/name"),
        (json!({"suspended": null}), "/suspended"),
    ] {
        let problem = operator
            .patch(&path, body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    for body in [
        json!({"limits": {"instances": -1}}),
        json!({"limits": {"wishes": 3}}),
    ] {
        operator
            .patch(&path, body)
            .await
            .expect_problem(400, "invalid_body");
    }
    let nobody = "/v1/operator/tenants/ten_00000000000000000000000000";
    operator.get(nobody).await.expect_problem(404, "not_found");
    operator
        .patch(nobody, json!({"name": "x"}))
        .await
        .expect_problem(404, "not_found");
    operator.delete(nobody).await.expect_problem(404, "not_found");
    operator
        .post(&format!("{nobody}/api-keys"), json!({"name": "x"}))
        .await
        .expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_keys_are_made_listed_and_revoked_and_reach_no_tenant() {
    let world = World::start().await;
    let operator = world.operator().await;
    let made = operator
        .post("/v1/operator/api-keys", json!({"name": "second"}))
        .await
        .expect(201);
    let second = world.client(Some(made["key"].as_str().unwrap().to_owned()));
    let listed = second.get("/v1/operator/api-keys").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains("\"key\""));
    for path in ["/v1/instances", "/v1/api-keys", "/v1/events"] {
        second.get(path).await.expect_problem(403, "forbidden");
    }
    let api = world.api();
    for path in ["/v1/operator/tenants", "/v1/operator/api-keys"] {
        api.get(path).await.expect_problem(403, "forbidden");
    }
    let id = made["id"].as_str().unwrap();
    // A tenant's key is none of the operator's.
    let tenants = api.get("/v1/api-keys").await.expect(200)["data"][0]["id"].clone();
    operator
        .delete(&format!("/v1/operator/api-keys/{}", tenants.as_str().unwrap()))
        .await
        .expect_problem(404, "not_found");
    operator
        .delete(&format!("/v1/operator/api-keys/{id}"))
        .await
        .expect(204);
    second
        .get("/v1/operator/api-keys")
        .await
        .expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_is_closed_at_once_and_then_gone() {
    let world = World::start_with(&[("keys.removal_batch", "2")]).await;
    let operator = world.operator().await;
    let (path, tenant, api) = make(&world, &operator).await;
    let id = api.make_instance("theirs").await;
    let stage = TenantStage {
        world: &world,
        api: &api,
    };
    stage.pair(&id, ALICE).await;
    let receiver = Receiver::start().await;
    api.make_webhook(receiver.url(), json!({})).await;
    let sent = api.send_text(&id, BOB, "hi").await;
    api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;
    let mut stream = Stream::open(&api, "", None).await;

    let reply = operator.delete(&path).await;
    assert_eq!(reply.status, 202);
    let body = reply.json();
    assert_eq!(
        (&body["id"], &body["state"]),
        (&json!(tenant), &json!("deleting"))
    );
    stream.ended().await;
    api.get("/v1/instances").await.expect_problem(401, "unauthorized");
    let deleted = gone(&operator, &path).await;
    assert!(deleted["deleted_at"].is_string());
    assert_eq!(deleted["deletion"], Value::Null);
    let actors = operator.get("/v1/operator/actors?limit=500").await.expect(200);
    assert!(!actors.to_string().contains(&id), "{actors}");
    assert_eq!(operator.delete(&path).await.status, 202);
    operator
        .patch(&path, json!({"suspended": false}))
        .await
        .expect_problem(409, "wrong_state");
    operator
        .post(&format!("{path}/api-keys"), json!({"name": "x"}))
        .await
        .expect_problem(404, "not_found");
    // Others go on as before.
    world.api().make_instance("mine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_interrupted_goes_on_with_the_next_start() {
    let mut world = World::start().await;
    let operator_key = world.operator().await.key().to_owned();
    let operator = world.client(Some(operator_key.clone()));
    let (path, tenant, api) = make(&world, &operator).await;
    for n in 0..5 {
        api.make_instance(&format!("{n}")).await;
    }
    world.stop_app().await;
    // What a gateway leaves that is killed right after its answer.
    world
        .offline(async |store| {
            use roost_domain::store::Tenants;
            let at = roost_domain::Timestamp::from_unix_ms(1);
            store.destroy_tenant(tenant.parse().unwrap(), at).await.unwrap();
        })
        .await;
    world.start_app().await;
    let operator = world.client(Some(operator_key));
    gone(&operator, &path).await;
}

/// A tenant of its own with the world's phones.
struct TenantStage<'a> {
    world: &'a World,
    api: &'a Client,
}

impl TenantStage<'_> {
    async fn pair(&self, id: &str, phone: &str) {
        let path = format!("/v1/instances/{id}");
        let connect = json!({"method": "qr"});
        self.api
            .post(&format!("{path}/connect"), connect)
            .await
            .expect(202);
        let shown = self.api.get(&format!("{path}/qr")).await.expect(200);
        let scan = Some(json!({"code": shown["code"]}));
        self.world
            .control(Method::POST, &format!("accounts/{phone}/scan"), scan)
            .await;
        self.api.state_becomes(id, "connected").await;
    }
}
