//! The traits' plain promises: what is put can be got.

use super::*;

#[tokio::test]
async fn identities_and_sessions_are_kept_and_removed() {
    let Fixture { backend, state, .. } = fixture();
    backend.put_identity("1@lid", [1; 32]).await.unwrap();
    backend
        .put_identities_batch(&[(arc("2@lid"), [2; 32]), (arc("2:3@lid"), [3; 32])])
        .await
        .unwrap();
    assert_eq!(backend.load_identity("2:3@lid").await.unwrap(), Some([3; 32]));
    backend.delete_identity("1@lid").await.unwrap();
    assert_eq!(backend.load_identity("1@lid").await.unwrap(), None);
    backend.put_session("1@lid", b"one").await.unwrap();
    state.take_units();
    backend
        .put_sessions_batch(&[
            (arc("2@lid"), Bytes::from("two")),
            (arc("3@lid"), Bytes::from("three")),
        ])
        .await
        .unwrap();
    assert_eq!(state.take_units().len(), 1, "a batch is one unit");
    assert_eq!(
        backend.get_session("3@lid").await.unwrap().as_deref(),
        Some(&b"three"[..])
    );
    assert!(backend.has_session("1@lid").await.unwrap());
    backend.delete_session("1@lid").await.unwrap();
    assert!(!backend.has_session("1@lid").await.unwrap());
}

#[tokio::test]
async fn signal_state_of_a_user_is_found_for_any_device_and_nobody_else() {
    let Fixture { backend, .. } = fixture();
    backend.put_session("12345@lid", b"s").await.unwrap();
    backend
        .put_identity("678:9@s.whatsapp.net", [0; 32])
        .await
        .unwrap();
    for (user, known) in [
        ("12345", true),
        ("678", true),
        ("1234", false),
        ("67", false),
        ("9", false),
    ] {
        assert_eq!(
            backend.has_signal_state_for_user(user).await.unwrap(),
            known,
            "{user}"
        );
    }
}

#[tokio::test]
async fn prekeys_are_counted_and_a_used_one_stays_gone() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    assert_eq!(backend.get_max_prekey_id().await.unwrap(), 0);
    backend.store_prekey(9, b"nine", false).await.unwrap();
    backend
        .store_prekeys_batch(&[(10, Bytes::from("ten")), (2, Bytes::from("two"))], false)
        .await
        .unwrap();
    assert_eq!(
        backend.get_max_prekey_id().await.unwrap(),
        10,
        "as a number, not as text"
    );
    backend.remove_prekey(10).await.unwrap();
    assert_eq!(
        backend.load_prekey(10).await.unwrap(),
        None,
        "gone for the link at once"
    );
    backend.mark_prekeys_uploaded(&[9, 10, 11]).await.unwrap();
    assert_eq!(backend.load_prekey(10).await.unwrap(), None);
    assert_eq!(
        backend.load_prekey(11).await.unwrap(),
        None,
        "marking inserts nothing"
    );
    let mut found = backend.load_prekeys_batch(&[2, 9, 10, 99]).await.unwrap();
    found.sort();
    assert_eq!(found, [(2, Bytes::from("two")), (9, Bytes::from("nine"))]);
    backend.flush().await.unwrap();
    assert_eq!(state.count(owner, Collection::Prekey), 2);
}

#[tokio::test]
async fn signed_prekeys_and_sender_keys_are_kept() {
    let Fixture { backend, .. } = fixture();
    backend.store_signed_prekey(1, b"a").await.unwrap();
    backend.store_signed_prekey(2, b"b").await.unwrap();
    assert_eq!(
        backend.load_all_signed_prekeys().await.unwrap(),
        [(1, b"a".to_vec()), (2, b"b".to_vec())]
    );
    backend.remove_signed_prekey(1).await.unwrap();
    assert_eq!(backend.load_signed_prekey(1).await.unwrap(), None);
    assert_eq!(backend.load_signed_prekey(2).await.unwrap(), Some(b"b".to_vec()));
    backend.put_sender_key("g@g.us::1@lid", b"k").await.unwrap();
    backend
        .put_sender_keys_batch(&[(arc("g@g.us::2@lid"), Bytes::from("l"))])
        .await
        .unwrap();
    assert_eq!(
        backend.get_sender_key("g@g.us::2@lid").await.unwrap(),
        Some(b"l".to_vec())
    );
    backend.delete_sender_key("g@g.us::1@lid").await.unwrap();
    assert_eq!(backend.get_sender_key("g@g.us::1@lid").await.unwrap(), None);
}

