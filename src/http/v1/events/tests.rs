use std::sync::Arc;

use roost_domain::event::{Event, EventType};
use roost_domain::{EventId, TenantId, Timestamp};

use super::sse::frames;
use super::ws::Order;
use crate::http::body;

#[test]
fn an_event_is_one_frame_with_one_data_line() {
    let event = Event {
        id: EventId::from_parts(1, 1),
        kind: EventType::MessageReceived,
        seq: 7,
        timestamp: Timestamp::from_unix_ms(0),
        tenant_id: TenantId::from_parts(1, 1),
        instance_id: None,
        chat: None,
        data: serde_json::value::to_raw_value(&serde_json::json!({"text": "a\nb\r\nc"})).unwrap(),
    };
    let bytes = frames(&[Arc::new(event)]);
    let text = std::str::from_utf8(&bytes).unwrap();
    let lines: Vec<_> = text.split('\n').collect();
    assert_eq!(lines[0], "id: 7");
    assert_eq!(lines[1], "event: message.received");
    let json: serde_json::Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(json["data"]["text"], "a\nb\r\nc");
    assert_eq!(&lines[3..], ["", ""]);
}

#[test]
fn an_order_that_is_not_known_is_refused() {
    assert!(body::parse::<Order>(br#"{"type":"subscribe"}"#).is_ok());
    assert!(
        body::parse::<Order>(br#"{"type":"subscribe","types":["message.received"],"resume_from":3}"#).is_ok()
    );
    for wrong in [
        r#"{"type":"unsubscribe"}"#,
        r#"{"type":"subscribe","types":["message.unknown"]}"#,
        r#"{"type":"subscribe","instance_ids":["x"]}"#,
        r#"{"type":"subscribe","resume_from":"3"}"#,
        r#"{"type":"subscribe","colour":"red"}"#,
        "[]",
        "",
    ] {
        assert!(body::parse::<Order>(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
