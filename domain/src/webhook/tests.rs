use super::*;
use crate::event::NewEvent;

fn event(kind: EventType, instance: Option<InstanceId>, chat: Option<&str>) -> Event {
    let new = NewEvent {
        kind,
        instance_id: instance,
        chat: chat.map(|chat| chat.parse().unwrap()),
        data: Box::default(),
    };
    Event {
        id: EventId::from_parts(1, 1),
        kind: new.kind,
        seq: 1,
        timestamp: Timestamp::from_unix_ms(0),
        tenant_id: TenantId::from_parts(1, 1),
        instance_id: new.instance_id,
        chat: new.chat,
        data: new.data,
    }
}

fn filter(events: &[&str]) -> WebhookFilter {
    WebhookFilter {
        events: events.iter().map(|text| text.parse().unwrap()).collect(),
        ..WebhookFilter::default()
    }
}

#[test]
fn patterns_take_a_type_a_family_or_everything() {
    let sent = event(EventType::MessageSent, None, None);
    for (pattern, passes) in [
        ("*", true),
        ("message.*", true),
        ("message.sent", true),
        ("message.read", false),
        ("instance.*", false),
        ("custom.message", false),
    ] {
        assert_eq!(filter(&[pattern]).matches(&sent), passes, "{pattern}");
        assert_eq!(pattern.parse::<EventPattern>().unwrap().to_string(), pattern);
    }
    for bad in ["", "message", "message.", "mess.*", "*.*", "message.x", "**"] {
        assert_eq!(bad.parse::<EventPattern>(), Err(PatternError), "{bad}");
    }
}

#[test]
fn a_filter_of_chats_or_instances_lets_nothing_without_them_pass() {
    let instance = InstanceId::from_parts(1, 1);
    let chat = "15550000001@s.whatsapp.net";
    let only = WebhookFilter {
        instances: vec![instance],
        chats: vec![chat.parse().unwrap()],
        ..filter(&["*"])
    };
    assert!(only.matches(&event(EventType::MessageSent, Some(instance), Some(chat))));
    assert!(!only.matches(&event(EventType::MessageSent, Some(instance), None)));
    assert!(!only.matches(&event(EventType::MessageSent, None, Some(chat))));
    let other = Some("15550000002@s.whatsapp.net");
    assert!(!only.matches(&event(EventType::MessageSent, Some(instance), other)));
}

#[test]
fn a_delivery_has_one_name() {
    let id = DeliveryId {
        webhook: WebhookId::from_parts(1, u128::MAX),
        seq: 42,
    };
    let text = id.to_string();
    assert_eq!(text.parse(), Ok(id));
    for bad in [
        "dlv_",
        &text.replace("_42", "_042"),
        &text.replace("_42", "_+42"),
        &text.replace("_42", "_0"),
        &text.replace("_42", ""),
        &text.to_lowercase(),
    ] {
        assert_eq!(bad.parse::<DeliveryId>(), Err(DeliveryIdError), "{bad}");
    }
}

#[test]
fn a_secret_does_not_print() {
    let secret = WebhookSecret {
        key: b"do not print".to_vec(),
        expires_at: None,
    };
    assert!(!format!("{secret:?}").contains("100"), "{secret:?}");
}
