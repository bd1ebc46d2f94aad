use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
    let mut parser = SseParser::default();
    let mut events = Vec::new();
    for chunk in chunks {
        assert!(parser.push(chunk, |event| events.push(event)));
    }
    events
}

#[test]
fn events_are_cut_wherever_the_frames_end() {
    let text = b": hello\n\nid: 7\nevent: message.sent\ndata: {\"a\":1}\n\nid:8\r\ndata:x\r\ndata: y\r\n\r\n";
    let expected = [
        SseEvent {
            id: Some("7".to_owned()),
            data: "{\"a\":1}".to_owned(),
        },
        SseEvent {
            id: Some("8".to_owned()),
            data: "x\ny".to_owned(),
        },
    ];
    for cut in 0..text.len() {
        assert_eq!(parse(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
    }
}

#[test]
fn comments_and_events_without_data_are_nothing() {
    assert_eq!(parse(&[b":\n\n: keep-alive\n\nretry: 500\n\nid: 3\n\n"]), []);
}

#[test]
fn an_endless_event_is_refused() {
    let mut parser = SseParser::default();
    let chunk = vec![b'x'; EVENT_BYTES_MAX + 1];
    assert!(!parser.push(&chunk, |_| ()));
}

#[tokio::test]
async fn a_lost_stream_resumes_after_the_last_event_it_returned() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for seq in 1..=2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
            let event = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: {seq}\n\
                 data: {{\"seq\":{seq},\"timestamp\":\"2026-01-31T12:00:00.250Z\",\
                 \"type\":\"message.sent\",\"instance_id\":null,\"data\":{{\"message\":{{\"id\":\"msg_1\"}}}}}}\n\n"
            );
            stream.write_all(event.as_bytes()).await.unwrap();
        }
        requests
    });
    let endpoint = Endpoint::new(addr, Some("key")).unwrap();
    let mut tail = Tail::open(endpoint, &["message.sent", "message.failed"], None)
        .await
        .unwrap();
    for seq in 1..=2 {
        let arrival = tail.next().await.unwrap();
        assert_eq!(arrival.event.seq, seq);
        assert_eq!(
            (arrival.in_order, arrival.reconnects),
            (true, u32::from(seq == 2))
        );
        assert_eq!(arrival.event.data.message.unwrap().id, "msg_1");
    }
    let requests = server.await.unwrap();
    assert!(requests[0].starts_with("GET /v1/events?types=message.sent,message.failed HTTP/1.1\r\n"));
    assert!(!requests[0].contains("last-event-id"));
    assert!(requests[1].contains("last-event-id: 1\r\n"));
}
