use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ALICE, BOB, Client, World, eventually};

/// A client of the stream that parses frames as a browser would.
pub struct Stream {
    response: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    buffer: String,
}

/// One frame: id, event and data.
pub struct Frame {
    pub id: i64,
    pub event: String,
    pub data: Value,
}

impl Stream {
    pub async fn open(api: &Client, query: &str, last_event_id: Option<i64>) -> Self {
        let mut request = api
            .request(Method::GET, &format!("/v1/events{query}"))
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self {
            response: Box::pin(response.bytes_stream()),
            buffer: String::new(),
        };
        // The greeting says that the subscription holds.
        stream.chunk_until(": connected\n\n").await;
        stream
    }

    async fn chunk_until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.buffer.find(end) {
                let rest = self.buffer.split_off(at + end.len());
                return std::mem::replace(&mut self.buffer, rest);
            }
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(60), self.response.next()).await;
            self.buffer
                .push_str(std::str::from_utf8(&chunk.expect("silence").expect("end").unwrap()).unwrap());
        }
    }

    /// Reads to its end.
    pub async fn ended(&mut self) {
        let read = async { while self.response.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
        tokio::time::timeout(std::time::Duration::from_secs(60), read)
            .await
            .expect("the stream stays open");
    }

    pub async fn next(&mut self) -> Frame {
        loop {
            let text = self.chunk_until("\n\n").await;
            if text.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_else(|| panic!("no {name} in {text}"))
                    .to_owned()
            };
            let data: Value = serde_json::from_str(&field("data: ")).unwrap();
            return Frame {
                id: field("id: ").parse().unwrap(),
                event: field("event: "),
                data,
            };
        }
    }

    pub async fn until(&mut self, kind: &str) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.event == kind {
                return frame;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_next_event_and_misses_none() {
    let world = World::start().await;
    let api = world.api();
    let first = api.make_instance("before").await;
    let mut stream = Stream::open(&api, "", None).await;
    let mut made = Vec::new();
    for n in 0..20 {
        made.push(api.make_instance(&format!("after {n}")).await);
    }
    let mut seq = None;
    for id in made {
        let frame = stream.next().await;
        assert_ne!(frame.data["instance_id"], first);
        assert_eq!(
            (frame.event.as_str(), frame.data["type"].as_str().unwrap()),
            ("instance.created", "instance.created")
        );
        assert_eq!(frame.data["instance_id"], id);
        assert_eq!(frame.data["seq"], frame.id);
        assert!(
            seq.is_none_or(|seq| frame.id == seq + 1),
            "gap before {}",
            frame.id
        );
        seq = Some(frame.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_after_the_last_event_id() {
    let (world, api, id) = World::start_paired().await;
    let mut stream = Stream::open(&api, "?after=0", None).await;
    let connected = loop {
        let frame = stream.until("instance.state_changed").await;
        if frame.data["data"]["instance"]["state"] == "connected" {
            break frame.id;
        }
    };
    drop(stream);
    let sent = api.send_text(&id, BOB, "while away").await;
    api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
        .await;

    // What the client saw last wins over the URL.
    let mut stream = Stream::open(&api, "?after=0", Some(connected)).await;
    let mut expected = connected + 1;
    loop {
        let frame = stream.next().await;
        assert_eq!(frame.id, expected);
        expected += 1;
        if frame.event == "message.delivered" {
            assert_eq!(frame.data["data"]["message"]["id"], sent["id"]);
            break;
        }
    }
    // And it goes on live.
    world.phone_sends(BOB, ALICE, "live").await;
    let frame = stream.until("message.received").await;
    assert_eq!(frame.data["data"]["message"]["text"]["body"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_and_a_page_pass_only_what_is_asked_for() {
    let world = World::start().await;
    let api = world.api();
    let one = api.make_instance("one").await;
    let two = api.make_instance("two").await;
    let mut stream = Stream::open(
        &api,
        &format!("?after=0&types=instance.created,instance.deleted&instance_id={two}"),
        None,
    )
    .await;
    assert_eq!(stream.next().await.data["instance_id"], two);
    api.delete(&format!("/v1/instances/{one}")).await.expect(204);
    api.delete(&format!("/v1/instances/{two}")).await.expect(204);
    let frame = stream.next().await;
    assert_eq!(
        (frame.event.as_str(), frame.data["instance_id"].as_str().unwrap()),
        ("instance.deleted", two.as_str())
    );

    let events = api
        .events(0, &format!("&instance_id={one}&types=instance.deleted"))
        .await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["instance_id"], one);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_log_have_no_gaps() {
    let world = World::start().await;
    let api = world.api();
    for n in 0..7 {
        api.make_instance(&format!("{n}")).await;
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let path = format!("/v1/events?after={after}&limit=3");
        let page = Client::send(
            api.request(Method::GET, &path)
                .header("accept", "application/json"),
        )
        .await
        .expect(200);
        let events = page["data"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        assert!(events.len() <= 3);
        seen.extend(events.iter().map(|event| event["seq"].as_i64().unwrap()));
        after = page["next_after"].as_i64().unwrap();
    }
    assert_eq!(seen, (1..=7).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_wait_for_the_next_event() {
    let world = World::start().await;
    let api = world.api();
    let waiting = tokio::spawn({
        let api = api.clone();
        async move {
            let request = api
                .request(Method::GET, "/v1/events?after=0&wait_ms=50000")
                .header("accept", "application/json");
            Client::send(request).await.expect(200)
        }
    });
    eventually("the wait holds a stream", || async {
        (world.app().runtime().streams().subscriptions() > 0).then_some(())
    })
    .await;
    let id = api.make_instance("awaited").await;
    let page = waiting.await.unwrap();
    assert_eq!(page["data"][0]["instance_id"], id);
    assert_eq!(page["next_after"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_no_more_streams_than_its_share() {
    let world = World::start_with(&[("http.streams_per_tenant_max", "2")]).await;
    let api = world.api();
    let first = Stream::open(&api, "", None).await;
    let _second = Stream::open(&api, "", None).await;
    let third = api.get("/v1/events").await.expect_problem(429, "overloaded");
    assert_eq!(third["retryable"], true);
    let _other_tenant = Stream::open(&world.stranger().await, "", None).await;
    drop(first);
    eventually("the place is free again", || async {
        let response = api.request(Method::GET, "/v1/events").send().await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_that_it_is_alive_and_ends_when_the_gateway_stops() {
    let mut world = World::start_with(&[("http.stream_keep_alive", "1s")]).await;
    let api = world.api();
    let mut stream = Stream::open(&api, "", None).await;
    assert!(stream.chunk_until(": keep-alive\n\n").await.starts_with(':'));
    world.stop_app().await;
    let rest: Vec<_> = stream.response.collect().await;
    assert!(
        rest.iter().all(Result::is_ok),
        "the stream was cut instead of ended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_outside_the_log_is_refused() {
    let world = World::start().await;
    let api = world.api();
    api.make_instance("one").await;
    for (query, header, pointer) in [
        ("?after=2", None, "/query/after"),
        ("?after=-1", None, "/query/after"),
        ("?after=x", None, "/query/after"),
        ("", Some("2"), "/header/last-event-id"),
        ("", Some("-1"), "/header/last-event-id"),
        ("", Some("x"), "/header/last-event-id"),
        ("?types=message.unknown", None, "/query/types"),
        ("?instance_id=ins_x", None, "/query/instance_id"),
        ("?limit=5", None, "/query/limit"),
    ] {
        let mut request = api.request(Method::GET, &format!("/v1/events{query}"));
        if let Some(value) = header {
            request = request.header("last-event-id", value);
        }
        let problem = Client::send(request)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let nothing = json!([]);
    let page = Client::send(
        api.request(Method::GET, "/v1/events?after=1")
            .header("accept", "application/json"),
    )
    .await
    .expect(200);
    assert_eq!((&page["data"], &page["next_after"]), (&nothing, &json!(1)));
}
