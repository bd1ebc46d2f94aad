//! Every operation of the served document, tried by every kind of caller. Who may do what is said here
//! once; which scope an operation needs, and what it is called with, is read from the document. An
//! operation that cannot be tried fails the test.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::world::contract::{DOCUMENT, resolved};
use crate::world::{ALICE, BOB, Client, Reply, World, eventually};

/// An operation of the document.
#[derive(Clone)]
struct Operation {
    id: &'static str,
    method: Method,
    route: &'static str,
    json: &'static Value,
}

/// What path parameters can name: by the schema of the parameter, in one tenant.
type Names = BTreeMap<&'static str, String>;

/// A tenant with something of everything.
struct Stage {
    world: World,
    operator: Client,
    /// May do everything in the tenant.
    full: Client,
    names: Names,
    _receiver: Receiver,
}

fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (route, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, json) in item.as_object().unwrap() {
            all.push(Operation {
                id: json["operationId"].as_str().unwrap(),
                method: method.to_ascii_uppercase().parse().unwrap(),
                route,
                json,
            });
        }
    }
    assert!(all.len() > 30, "the document has lost its operations");
    all
}

impl Operation {
    fn is_open(&self) -> bool {
        self.json["security"] == json!([])
    }

    fn is_operators(&self) -> bool {
        self.route.starts_with("/v1/operator/")
    }

