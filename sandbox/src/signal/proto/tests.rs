use proptest::prelude::*;

use super::*;

#[test]
fn text_is_found_through_wrappers() {
    let mut caption = Message::default();
    caption.image_message = Some(Box::new(ImageMessage {
        caption: Some("look".into()),
        ..Default::default()
    }));
    let wrapped = FutureProofMessage {
        message: Some(Box::new(caption)),
    };
    let ephemeral = Message {
        ephemeral_message: Some(Box::new(wrapped)),
        ..Default::default()
    };
    let sent = ephemeral.device_sent("1@s.whatsapp.net");
    let decoded = Message::decode(sent.encode_to_vec().as_slice()).unwrap();
    assert_eq!(decoded, sent);
    assert_eq!(decoded.text(), None);
    assert_eq!(decoded.innermost().text(), Some("look"));
    assert_eq!(Message::of_text("hi").innermost().text(), Some("hi"));
}

#[test]
fn encoding_has_the_known_bytes() {
    assert_eq!(Message::of_text("hi").encode_to_vec(), b"\x0a\x02hi");
    let share = ProtocolMessage {
        r#type: Some(ProtocolType::AppStateSyncKeyShare.into()),
        app_state_sync_key_share: Some(AppStateSyncKeyShare {
            keys: vec![AppStateSyncKey {
                key_id: Some(AppStateSyncKeyId {
                    key_id: Some(vec![9]),
                }),
                key_data: None,
            }],
        }),
        ..Default::default()
    };
    let bytes = Message::of_protocol(share).encode_to_vec();
    assert_eq!(bytes, [0x62, 11, 0x10, 6, 0x3a, 7, 0x0a, 5, 0x0a, 3, 0x0a, 1, 9]);
}

#[test]
fn zero_is_written_and_differs_from_absent() {
    let revoke = ProtocolMessage {
        r#type: Some(ProtocolType::Revoke.into()),
        ..Default::default()
    };
    assert_eq!(revoke.encode_to_vec(), [0x10, 0]);
    let history = HistorySync::default().encode_to_vec();
    assert_eq!(history, [8, 0]);
}

#[test]
fn stamp_sets_the_version_and_keeps_the_rest() {
    // Version 3, and a field (snapshotMac) the sandbox does not know.
    let patch = vec![0x0a, 2, 8, 3, 0x22, 1, 0xee];
    let stamped = SyncdPatchVersion::stamp(patch.clone(), 9);
    assert!(stamped.starts_with(&patch));
    let read = SyncdPatchVersion::decode(stamped.as_slice()).unwrap();
    assert_eq!(read, SyncdPatchVersion::of(9));
}

#[test]
fn nesting_is_limited() {
    let mut message = Message::of_text("deep");
    for _ in 0..300 {
        message = message.device_sent("x");
    }
    assert!(Message::decode(message.encode_to_vec().as_slice()).is_err());
}

proptest! {
    #[test]
    fn decoders_survive_arbitrary_bytes(bytes: Vec<u8>) {
        let _ = Message::decode(bytes.as_slice());
        let _ = HistorySync::decode(bytes.as_slice());
        let _ = AdvSignedDeviceIdentityHmac::decode(bytes.as_slice());
        let _ = SyncdPatchVersion::decode(bytes.as_slice());
    }
}
