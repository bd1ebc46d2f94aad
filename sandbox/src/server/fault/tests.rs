use serde_json::{Value, json};

use super::kind::MediaAction;
use super::place::{MediaFault, Who};
use super::{Faults, NewFault};

const ADA: &str = "15550000001";

fn fault(body: Value) -> NewFault {
    NewFault::parse(body).unwrap()
}

fn sends(faults: &Faults, count: usize) -> Vec<bool> {
    (0..count)
        .map(|_| faults.at_send(Who::new(ADA, 1)).is_some())
        .collect()
}

#[test]
fn after_and_count_bound_the_strikes() {
    let faults = Faults::new(1, 10);
    faults
        .add(fault(
            json!({"kind": "reject_sends", "error": 463, "after": 2, "count": 3}),
        ))
        .unwrap();
    let struck = sends(&faults, 8);
    assert_eq!(struck, [false, false, true, true, true, false, false, false]);
    assert_eq!(faults.counts(), (0, 3));
}

#[test]
fn the_same_seed_strikes_in_the_same_places() {
    let run = |seed| {
        let faults = Faults::new(seed, 10);
        let body = json!({"kind": "reject_sends", "error": 479, "probability": 0.5});
        faults.add(fault(body)).unwrap();
        sends(&faults, 64)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let struck = run(7).into_iter().filter(|struck| *struck).count();
    assert!((8..56).contains(&struck), "{struck}");
}

#[test]
fn a_fault_strikes_only_those_it_names() {
    let faults = Faults::new(1, 10);
    let body = json!({"kind": "reject_sends", "error": 429, "account": ADA, "device": 2});
    let number = faults.add(fault(body)).unwrap();
    assert_eq!(faults.at_send(Who::new(ADA, 1)), None);
    assert_eq!(faults.at_send(Who::new("15550000002", 2)), None);
    assert_eq!(faults.at_send(Who::default()), None);
    assert_eq!(faults.at_send(Who::new(ADA, 2)), Some(429));
    faults.remove_if(|candidate| candidate == number);
    assert_eq!(faults.at_send(Who::new(ADA, 2)), None);
}

#[test]
fn ended_faults_make_room_for_new_ones() {
    let faults = Faults::new(1, 2);
    let once = json!({"kind": "reject_sends", "error": 463, "count": 1});
    let ever = json!({"kind": "drop_frame"});
    faults.add(fault(once.clone())).unwrap();
    faults.add(fault(ever.clone())).unwrap();
    assert!(faults.add(fault(ever.clone())).is_err());
    sends(&faults, 1);
    assert!(faults.add(fault(ever.clone())).is_ok());
    assert!(faults.add(fault(ever)).is_err());
}

#[test]
fn media_faults_tell_uploads_from_downloads() {
    let faults = Faults::new(1, 10);
    let slow = json!({"kind": "slow_media", "bytes_per_second": 10, "action": "download", "count": 1});
    faults.add(fault(slow)).unwrap();
    faults
        .add(fault(json!({"kind": "half_upload", "account": ADA})))
        .unwrap();
    faults
        .add(fault(json!({"kind": "media_status", "status": 507})))
        .unwrap();
    let slow = Some(MediaFault::Slow { bytes_per_second: 10 });
    assert_eq!(faults.media(Some(ADA), MediaAction::Download), slow);
    assert_eq!(
        faults.media(Some(ADA), MediaAction::Download),
        Some(MediaFault::Status(507))
    );
    assert_eq!(
        faults.media(Some(ADA), MediaAction::Upload),
        Some(MediaFault::Half)
    );
    assert_eq!(
        faults.media(None, MediaAction::Upload),
        Some(MediaFault::Status(507))
    );
}

#[test]
fn a_wrong_field_is_named() {
    let cases = [
        (json!([]), ""),
        (json!({}), "/kind"),
        (json!({"kind": 5}), "/kind"),
        (json!({"kind": "earthquake"}), "/kind"),
        (json!({"kind": "reject_sends"}), "/error"),
        (json!({"kind": "stream_error", "on": "login"}), "/code"),
        (json!({"kind": "reject_sends", "error": "x"}), "/error"),
        (json!({"kind": "reject_sends", "error": 200}), "/error"),
        (json!({"kind": "reject_sends", "error": 463, "x": 1}), "/x"),
        (json!({"kind": "drop_frame", "x": 1}), "/x"),
        (json!({"kind": "drop_frame", "count": 0}), "/count"),
        (json!({"kind": "drop_frame", "count": -1}), "/count"),
        (json!({"kind": "drop_frame", "device": 1}), "/device"),
        (json!({"kind": "drop_frame", "probability": 0}), "/probability"),
        (json!({"kind": "drop_frame", "probability": 1.5}), "/probability"),
        (json!({"kind": "drop_frame", "duration_ms": 0}), "/duration_ms"),
        (json!({"kind": "refuse_logins", "reason": 402}), "/reason"),
        (json!({"kind": "silence", "nth": 3}), "/nth"),
        (json!({"kind": "silence", "on": "frame", "nth": 0}), "/nth"),
        (json!({"kind": "silence", "on": "later"}), "/on"),
        (json!({"kind": "delay_acks", "delay_ms": 0}), "/delay_ms"),
        (json!({"kind": "swallow_acks", "class": "call"}), "/class"),
        (json!({"kind": "media_status", "status": 42}), "/status"),
    ];
    for (body, pointer) in cases {
        let wrong = NewFault::parse(body.clone()).unwrap_err();
        assert_eq!(wrong.0, pointer, "{body}: {}", wrong.1);
    }
}
