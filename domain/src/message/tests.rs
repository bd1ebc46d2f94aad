use super::*;

#[test]
fn every_name_is_written_as_it_is_serialised() {
    for &status in MessageStatus::ALL {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        assert_eq!(MessageStatus::from_name(status.as_str()), Some(status));
    }
    for direction in [Direction::Inbound, Direction::Outbound] {
        assert_eq!(serde_json::to_value(direction).unwrap(), direction.as_str());
        assert_eq!(Direction::from_name(direction.as_str()), Some(direction));
    }
}

#[test]
fn a_status_never_comes_back() {
    for &from in MessageStatus::ALL {
        assert!(!from.may_become(from), "{from:?} twice");
        for &to in MessageStatus::ALL {
            assert!(
                !(from.may_become(to) && to.may_become(from)),
                "{from:?} and {to:?} change places"
            );
        }
    }
}

#[test]
fn a_receipt_that_comes_after_a_later_one_is_dropped() {
    assert!(MessageStatus::Read != MessageStatus::Delivered);
    assert!(!MessageStatus::Read.may_become(MessageStatus::Delivered));
    assert!(!MessageStatus::Delivered.may_become(MessageStatus::Sent));
    assert!(MessageStatus::Accepted.may_become(MessageStatus::Read));
}

#[test]
fn a_receipt_proves_that_a_message_given_up_has_arrived() {
    assert!(MessageStatus::Failed.may_become(MessageStatus::Delivered));
    assert!(MessageStatus::Expired.may_become(MessageStatus::Read));
    assert!(!MessageStatus::Failed.may_become(MessageStatus::Sent));
}

#[test]
fn an_inbound_message_is_only_ever_read() {
    for &to in MessageStatus::ALL {
        assert_eq!(
            MessageStatus::Received.may_become(to),
            to == MessageStatus::Read,
            "{to:?}"
        );
    }
}

#[test]
fn a_message_shows_its_content_at_the_top_level() {
    let value = serde_json::to_value(Content::text("hi")).unwrap();
    assert_eq!(value, serde_json::json!({"type": "text", "text": {"body": "hi"}}));
}
