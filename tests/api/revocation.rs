use std::time::Duration;

use roost::system::SystemClock;
use roost_domain::Clock;
use serde_json::{Value, json};

use crate::event::Stream;
use crate::websocket::Socket;
use crate::world::{Client, World};

/// Makes a key; its path and a client with it come back.
async fn key(world: &World, more: Value) -> (String, Client) {
    let mut body = json!({"name": "x", "scopes": ["*"]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let made = world.api().post("/v1/api-keys", body).await.expect(201);
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    (path, world.client(Some(made["key"].as_str().unwrap().to_owned())))
}

/// Everything that a key can hold open.
struct Open {
    stream: Stream,
    socket: Socket,
    page: tokio::task::JoinHandle<crate::world::Reply>,
}

impl Open {
    async fn new(client: &Client) -> Self {
        let stream = Stream::open(client, "", None).await;
        let mut socket = Socket::open(client).await;
        socket.say(json!({"type": "subscribe"})).await;
        let place = socket.hear().await["after"].clone();
        let request = client
            .request(
                reqwest::Method::GET,
                &format!("/v1/events?after={place}&wait_ms=10000"),
            )
            .header("accept", "application/json");
        let page = tokio::spawn(Client::send(request));
        Self { stream, socket, page }
    }

    /// All of it ends, and says so where it can.
    async fn ends(self) {
        self.streams_end().await.expect_problem(401, "unauthorized");
    }

    /// The streams end. What the page says is given back: nobody sees when its wait has begun.
    async fn streams_end(mut self) -> crate::world::Reply {
        self.stream.ended().await;
        let (closing, code) = self.socket.end().await;
        assert_eq!(
            (&closing["type"], &closing["reason"], code),
            (&json!("closing"), &json!("unauthorized"), 1008)
        );
        self.page.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_streams_at_once_and_opens_none() {
    let world = World::start().await;
    let (path, client) = key(&world, json!({})).await;
    let (_, neighbour) = key(&world, json!({})).await;
    let open = Open::new(&client).await;
    let mut others = Stream::open(&neighbour, "", None).await;
    world.api().delete(&path).await.expect(204);
    open.ends().await;
    client.get("/v1/events").await.expect_problem(401, "unauthorized");
    world.api().publish("custom.x", json!({})).await;
    others.until("custom.x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_revoke_itself() {
    let world = World::start().await;
    let (path, client) = key(&world, json!({})).await;
    let open = Open::new(&client).await;
    client.delete(&path).await.expect(204);
    open.ends().await;
    client.get("/v1/events").await.expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_a_key_may_ends_its_streams_and_a_new_name_does_not() {
    let world = World::start().await;
    let api = world.api();
    let instance = api.make_instance("x").await;
    for change in [
        json!({"allowed_networks": ["203.0.113.0/24"]}),
        json!({"scopes": ["instances:read"]}),
        json!({"instances": [instance]}),
        json!({"expires_at": SystemClock.now().plus(Duration::from_secs(3600)).to_string()}),
    ] {
        let mut tries = 0;
        loop {
            let (path, client) = key(&world, json!({})).await;
            let open = Open::new(&client).await;
            api.patch(&path, change.clone()).await.expect(200);
            let page = open.streams_end().await;
            if page.status == 401 {
                break;
            }
            // It came after the change, and what it may now is what it got.
            tries += 1;
            assert!(tries < 10, "{change}: {}", page.text);
        }
    }
    let (path, client) = key(&world, json!({})).await;
    let mut stream = Stream::open(&client, "", None).await;
    api.patch(&path, json!({"name": "y", "calls_per_minute": 6000}))
        .await
        .expect(200);
    api.publish("custom.x", json!({})).await;
    stream.until("custom.x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_key_expires_or_its_text_is_replaced() {
    let world = World::start().await;
    let at = SystemClock.now().plus(Duration::from_secs(3)).to_string();
    let (_, client) = key(&world, json!({"expires_at": at})).await;
    Open::new(&client).await.ends().await;

    let (path, client) = key(&world, json!({})).await;
    let open = Open::new(&client).await;
    let body = json!({"overlap_seconds": 0});
    world
        .api()
        .post(&format!("{path}/rotate"), body)
        .await
        .expect(200);
    open.ends().await;
    client.get("/v1/events").await.expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_code_ends_with_its_key() {
    let world = World::start_with(&[("session.query_timeout", "60s")]).await;
    let api = world.api();
    let id = api.make_instance("x").await;
    // Nobody answers there, so that no code comes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("socks5://{}", silent.local_addr().unwrap());
    let patch = json!({"proxy": proxy});
    api.patch(&format!("/v1/instances/{id}"), patch).await.expect(200);
    let connect = json!({"method": "qr"});
    api.post(&format!("/v1/instances/{id}/connect"), connect)
        .await
        .expect(202);
    let (path, client) = key(&world, json!({})).await;
    let request = client.request(reqwest::Method::GET, &format!("/v1/instances/{id}/qr"));
    let wait = tokio::spawn(Client::send(request));
    // The call is at work when the dial has begun; a call that comes later is refused anyway.
    drop(silent.accept().await.unwrap());
    api.delete(&path).await.expect(204);
    wait.await.unwrap().expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_process_revokes_is_refused_and_its_streams_end_before_long() {
    use roost_domain::api_key::Principal;
    use roost_domain::store::{Keys, Tenants};

    let world = World::start_with(&[("keys.cache_for", "1s")]).await;
    let (path, client) = key(&world, json!({})).await;
    let (_, neighbour) = key(&world, json!({})).await;
    let open = Open::new(&client).await;
    let mut others = Stream::open(&neighbour, "", None).await;
    // Past the gateway, as another one on the same database would.
    let store = world.app().store();
    let page = roost_domain::page::PageRequest::new(None, 1);
    let tenant = store.tenants(page).await.unwrap().rows[0].id;
    let id = path.rsplit_once('/').unwrap().1.parse().unwrap();
    store.revoke_key(Principal::Tenant(tenant), id).await.unwrap();
    open.ends().await;
    client.get("/v1/events").await.expect_problem(401, "unauthorized");
    world.api().publish("custom.x", json!({})).await;
    others.until("custom.x").await;
}