#[tokio::test]
async fn app_state_keys_versions_and_macs_are_kept() {
    let Fixture { backend, .. } = fixture();
    assert_eq!(backend.get_latest_sync_key_id().await.unwrap(), None);
    for (id, data) in [(&b"k1"[..], 1), (b"k2", 2)] {
        let key = AppStateSyncKey {
            key_data: vec![data],
            fingerprint: vec![9],
            timestamp: 5,
        };
        backend.set_sync_key(id, key).await.unwrap();
    }
    assert_eq!(backend.get_sync_key(b"k1").await.unwrap().unwrap().key_data, [1]);
    assert_eq!(
        backend.get_latest_sync_key_id().await.unwrap(),
        Some(b"k2".to_vec())
    );
    assert_eq!(backend.get_version("regular").await.unwrap().version, 0);
    let mut version = HashState {
        version: 7,
        hash: [3; 128],
        ..HashState::default()
    };
    version.index_value_map.insert("i".to_owned(), vec![1, 2]);
    backend.set_version("regular", version.clone()).await.unwrap();
    let stored = backend.get_version("regular").await.unwrap();
    assert_eq!(
        (stored.version, stored.hash, stored.index_value_map),
        (7, [3; 128], version.index_value_map)
    );
    let mac = |index: u8, value: u8| AppStateMutationMAC {
        index_mac: vec![index; 32],
        value_mac: vec![value],
    };
    backend
        .put_mutation_macs("regular", 7, &[mac(1, 1), mac(2, 2), mac(3, 3)])
        .await
        .unwrap();
    backend
        .put_mutation_macs("regular_high", 1, &[mac(1, 9)])
        .await
        .unwrap();
    backend
        .delete_mutation_macs("regular", &[vec![3; 32]])
        .await
        .unwrap();
    let found = backend
        .get_mutation_macs("regular", &[[1; 32], [2; 32], [3; 32], [4; 32]])
        .await
        .unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[&[2; 32]], [2]);
    backend.clear_mutation_macs("regular").await.unwrap();
    assert_eq!(backend.get_mutation_mac("regular", &[1; 32]).await.unwrap(), None);
    assert_eq!(
        backend.get_mutation_mac("regular_high", &[1; 32]).await.unwrap(),
        Some(vec![9]),
        "a longer name"
    );
}

#[tokio::test]
async fn sender_key_status_is_kept_per_group_and_device() {
    let Fixture { backend, .. } = fixture();
    backend
        .set_sender_key_status("1@g.us", &[("a:1@lid", true), ("b@lid", false)])
        .await
        .unwrap();
    backend
        .set_sender_key_status("1@g.us", &[("b@lid", true)])
        .await
        .unwrap();
    backend
        .set_sender_key_status("2@g.us", &[("a:1@lid", true), ("aa:1@lid", true)])
        .await
        .unwrap();
    let devices = backend.get_sender_key_devices("1@g.us").await.unwrap();
    assert_eq!(
        devices,
        [("a:1@lid".to_owned(), true), ("b@lid".to_owned(), true)]
    );
    backend.delete_sender_key_device_rows(&["a:1@lid"]).await.unwrap();
    assert_eq!(
        backend.get_sender_key_devices("1@g.us").await.unwrap(),
        [("b@lid".to_owned(), true)]
    );
    assert_eq!(
        backend.get_sender_key_devices("2@g.us").await.unwrap(),
        [("aa:1@lid".to_owned(), true)]
    );
    backend.clear_sender_key_devices("1@g.us").await.unwrap();
    assert!(backend.get_sender_key_devices("1@g.us").await.unwrap().is_empty());
    backend.clear_all_sender_key_devices().await.unwrap();
    assert!(backend.get_sender_key_devices("2@g.us").await.unwrap().is_empty());
}

fn mapping(lid: &str, phone_number: &str) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone_number.to_owned(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".to_owned(),
    }
}

