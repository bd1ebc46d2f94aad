//! What is stored when, and what a crash or a former owner changes.

use super::*;

#[tokio::test]
async fn a_sent_message_can_be_taken_once() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    backend
        .store_sent_message("1@lid", "M", b"payload")
        .await
        .unwrap();
    assert_eq!(
        backend.take_sent_message("1@lid", "M").await.unwrap(),
        Some(b"payload".to_vec())
    );
    assert_eq!(backend.take_sent_message("1@lid", "M").await.unwrap(), None);
    backend
        .store_sent_message("1@lid", "N", b"payload")
        .await
        .unwrap();
    backend.flush().await.unwrap();
    let (_, expires_at) = state.row(owner, Collection::SentMessage, "1@lid|N").unwrap();
    assert!(expires_at.unwrap() > now());
    let restarted = on(state).backend;
    assert_eq!(
        restarted.take_sent_message("1@lid", "N").await.unwrap(),
        Some(b"payload".to_vec())
    );
    assert_eq!(restarted.take_sent_message("1@lid", "N").await.unwrap(), None);
}

#[tokio::test]
async fn sweeps_leave_everything_to_the_node() {
    let Fixture { backend, state, .. } = fixture();
    assert_eq!(backend.delete_expired_sent_messages(i64::MAX).await.unwrap(), 0);
    assert_eq!(backend.delete_expired_pending_inbound(i64::MAX).await.unwrap(), 0);
    assert_eq!(backend.delete_expired_msg_secrets(i64::MAX).await.unwrap(), 0);
    assert!(state.take_units().is_empty());
}

fn secret(id: &str, secret: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: arc("c@lid"),
        sender: arc("s@lid"),
        msg_id: arc(id),
        secret: [secret; 32],
        expires_at,
        message_ts,
    }
}

#[tokio::test]
async fn secrets_are_merged_and_ride() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    assert_eq!(
        backend
            .put_msg_secrets(vec![secret("M", 1, 100, 0), secret("M", 2, 50, 7)])
            .await
            .unwrap(),
        2
    );
    assert!(state.take_units().is_empty());
    assert_eq!(
        backend
            .get_msg_secret_with_ts("c@lid", "s@lid", "M")
            .await
            .unwrap(),
        Some((vec![2; 32], 7))
    );
    backend.put_session("1@lid", b"s").await.unwrap();
    assert_eq!(state.take_units().len(), 1, "it rode with the session");
    let expiry = |state: &Memory| {
        state
            .row(owner, Collection::MessageSecret, "c@lid|s@lid|M")
            .unwrap()
            .1
    };
    assert_eq!(expiry(&state), Some(Timestamp::from_unix_seconds(100)));
    backend.put_msg_secrets(vec![secret("M", 3, 0, 0)]).await.unwrap();
    backend.flush().await.unwrap();
    assert_eq!(expiry(&state), None, "never");
    assert_eq!(
        backend.get_msg_secret("c@lid", "s@lid", "M").await.unwrap(),
        Some(vec![3; 32])
    );
    backend
        .put_msg_secret("c@lid", "s@lid", "N", &[4; 32])
        .await
        .unwrap();
    assert_eq!(
        backend.get_msg_secret("c@lid", "s@lid", "N").await.unwrap(),
        Some(vec![4; 32])
    );
    assert_eq!(backend.get_msg_secret("c@lid", "s@lid", "O").await.unwrap(), None);
}

#[tokio::test]
async fn the_device_survives_a_restart_and_is_not_stored_twice() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    assert!(backend.open().await.unwrap().is_none());
    assert!(!backend.exists().await.unwrap());
    backend.create().await.unwrap();
    assert!(backend.exists().await.unwrap());
    let mut device = backend.load().await.unwrap().unwrap();
    device.push_name = "Ann".to_owned();
    device.pn = Some("49151:3@s.whatsapp.net".parse().unwrap());
    backend.save(&device).await.unwrap();
    state.take_units();
    backend.save(&device).await.unwrap();
    assert!(state.take_units().is_empty(), "nothing changed");
    let restarted = on(Arc::clone(&state)).backend;
    let opened = restarted.open().await.unwrap().unwrap();
    assert_eq!(opened.push_name, "Ann");
    assert!(restarted.exists().await.unwrap());
    let loaded = restarted.load().await.unwrap().unwrap();
    assert_eq!(loaded.pn, device.pn);
    assert_eq!(loaded.registration_id, device.registration_id);
    assert_eq!(
        loaded.noise_key.private_key.serialize(),
        device.noise_key.private_key.serialize()
    );
    assert_eq!(loaded.signed_pre_key_signature, device.signed_pre_key_signature);
    assert_eq!(loaded.adv_secret_key, device.adv_secret_key);
    assert_eq!(state.count(owner, Collection::Device), 1);
}

#[tokio::test]
async fn a_device_that_cannot_be_read_is_told_from_a_database_that_is_away() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    state
        .apply(
            owner,
            vec![put(Collection::Device, "device".to_owned(), "no json")],
        )
        .await
        .unwrap();
    assert!(matches!(backend.open().await, Err(DeviceError::Decode(_))));
    state.set_trouble(Some(StoreError::Unavailable("away".to_owned())));
    assert!(matches!(
        backend.open().await,
        Err(DeviceError::Store(StoreError::Unavailable(_)))
    ));
}

