//! What is posted: the event in the shape of a version.

use bytes::Bytes;
use roost_domain::event::{Event, EventType};
use roost_domain::webhook::ApiVersion;
use roost_domain::{Address, EventId, InstanceId, TenantId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

/// The shape of 2026-11-01.
#[derive(Serialize)]
struct Payload<'a> {
    id: EventId,
    #[serde(rename = "type")]
    kind: &'a EventType,
    seq: i64,
    timestamp: Timestamp,
    tenant_id: TenantId,
    instance_id: Option<InstanceId>,
    chat: Option<&'a Address>,
    api_version: ApiVersion,
    data: &'a RawValue,
}

/// The body of a POST. The fact itself is taken over as it is in the log.
pub(super) fn body(event: &Event, version: ApiVersion) -> Bytes {
    let ApiVersion::V20261101 = version;
    let payload = Payload {
        id: event.id,
        kind: &event.kind,
        seq: event.seq,
        timestamp: event.timestamp,
        tenant_id: event.tenant_id,
        instance_id: event.instance_id,
        chat: event.chat.as_ref(),
        api_version: version,
        data: &event.data,
    };
    let mut body = Vec::with_capacity(event.data.get().len() + 384);
    // A struct with text keys, written to memory: JSON can always do that.
    let written = serde_json::to_writer(&mut body, &payload);
    debug_assert!(written.is_ok());
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_the_event_and_its_version() {
        let event = Event {
            id: EventId::from_parts(1, 1),
            kind: EventType::from_name("custom.order.paid").unwrap(),
            seq: 7,
            timestamp: Timestamp::from_unix_ms(1_700_000_000_250),
            tenant_id: TenantId::from_parts(1, 2),
            instance_id: None,
            chat: Some("+4915112345678".parse().unwrap()),
            data: RawValue::from_string(r#"{"b":1,"a":1.50}"#.to_owned()).unwrap(),
        };
        let body = body(&event, ApiVersion::LATEST);
        let text = std::str::from_utf8(&body).unwrap();
        let expected = format!(
            r#"{{"id":"{}","type":"custom.order.paid","seq":7,"timestamp":"2023-11-14T22:13:20.250Z","tenant_id":"{}","instance_id":null,"chat":"{}","api_version":"2026-11-01","data":{{"b":1,"a":1.50}}}}"#,
            event.id,
            event.tenant_id,
            event.chat.as_ref().unwrap(),
        );
        assert_eq!(text, expected);
    }
}
