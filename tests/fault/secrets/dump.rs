//! A busy gateway, and everything that it leaves on disk, searched for everything that is secret.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use reqwest::Method;
use roost::system::{OsEntropy, SystemClock};
use roost_domain::event::Event;
use roost_domain::store::{Collection, CommitObserver, LinkState};
use roost_domain::{Epoch, Owner, TenantId};
use roost_store::{KeySource, SqlStore, StoreConfig};
use rusqlite::types::ValueRef;
use serde_json::json;
use sqlx::{ConnectOptions, Row};
use tokio::net::TcpListener;

use super::search::Wanted;
use crate::gateway::{Gateway, Ready};
use crate::ground::{Api, Database, Ground, Line};

const SENT: &str = "the sent words, \u{fc}ber \"all\"";
const RECEIVED: &str = "the received words \u{1f511} \\ nothing";
const EDITED: &str = "the words of a tenant's own event";
const PROXY_PASSWORD: &str = "proxy-p4ssw0rd";
const HEADER: &str = "Bearer header-credential-7";
const URL_TOKEN: &str = "token-in-the-url-8";
/// By the names of files: the demo's keys for whoever tries the sandbox.
const NOT_SEARCHED: &[&str] = &["sandbox-keys.json"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_busy_run_no_secret_and_no_message_is_on_disk_in_plain_text_on_sqlite() {
    busy_run(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_busy_run_no_secret_and_no_message_is_in_a_table_in_plain_text_on_postgres() {
    busy_run(Database::postgres()).await;
}

async fn busy_run(database: Database) {
    let ground = Ground::new(database).await;
    let key_file = ground.folder.path().join("keys/master.key");
    let mut launch = ground.launch(ground.data_dir(), &[]);
    launch.set_all(&[
        ("ROOST__STORE__ENCRYPT_MESSAGES", "true"),
        ("ROOST__STORE__MASTER_KEY_FILE", key_file.to_str().unwrap()),
    ]);
    let mut gateway = Gateway::start(launch).await;
    let mut wanted = Wanted::default();
    let line = traffic(&ground, &gateway.ready, &mut wanted).await;
    wanted.encoded_keys_in(&std::fs::read(&key_file).unwrap());
    // While it runs there are a log and a shared memory too.
    let running = dump(&ground, &gateway.log()).await;
    gateway.kill();
    let store = StoreConfig::with_keys(store_url(&ground), KeySource::File(key_file));
    link_keys(store, &ground, &line, &mut wanted).await;
    assert!(wanted.keys() > 1000, "there are keys to be looked for");
    let stopped = dump(&ground, &gateway.log()).await;
    for (place, bytes) in running.iter().chain(&stopped) {
        let found = wanted.find_in(bytes);
        assert!(found.is_empty(), "{place} has {found:?}");
    }
    let bytes: usize = stopped.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "{} places, {bytes} bytes, {} parts of keys",
        stopped.len(),
        wanted.keys()
    );
    can_fail(&ground, &gateway, &wanted).await;
}

/// Shows that the search finds what is there: in a table, and in a file.
async fn can_fail(ground: &Ground, gateway: &Gateway, wanted: &Wanted) {
    use base64::Engine as _;
    let key = wanted.a_key();
    let base64 = base64::engine::general_purpose::STANDARD.encode([&key[..], SENT.as_bytes()].concat());
    execute(
        ground,
        &format!("INSERT INTO meta (name, value) VALUES ('planted', '{base64}')"),
    )
    .await;
    std::fs::write(
        ground.data_dir().join("planted"),
        json!({"text": RECEIVED}).to_string(),
    )
    .unwrap();
    let mut found = Vec::new();
    for (_, bytes) in dump(ground, &gateway.log()).await {
        found.extend(wanted.find_in(&bytes));
    }
    for secret in ["the sent text", "the received text"] {
        assert!(found.iter().any(|name| name == secret), "{secret}: {found:?}");
    }
    assert!(found.iter().any(|name| name == "a part of a key"), "{found:?}");
}

/// Uses everything that has a secret.
async fn traffic(ground: &Ground, ready: &Ready, wanted: &mut Wanted) -> Line {
    let api = Api {
        client: &ground.client,
        ready,
    };
    wanted.text("the API key", &ready.api_key);
    wanted.text("the operator's key", &ready.operator_key);
    let url = format!("{}/{URL_TOKEN}?token={URL_TOKEN}", echo().await);
    let hook = json!({"url": url, "events": ["message.*", "custom.*"], "headers": {"X-Credential": HEADER}});
    let hook = api.must(Method::POST, "/v1/webhooks", Some(hook)).await;
    let secret = hook["secret"].as_str().unwrap();
    wanted.text("the webhook's secret", secret);
    wanted.encoded_keys_in(secret.trim_start_matches("whsec_").as_bytes());
    wanted.text("the webhook's header", HEADER);
    wanted.text("the webhook's URL", URL_TOKEN);
    let rotated = format!("/v1/webhooks/{}/rotate-secret", hook["id"].as_str().unwrap());
    let rotated = api.must(Method::POST, &rotated, Some(json!({}))).await;
    wanted.text("the webhook's next secret", rotated["secret"].as_str().unwrap());
    let proxy = format!("socks5://someone:{PROXY_PASSWORD}@127.0.0.1:9");
    let other = json!({"name": "behind a proxy", "proxy": proxy});
    let (status, answer) = api
        .call(Method::POST, "/v1/instances", Some(other), Some("once"))
        .await
        .unwrap();
    assert!(status.is_success(), "{answer}");
    wanted.text("the proxy's password", PROXY_PASSWORD);

    keys(&api, wanted).await;
    let line = ground.pair(ready, 1).await;
    for code in codes(&api).await {
        wanted.text("a QR code", &code);
    }
    let path = format!("/v1/instances/{}/messages", line.instance);
    for n in 0..20 {
        let body = json!({"to": line.peer, "type": "text", "text": {"body": SENT}});
        let (status, answer) = api
            .call(Method::POST, &path, Some(body), Some(&format!("send-{n}")))
            .await
            .unwrap();
        assert!(status.is_success(), "{answer}");
        let body = json!({"to": line.phone, "text": RECEIVED});
        ground
            .control(
                Method::POST,
                &format!("/accounts/{}/messages", line.peer),
                Some(body),
            )
            .await;
    }
    let event = json!({"type": "custom.note", "data": {"text": EDITED}});
    api.must(Method::POST, "/v1/events", Some(event)).await;
    wanted.text("the sent text", SENT);
    wanted.text("the received text", RECEIVED);
    wanted.text("the event's text", EDITED);
    // Both ways, and told to the webhook, which answers with what it was sent.
    api.until(&format!("{path}?direction=inbound"), |_, body| {
        (body["data"].as_array()?.len() >= 20).then_some(())
    })
    .await;
    let deliveries = format!(
        "/v1/webhooks/{}/deliveries?status=delivered",
        hook["id"].as_str().unwrap()
    );
    let delivery = api
        .until(&deliveries, |_, body| {
            let rows = body["data"].as_array()?;
            (rows.len() >= 40).then(|| rows[0]["id"].as_str().unwrap().to_owned())
        })
        .await;
    let detail = api
        .must(Method::GET, &format!("/v1/deliveries/{delivery}"), None)
        .await;
    assert!(
        detail["attempts"].to_string().contains(HEADER),
        "the answer is kept: {detail}"
    );
    line
}

/// Keys and tokens that are made over the API, repeatably: what is kept for a repetition has no secret.
async fn keys(api: &Api<'_>, wanted: &mut Wanted) {
    let post = async |path: &str, body, once: &str| {
        let answer = api.call(Method::POST, path, Some(body), Some(once)).await;
        let (status, answer) = answer.unwrap();
        assert!(status.is_success(), "{answer}");
        answer
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let key = json!({"name": "made over the API", "scopes": ["events:read"]});
    let key = post("/v1/api-keys", key, "key").await;
    wanted.text("a key made over the API", &text(&key["key"]));
    let rotate = format!("/v1/api-keys/{}/rotate", text(&key["id"]));
    let next = post(&rotate, json!({}), "rotation").await;
    wanted.text("that key's next text", &text(&next["key"]));
    let bound = json!({"name": "with a key", "create_key": true});
    let bound = post("/v1/instances", bound, "instance").await;
    wanted.text("an instance's key", &text(&bound["api_key"]["key"]));
    let token = post("/v1/stream-tokens", json!({}), "token").await;
    wanted.text("a stream token", &text(&token["token"]));
}

/// A receiver that answers with the headers and the body that it got.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handler = async |headers: HeaderMap, body: String| format!("{headers:?} {body}");
    let router = Router::new().route("/{*path}", post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Every code that was shown for pairing.
async fn codes(api: &Api<'_>) -> Vec<String> {
    let events = api.events().await;
    let codes: Vec<String> = events
        .iter()
        .filter(|event| event["type"] == "instance.qr")
        .map(|event| event["data"]["code"].as_str().unwrap().to_owned())
        .collect();
    assert!(!codes.is_empty());
    // Its parts are keys, the advertised secret among them.
    codes
        .iter()
        .flat_map(|code| {
            std::iter::once(code.as_str()).chain(code.split(',').filter(|part| part.len() >= 32))
        })
        .map(str::to_owned)
        .collect()
}

struct Nobody;

impl CommitObserver for Nobody {
    fn committed(&self, _: TenantId, _: &[Arc<Event>]) {}
}

/// Takes the keys of a WhatsApp session from where the engine keeps them.
async fn link_keys(config: StoreConfig, ground: &Ground, line: &Line, wanted: &mut Wanted) {
    let store = SqlStore::open(
        config,
        Arc::new(SystemClock),
        Arc::new(OsEntropy),
        Arc::new(Nobody),
    )
    .await
    .unwrap();
    let row = format!("SELECT tenant_id FROM instance WHERE id = '{}'", line.instance);
    let tenant = query(ground, &row).await;
    let owner = Owner {
        tenant: tenant.trim().parse().unwrap(),
        instance: line.instance.parse().unwrap(),
        epoch: Epoch(i64::MAX),
    };
    for collection in [
        Collection::Device,
        Collection::Identity,
        Collection::Session,
        Collection::Prekey,
        Collection::SignedPrekey,
        Collection::SenderKey,
        Collection::SyncKey,
        Collection::MessageSecret,
    ] {
        for (_, value) in store.scan(owner, collection, "", 2000).await.unwrap() {
            wanted.keys_in(&value);
            if collection == Collection::Device {
                // JSON, with keys as lists of numbers or in base64.
                wanted.encoded_keys_in(&value);
            }
        }
    }
    store.close().await;
}

fn store_url(ground: &Ground) -> String {
    let file = ground.data_dir().join("roost.db");
    ground
        .database
        .url()
        .unwrap_or_else(|| format!("sqlite:{}", file.display()))
}

/// Every file of the data folder, the gateway's output, and every table.
async fn dump(ground: &Ground, log: &Path) -> Vec<(String, Vec<u8>)> {
    // What `roost sandbox` says to the person who started it has the demo's keys, and is no log.
    let output = std::fs::read_to_string(log).unwrap();
    let output = output.lines().filter(|line| !line.starts_with("  "));
    let mut places = vec![(
        "the log".to_owned(),
        output.collect::<Vec<_>>().join("\n").into_bytes(),
    )];
    for entry in std::fs::read_dir(ground.data_dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !NOT_SEARCHED.contains(&name.as_str()) {
            places.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
    match ground.database.url() {
        Some(url) => places.extend(postgres_tables(&url).await),
        None => places.extend(sqlite_tables(&ground.data_dir().join("roost.db"))),
    }
    assert!(places.len() > 10, "there is something to be searched");
    places
}

fn sqlite_tables(file: &Path) -> Vec<(String, Vec<u8>)> {
    let connection = rusqlite::Connection::open(file).unwrap();
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let table = |name: String| {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let (mut rows, mut bytes) = (statement.query([]).unwrap(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            for at in 0..columns {
                match row.get_ref(at).unwrap() {
                    ValueRef::Text(value) | ValueRef::Blob(value) => bytes.extend_from_slice(value),
                    _ => {}
                }
                bytes.push(b'\n');
            }
        }
        (format!("table {name}"), bytes)
    };
    names.into_iter().map(table).collect()
}

async fn postgres_tables(url: &str) -> Vec<(String, Vec<u8>)> {
    let names = postgres(
        url,
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
    )
    .await;
    let mut tables = Vec::new();
    for name in names.lines() {
        // A row as text has bytes in hex.
        let rows = postgres(url, &format!("SELECT t::text FROM \"{name}\" AS t")).await;
        tables.push((format!("table {name}"), rows.into_bytes()));
    }
    tables
}

async fn postgres(url: &str, sql: &str) -> String {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    texts.join("\n")
}

/// The first column of the only row.
async fn query(ground: &Ground, sql: &str) -> String {
    match ground.database.url() {
        Some(url) => postgres(&url, sql).await,
        None => {
            let file = ground.data_dir().join("roost.db");
            let connection = rusqlite::Connection::open(file).unwrap();
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        }
    }
}

async fn execute(ground: &Ground, sql: &str) {
    match ground.database.url() {
        Some(url) => {
            postgres(&url, sql).await;
        }
        None => {
            let file = ground.data_dir().join("roost.db");
            let connection = rusqlite::Connection::open(file).unwrap();
            connection.execute(sql, []).unwrap();
        }
    }
}