    /// The scope that a tenant's key needs.
    fn scope(&self) -> &'static str {
        self.json["x-scope"]
            .as_str()
            .unwrap_or_else(|| panic!("{} does not say its scope", self.id))
    }

    fn takes_stream_tokens(&self) -> bool {
        self.json["x-stream-token"] == true
    }

    /// Whether a key that is bound to instances is kept out of it: always, or as the example has it.
    fn is_for_unbound_keys(&self) -> bool {
        !self.json["x-unbound"].is_null()
    }

    fn parameters(&self) -> impl Iterator<Item = &'static Value> {
        self.json["parameters"].as_array().into_iter().flatten()
    }

    /// What the parameter `id` names: the name of its schema.
    fn named(&self) -> Option<&'static str> {
        let mut parameters = self.parameters();
        let id = parameters.find(|parameter| parameter["in"] == "path" && parameter["name"] == "id")?;
        id["schema"]["$ref"].as_str()?.rsplit('/').next()
    }

    fn path(&self, names: &Names) -> String {
        let mut path = self.route.to_owned();
        for parameter in self.parameters().filter(|parameter| parameter["in"] == "path") {
            let name = parameter["name"].as_str().unwrap();
            let value = match self.named() {
                Some(kind) if name == "id" => {
                    // An operator's key is named like a tenant's, and is another one.
                    let kind = if self.route.starts_with("/v1/operator/api-keys/") {
                        "operator's ApiKeyId"
                    } else {
                        kind
                    };
                    names
                        .get(kind)
                        .unwrap_or_else(|| panic!("{}: the stage has no {kind}", self.id))
                }
                _ => names
                    .get(name)
                    .unwrap_or_else(|| panic!("{}: the stage has no {name}", self.id)),
            };
            path = path.replace(&format!("{{{name}}}"), value);
        }
        path
    }

    fn body(&self) -> Option<Value> {
        let body = &self.json["requestBody"];
        if body.is_null() {
            return None;
        }
        let content = &body["content"]["application/json"];
        let schema = resolved(&content["schema"]);
        let example = [&content["example"], &schema["example"], &schema["examples"][0]]
            .into_iter()
            .find(|example| !example.is_null());
        match example {
            Some(example) => Some(example.clone()),
            None if body["required"] == false => Some(json!({})),
            None => panic!("{} has no example of its body", self.id),
        }
    }

    async fn call(&self, client: &Client, names: &Names) -> Reply {
        self.call_with(client, names, "").await
    }

    async fn call_with(&self, client: &Client, names: &Names, query: &str) -> Reply {
        let path = format!("{}{query}", self.path(names));
        // Without it the log would be a stream that goes on until somebody leaves.
        let request = client
            .request(self.method.clone(), &path)
            .header("accept", "application/json");
        Client::send(match self.body() {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }
}

impl Stage {
    async fn set() -> Self {
        let world = World::start().await;
        let operator = world.operator().await;
        let full = world.api();
        let mut names = Names::new();
        let instance = world.paired(ALICE).await;
        let message = full.send_text(&instance, BOB, "hello").await;
        names.insert("MessageId", text(&message["id"]));
        let receiver = Receiver::start().await;
        let webhook = full
            .make_webhook(receiver.url(), json!({"events": ["custom.*"]}))
            .await;
        let webhook = text(&webhook["id"]);
        full.publish("custom.stage", json!({})).await;
        let delivery = eventually("a delivery", || async {
            let path = format!("/v1/webhooks/{webhook}/deliveries");
            let page = full.get(&path).await.expect(200);
            page["data"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        let key = make_key(&full, json!({"scopes": ["keys:manage"]})).await.0;
        let tenant = operator
            .post("/v1/operator/tenants", json!({"name": "stage"}))
            .await
            .expect(201);
        let operators_key = operator
            .post("/v1/operator/api-keys", json!({"name": "stage"}))
            .await
            .expect(201);
        names.extend([
            ("path", format!("instance/{instance}")),
            ("order", "restart".to_owned()),
            ("InstanceId", instance),
            ("WebhookId", webhook),
            ("DeliveryId", delivery),
            ("ApiKeyId", key),
            ("TenantId", text(&tenant["id"])),
            // Nodes have names, not ids.
            ("id", "local".to_owned()),
            ("operator's ApiKeyId", text(&operators_key["id"])),
        ]);
        Self {
            world,
            operator,
            full,
            names,
            _receiver: receiver,
        }
    }

    /// A client with a key of the tenant that may do just this.
    async fn client(&self, key: Value) -> Client {
        self.world.client(Some(make_key(&self.full, key).await.1))
    }

    async fn client_with(&self, scopes: &[&str]) -> Client {
        self.client(json!({"scopes": scopes})).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Makes a key; its id and its text come back.
async fn make_key(by: &Client, mut key: Value) -> (String, String) {
    key["name"] = json!("matrix");
    let made = by.post("/v1/api-keys", key).await.expect(201);
    (text(&made["id"]), text(&made["key"]))
}

/// Every scope that the document names.
fn scopes() -> Vec<&'static str> {
    let schema = &DOCUMENT["components"]["schemas"]["Scope"]["enum"];
    schema
        .as_array()
        .unwrap()
        .iter()
        .map(|scope| scope.as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_key_every_operation_is_closed() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let valid = stage.full.key();
    let wrong_secret = format!(
        "{}{}",
        &valid[..valid.len() - 1],
        if valid.ends_with('x') { 'y' } else { 'x' }
    );
    let (revoked_id, revoked) = make_key(&stage.full, json!({"scopes": ["*"]})).await;
    let revoked = world.client(Some(revoked));
    // It is used once, so that what was remembered of it has to be forgotten.
    revoked.get("/v1/instances").await.expect(200);
    stage
        .full
        .delete(&format!("/v1/api-keys/{revoked_id}"))
        .await
        .expect(204);
    let soon = jiff::Timestamp::from_millisecond(unix_ms() + 1500).unwrap();
    let expired = stage
        .client(json!({"scopes": ["*"], "expires_at": soon.to_string()}))
        .await;
    eventually("the key expires", || async {
        (expired.get("/v1/instances").await.status == 401).then_some(())
    })
    .await;
    let elsewhere = stage
        .client(json!({"scopes": ["*"], "allowed_networks": ["203.0.113.0/24"]}))
        .await;
    let callers = [
        ("no key", world.client(None)),
        ("a malformed key", world.client(Some("nonsense".to_owned()))),
        ("a wrong secret", world.client(Some(wrong_secret))),
        (
            "an unknown key",
            world.client(Some(format!("rst_{}", "z".repeat(valid.len() - 4)))),
        ),
        ("a revoked key", revoked),
        ("an expired key", expired),
        ("a key of another network", elsewhere),
    ];
    for operation in operations() {
        for (who, client) in &callers {
            let answer = operation.call(client, &stage.names).await;
            if operation.is_open() {
                assert!(
                    answer.status.is_success(),
                    "{} by {who}: {}",
                    operation.id,
                    answer.text
                );
            } else {
                eprintln!("{} by {who}", operation.id);
                answer.expect_problem(401, "unauthorized");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_tenants_and_of_operators_do_not_open_each_others_operations() {
    let stage = Stage::set().await;
    for operation in operations().into_iter().filter(|operation| !operation.is_open()) {
        eprintln!("{}", operation.id);
        let stranger = if operation.is_operators() {
            &stage.full
        } else {
            &stage.operator
        };
        let answer = operation.call(stranger, &stage.names).await;
        answer.expect_problem(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_tenant_finds_nothing() {
    let stage = Stage::set().await;
    let stranger = stage.world.stranger().await;
    for operation in operations() {
        if operation.is_open() || operation.is_operators() || operation.named().is_none() {
            continue;
        }
        eprintln!("{}", operation.id);
        let answer = operation.call(&stranger, &stage.names).await;
        answer.expect_problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenants_keys_open_nothing() {
    let stage = Stage::set().await;
    let made = json!({"name": "suspended", "create_key": true});
    let made = stage
        .operator
        .post("/v1/operator/tenants", made)
        .await
        .expect(201);
    let suspended = stage.world.client(Some(text(&made["api_key"]["key"])));
    suspended.get("/v1/instances").await.expect(200);
    let path = format!("/v1/operator/tenants/{}", made["id"].as_str().unwrap());
    stage
        .operator
        .patch(&path, json!({"suspended": true}))
        .await
        .expect(200);
    for operation in operations() {
        if operation.is_open() || operation.is_operators() {
            continue;
        }
        eprintln!("{}", operation.id);
        let answer = operation.call(&suspended, &stage.names).await;
        answer.expect_problem(403, "tenant_suspended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope_but_the_one_that_is_said_does_not_open_an_operation() {
    let stage = Stage::set().await;
    let mut clients = BTreeMap::new();
    for scope in scopes() {
        let others: Vec<_> = scopes().into_iter().filter(|other| *other != scope).collect();
        clients.insert(scope, stage.client_with(&others).await);
    }
    for operation in operations() {
        if operation.is_open() || operation.is_operators() {
            continue;
        }
        eprintln!("{}", operation.id);
        let answer = operation.call(&clients[operation.scope()], &stage.names).await;
        let problem = answer.expect_problem(403, "forbidden");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(operation.scope()), "{}: {detail}", operation.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_bound_to_another_instance_is_kept_to_it() {
    let stage = Stage::set().await;
    let other = stage.full.make_instance("other").await;
    let bound = stage.client(json!({"scopes": ["*"], "instances": [other]})).await;
    for operation in operations() {
        if operation.is_open() || operation.is_operators() {
            continue;
        }
        eprintln!("{}", operation.id);
        let answer = operation.call(&bound, &stage.names).await;
        match operation.named() {
            _ if operation.is_for_unbound_keys() => drop(answer.expect_problem(403, "forbidden")),
            Some("InstanceId") => drop(answer.expect_problem(403, "forbidden")),
            Some(_) => drop(answer.expect_problem(404, "not_found")),
            // What is left shows the key's own instances only.
            None => assert!(answer.status != 401 && answer.status != 403, "{}", answer.text),
        }
        assert!(operation.named().is_some() || !operation_shows(&stage, &operation, &bound).await);
    }
}

/// Whether a list shows anything of the instance that the key is not bound to.
async fn operation_shows(stage: &Stage, operation: &Operation, bound: &Client) -> bool {
    if operation.method != Method::GET || operation.is_for_unbound_keys() {
        return false;
    }
    let answer = operation.call(bound, &stage.names).await;
    answer.text.contains(&stage.names["InstanceId"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scope_that_is_said_opens_an_operation() {
    let stage = Stage::set().await;
    let mut operations = operations();
    // What takes away what others need comes last.
    operations.sort_by_key(|operation| {
        let ends = ["disconnect_instance", "logout_instance", "order_actor"].contains(&operation.id);
        (
            operation.method == Method::DELETE,
            ends,
            operation.method != Method::GET,
        )
    });
    for operation in operations {
        eprintln!("{}", operation.id);
        let client = if operation.is_open() {
            stage.world.client(None)
        } else if operation.is_operators() {
            stage.operator.clone()
        } else {
            // Nobody makes a key that may do more than the own one.
            let body = operation.body().unwrap_or_default();
            let granted = body["scopes"].as_array().into_iter().flatten();
            let mut scopes: Vec<_> = granted.map(|scope| scope.as_str().unwrap()).collect();
            scopes.push(operation.scope());
            stage.client_with(&scopes).await
        };
        let answer = operation.call(&client, &stage.names).await;
        let status = answer.status.as_u16();
        assert!(
            ![401, 403, 405].contains(&status),
            "{}: {}",
            operation.id,
            answer.text
        );
        if operation.named().is_some() {
            assert_ne!(status, 404, "{}: {}", operation.id, answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_token_opens_streams_and_nothing_else() {
    let stage = Stage::set().await;
    let made = stage.full.post("/v1/stream-tokens", json!({})).await.expect(201);
    let query = format!("?token={}", made["token"].as_str().unwrap());
    let nobody = stage.world.client(None);
    for operation in operations().into_iter().filter(|operation| !operation.is_open()) {
        eprintln!("{}", operation.id);
        let answer = operation.call_with(&nobody, &stage.names, &query).await;
        if operation.takes_stream_tokens() {
            assert!(answer.status != 401 && answer.status != 403, "{}", answer.text);
        } else {
            answer.expect_problem(401, "unauthorized");
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the gateway's clock is the machine's")]
fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