#[tokio::test]
async fn names_are_found_both_ways_and_move() {
    let Fixture { backend, .. } = fixture();
    backend
        .put_lid_mappings(&[mapping("100", "49151"), mapping("200", "49152")])
        .await
        .unwrap();
    assert_eq!(
        backend
            .get_lid_mapping("100")
            .await
            .unwrap()
            .unwrap()
            .phone_number,
        "49151"
    );
    assert_eq!(backend.get_pn_mapping("49152").await.unwrap().unwrap().lid, "200");
    assert_eq!(backend.get_all_lid_mappings().await.unwrap().len(), 2);
    backend.put_lid_mapping(&mapping("100", "49159")).await.unwrap();
    assert!(
        backend.get_pn_mapping("49151").await.unwrap().is_none(),
        "the old number is free"
    );
    assert_eq!(backend.get_pn_mapping("49159").await.unwrap().unwrap().lid, "100");
    backend.put_lid_mapping(&mapping("300", "49152")).await.unwrap();
    assert_eq!(
        backend.get_pn_mapping("49152").await.unwrap().unwrap().lid,
        "300",
        "the most recent"
    );
}

#[tokio::test]
async fn base_keys_are_compared_and_expire() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    backend.save_base_key("1@lid", "M", b"key").await.unwrap();
    assert!(backend.has_same_base_key("1@lid", "M", b"key").await.unwrap());
    assert!(!backend.has_same_base_key("1@lid", "M", b"other").await.unwrap());
    assert!(!backend.has_same_base_key("1@lid", "N", b"key").await.unwrap());
    assert!(
        state
            .row(owner, Collection::BaseKey, "1@lid|M")
            .unwrap()
            .1
            .is_some()
    );
    backend.delete_base_key("1@lid", "M").await.unwrap();
    assert!(!backend.has_same_base_key("1@lid", "M", b"key").await.unwrap());
}

#[tokio::test]
async fn device_lists_and_groups_are_kept() {
    let Fixture { backend, .. } = fixture();
    let record = |user: &str| DeviceListRecord {
        user: user.to_owned(),
        devices: vec![DeviceInfo::new(0, None), DeviceInfo::new(3, Some(4))],
        timestamp: 8,
        phash: Some("2:x".to_owned()),
        raw_id: Some(5),
    };
    backend.update_device_list(record("1")).await.unwrap();
    backend
        .update_device_lists(vec![record("2"), record("3")])
        .await
        .unwrap();
    let stored = backend.get_devices("2").await.unwrap().unwrap();
    assert_eq!(
        (stored.devices.len(), stored.devices[1].key_index, stored.raw_id),
        (2, Some(4), Some(5))
    );
    backend.delete_devices("2").await.unwrap();
    assert!(backend.get_devices("2").await.unwrap().is_none());
    backend.put_group_metadata("1@g.us", b"blob").await.unwrap();
    assert_eq!(
        backend.get_group_metadata("1@g.us").await.unwrap(),
        Some(b"blob".to_vec())
    );
    backend.delete_group_metadata("1@g.us").await.unwrap();
    assert_eq!(backend.get_group_metadata("1@g.us").await.unwrap(), None);
}

#[tokio::test]
async fn tokens_keep_both_halves_and_only_move_forward() {
    let Fixture { backend, .. } = fixture();
    backend
        .touch_tc_token_sender_timestamp("a@lid", 50)
        .await
        .unwrap();
    backend
        .touch_tc_token_sender_timestamp("a@lid", 40)
        .await
        .unwrap();
    backend
        .store_received_tc_token("a@lid", b"new", 30)
        .await
        .unwrap();
    backend
        .store_received_tc_token("a@lid", b"old", 20)
        .await
        .unwrap();
    let token = backend.get_tc_token("a@lid").await.unwrap().unwrap();
    assert_eq!(
        (token.token, token.token_timestamp, token.sender_timestamp),
        (b"new".to_vec(), 30, Some(50))
    );
    let stale = TcTokenEntry {
        token: b"t".to_vec(),
        token_timestamp: 1,
        sender_timestamp: None,
    };
    backend.put_tc_token("b@lid", &stale).await.unwrap();
    backend.put_tc_token("c@lid", &stale).await.unwrap();
    backend.delete_tc_token("c@lid").await.unwrap();
    assert_eq!(backend.get_all_tc_token_jids().await.unwrap(), ["a@lid", "b@lid"]);
    assert_eq!(
        backend.delete_expired_tc_tokens(35, 45).await.unwrap(),
        1,
        "one half of a lives"
    );
    assert_eq!(backend.get_all_tc_token_jids().await.unwrap(), ["a@lid"]);
}