#[tokio::test]
async fn a_device_is_stored_when_the_database_is_back() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    state.set_trouble(Some(StoreError::Unavailable("away".to_owned())));
    let saving = {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move { backend.create().await })
    };
    tokio::task::yield_now().await;
    state.set_trouble(None);
    tokio::time::timeout(Duration::from_secs(10), saving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(state.count(owner, Collection::Device), 1);
}

#[tokio::test]
async fn saving_gives_up_when_the_link_ends() {
    let Fixture {
        backend,
        state,
        reporter,
        ..
    } = fixture();
    state.set_trouble(Some(StoreError::Overloaded));
    reporter.end(LinkEnd::Closed);
    assert!(backend.create().await.is_err());
}

#[tokio::test]
async fn a_later_owner_ends_the_link() {
    let Fixture {
        backend,
        state,
        reporter,
        ..
    } = fixture();
    state.take_over(owner(1, 2));
    assert!(backend.put_session("1@lid", b"s").await.is_err());
    assert_eq!(reporter.reason(), Some(LinkEnd::Fenced));
    assert!(reporter.ending.is_cancelled());
}

#[tokio::test]
async fn a_pending_message_that_is_committed_in_time_is_never_stored() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    backend
        .store_pending_inbound("c", "s", "M", b"text")
        .await
        .unwrap();
    assert_eq!(
        backend.get_pending_inbound("c", "s", "M").await.unwrap(),
        Some(b"text".to_vec())
    );
    backend.delete_pending_inbound("c", "s", "M").await.unwrap();
    assert_eq!(backend.get_pending_inbound("c", "s", "M").await.unwrap(), None);
    backend.put_session("1@lid", b"ratchet").await.unwrap();
    backend.flush().await.unwrap();
    assert_eq!(state.count(owner, Collection::PendingInbound), 0);
    let units = state.take_units();
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].len(), 1, "the session alone");
}

#[tokio::test]
async fn a_pending_message_is_stored_with_the_ratchet_that_read_it() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    let row = PendingInboundRow {
        chat: "c",
        sender: "s",
        id: "M",
        message: b"text",
    };
    backend.store_pending_inbound_batch(&[row]).await.unwrap();
    backend.put_session("1@lid", b"ratchet").await.unwrap();
    let units = state.take_units();
    assert_eq!((units.len(), units[0].len()), (1, 2), "one unit with both");
    let restarted = on(Arc::clone(&state)).backend;
    assert_eq!(
        restarted.get_pending_inbound("c", "s", "M").await.unwrap(),
        Some(b"text".to_vec())
    );
    // The library writes it again before it offers it to the hook.
    restarted
        .store_pending_inbound("c", "s", "M", b"text")
        .await
        .unwrap();
    let key = PendingInboundKey {
        chat: "c",
        sender: "s",
        id: "M",
    };
    restarted.delete_pending_inbound_batch(&[key]).await.unwrap();
    assert_eq!(restarted.get_pending_inbound("c", "s", "M").await.unwrap(), None);
    restarted.flush().await.unwrap();
    assert_eq!(
        state.count(owner, Collection::PendingInbound),
        0,
        "also from disk"
    );
}

#[tokio::test]
async fn a_failed_write_keeps_its_riders_for_the_next() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    backend
        .store_pending_inbound("c", "s", "M", b"text")
        .await
        .unwrap();
    state.set_trouble(Some(StoreError::Unavailable("away".to_owned())));
    assert!(backend.put_session("1@lid", b"ratchet").await.is_err());
    assert_eq!(
        backend.get_pending_inbound("c", "s", "M").await.unwrap(),
        Some(b"text".to_vec())
    );
    state.set_trouble(None);
    backend.put_session("1@lid", b"ratchet").await.unwrap();
    assert_eq!(state.count(owner, Collection::PendingInbound), 1);
    backend.delete_pending_inbound("c", "s", "M").await.unwrap();
    backend.put_session("1@lid", b"ratchet").await.unwrap();
    assert_eq!(state.count(owner, Collection::PendingInbound), 0);
}

#[tokio::test]
async fn too_many_riders_are_stored_on_their_own() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    for n in 0..2_000 {
        backend
            .store_sent_message("1@lid", &format!("{n}"), b"p")
            .await
            .unwrap();
    }
    assert!(!state.take_units().is_empty());
    assert!(state.count(owner, Collection::SentMessage) >= 1_000);
}

#[tokio::test]
async fn writes_that_wait_for_each_other_are_joined() {
    let Fixture {
        backend,
        state,
        owner,
        ..
    } = fixture();
    let writes = (0..50).map(|n| {
        let backend = Arc::clone(&backend);
        async move { backend.put_session(&format!("{n}@lid"), b"s").await }
    });
    for result in futures::future::join_all(writes).await {
        result.unwrap();
    }
    assert_eq!(state.count(owner, Collection::Session), 50);
    assert!(state.take_units().len() < 50);
}
