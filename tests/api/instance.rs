use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ALICE, BOB, Client, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_made_listed_changed_and_deleted() {
    let world = World::start().await;
    let api = world.api();
    let reply = api.post("/v1/instances", json!({"name": "first"})).await;
    let location = reply.headers["location"].to_str().unwrap().to_owned();
    let made = reply.expect(201);
    let id = made["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/instances/{id}"));
    assert_eq!(
        (&made["state"], &made["desired_state"]),
        (&json!("created"), &json!("stopped"))
    );
    assert_eq!(made["phone_number"], Value::Null);
    assert!(made.get("tenant_id").is_none() && made.get("epoch").is_none());
    assert_eq!(api.get(&location).await.expect(200), made);

    let changed = api
        .patch(
            &location,
            json!({"name": "renamed", "proxy": "socks5://user:secret@127.0.0.1:1"}),
        )
        .await
        .expect(200);
    assert_eq!(changed["name"], "renamed");
    assert_eq!(changed["proxy"], "socks5://***@127.0.0.1:1");
    assert_eq!(
        api.patch(&location, json!({"proxy": null})).await.expect(200)["proxy"],
        Value::Null
    );
    assert_eq!(
        api.patch(&location, json!({})).await.expect(200)["name"],
        "renamed"
    );

    let list = api.get("/v1/instances").await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(list["next_cursor"], Value::Null);

    assert_eq!(api.delete(&location).await.status, 204);
    api.get(&location).await.expect_problem(404, "not_found");
    api.delete(&location).await.expect_problem(404, "not_found");
    let kinds: Vec<_> = api
        .events(0, "")
        .await
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(kinds.first().unwrap(), "instance.created");
    assert_eq!(kinds.last().unwrap(), "instance.deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page() {
    let world = World::start().await;
    let api = world.api();
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(api.make_instance(&format!("instance {n}")).await);
    }
    let (mut listed, mut path) = (Vec::new(), "/v1/instances?limit=3".to_owned());
    loop {
        let page = api.get(&path).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 3);
        listed.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/instances?limit=3&cursor={cursor}");
    }
    made.sort();
    assert_eq!(listed, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_scans_the_qr_code() {
    let (_world, api, id) = World::start_paired().await;
    let instance = api.get(&format!("/v1/instances/{id}")).await.expect(200);
    assert_eq!(instance["phone_number"], format!("+{ALICE}"));
    assert_eq!(instance["desired_state"], "running");
    assert!(instance["lid"].as_str().unwrap().ends_with("@lid"));
    assert!(instance["connected_at"].is_string());

    let history = api.get(&format!("/v1/instances/{id}/history")).await.expect(200);
    let states: Vec<_> = history["data"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| row["state"].as_str().unwrap())
        .collect();
    assert_eq!(states.first(), Some(&"created"));
    assert_eq!(states.last(), Some(&"connected"));
    assert!(states.contains(&"pairing"), "{states:?}");
    let numbers: Vec<_> = history["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["number"].as_i64().unwrap())
        .collect();
    let expected: Vec<_> = (1..=i64::try_from(numbers.len()).unwrap()).rev().collect();
    assert_eq!(numbers, expected);

    let qr = api.event("instance.qr", |_| true).await;
    assert_eq!(qr["instance_id"], id);
    assert!(qr["data"]["code"].is_string() && qr["data"]["expires_at"].is_string());
    let connected = api
        .event("instance.state_changed", |event| {
            event["data"]["instance"]["state"] == "connected"
        })
        .await;
    assert_eq!(connected["data"]["instance"]["id"], id);
    api.get(&format!("/v1/instances/{id}/qr"))
        .await
        .expect_problem(409, "wrong_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_pairs_by_code() {
    let world = World::start_with(&[("session.query_timeout", "60s")]).await;
    let api = world.api();
    let id = api.make_instance("by code").await;
    let body = json!({"method": "code", "phone_number": format!("+{ALICE}")});
    api.post(&format!("/v1/instances/{id}/connect"), body)
        .await
        .expect(202);
    let shown = api
        .get(&format!("/v1/instances/{id}/pairing-code"))
        .await
        .expect(200);
    let code = shown["code"].as_str().unwrap();
    assert_eq!(code.len(), 8);
    assert!(shown["expires_at"].is_string());
    world
        .control(
            Method::POST,
            &format!("accounts/{ALICE}/link-code"),
            Some(json!({"code": code})),
        )
        .await;
    let instance = api.state_becomes(&id, "connected").await;
    assert_eq!(instance["phone_number"], format!("+{ALICE}"));
    api.event("instance.pairing_code", |event| event["data"]["code"] == code)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_qr_code_comes_as_text_png_or_svg() {
    let world = World::start().await;
    let api = world.api();
    let id = api.make_instance("images").await;
    let path = format!("/v1/instances/{id}/qr");
    api.get(&path).await.expect_problem(409, "wrong_state");
    api.post(&format!("/v1/instances/{id}/connect"), json!({"method": "qr"}))
        .await
        .expect(202);

    // A code can change between two calls; the scanner's must be one that was shown.
    let accept = |media: &'static str| api.request(Method::GET, &path).header("accept", media);
    let png = accept("image/png").send().await.unwrap();
    assert_eq!(png.headers()["content-type"], "image/png");
    assert_eq!(png.headers()["cache-control"], "no-store");
    let scanned = scan(&png.bytes().await.unwrap());
    api.event("instance.qr", |event| event["data"]["code"] == scanned)
        .await;

    let svg = Client::send(accept("image/svg+xml, */*;q=0.1")).await;
    assert_eq!(svg.headers["content-type"], "image/svg+xml");
    assert!(svg.text.contains("<svg"));
    Client::send(accept("text/html"))
        .await
        .expect_problem(406, "not_acceptable");

    world
        .control(
            Method::POST,
            &format!("accounts/{ALICE}/scan"),
            Some(json!({"code": scanned})),
        )
        .await;
    api.state_becomes(&id, "connected").await;
}

/// Reads a one-bit PNG the way a phone's camera would see it.
fn scan(bytes: &[u8]) -> String {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .unwrap();
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let row_bytes = reader.output_line_size(reader.info().width).unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        if pixels[y * row_bytes + x / 8] & (0x80 >> (x % 8)) == 0 {
            0
        } else {
            255
        }
    });
    image.detect_grids()[0].decode().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_disconnects_and_connects_again_without_a_scan() {
    let (_world, api, id) = World::start_paired().await;
    let path = format!("/v1/instances/{id}");
    let stopped = api
        .post(&format!("{path}/disconnect"), json!({}))
        .await
        .expect(200);
    assert_eq!(stopped["desired_state"], "stopped");
    api.state_becomes(&id, "disconnected").await;
    assert_eq!(
        api.get(&path).await.expect(200)["phone_number"],
        format!("+{ALICE}")
    );
    // Paired already: neither a body nor a method is needed.
    Client::send(api.request(Method::POST, &format!("{path}/connect")))
        .await
        .expect(202);
    api.state_becomes(&id, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_pairing_on_both_sides() {
    let (world, api, id) = World::start_paired().await;
    api.post(&format!("/v1/instances/{id}/logout"), json!({}))
        .await
        .expect(200);
    let instance = api.state_becomes(&id, "logged_out").await;
    assert_eq!(instance["phone_number"], Value::Null);
    assert_eq!(instance["desired_state"], "stopped");
    eventually("the phone has no companion", || async {
        let accounts = world.control(Method::GET, "accounts", None).await;
        let account = accounts["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|account| account["phone_number"].as_str().unwrap().contains(ALICE))
            .cloned()
            .unwrap();
        account["devices"]
            .as_array()
            .unwrap()
            .iter()
            .all(|device| device["id"] == 0)
            .then_some(())
    })
    .await;
    // A new scan, of another phone even, connects it again.
    let paired = world.pair(&id, BOB).await;
    assert_eq!(paired["phone_number"], format!("+{BOB}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_comes_back_by_itself() {
    let (world, api, id) = World::start_paired().await;
    let before = api.get(&format!("/v1/instances/{id}/history")).await.expect(200)["data"]
        .as_array()
        .unwrap()
        .len();
    world
        .control(
            Method::POST,
            &format!("accounts/{ALICE}/disconnect-devices"),
            Some(json!({})),
        )
        .await;
    eventually("the loss is in the history", || async {
        let history = api.get(&format!("/v1/instances/{id}/history")).await.expect(200);
        (history["data"].as_array().unwrap().len() > before).then_some(())
    })
    .await;
    api.state_becomes(&id, "connected").await;
    api.event("instance.state_changed", |event| {
        event["data"]["instance"]["state"] == "reconnecting"
    })
    .await;
}
