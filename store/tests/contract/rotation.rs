use std::time::Duration;

use bytes::Bytes;
use roost_domain::event::{EventFilter, EventType, NewEvent};
use roost_domain::instance::InstancePatch;
use roost_domain::rotation::{Rotation, RotationState};
use roost_domain::store::{
    Collection, EventLog, Instances, Keys, LinkState, MasterKeys as _, Messages, Replies, StateOp,
    StoreError, Webhooks,
};
use roost_domain::{MessageId, Owner, WebhookId};
use roost_store::{KeySource, MasterKey, MasterKeys, OpenError, StoreConfig};

use crate::fixture::{Fixture, master_key};
use crate::webhook::{new_webhook, secret};

crate::on_both!(
    a_rotation_reseals_everything_and_readers_notice_nothing,
    encrypted_messages_and_plain_ones_are_read_side_by_side,
    a_rotation_seals_what_was_plain_text,
    codes_and_urls_are_sealed_in_any_case,
    api_keys_stay_valid,
    the_earlier_key_is_needed_until_a_rotation_is_done,
    a_value_that_cannot_be_decrypted_keeps_the_earlier_key,
    another_key_first_is_adopted_at_the_start,
);

const TEXT: &str = "words that nobody else may read";

fn given(keys: &[u8]) -> KeySource {
    let mut keys = keys.iter().map(|&byte| MasterKey::from_bytes([byte; 32]));
    KeySource::Given(MasterKeys {
        first: keys.next().unwrap(),
        further: keys.collect(),
    })
}

/// Rows of every kind that is sealed.
struct Filled {
    owner: Owner,
    message: MessageId,
    webhook: WebhookId,
}

async fn fill(f: &Fixture) -> Filled {
    let owner = f.owner().await;
    let put = |n: u32| StateOp::Put {
        collection: Collection::Session,
        key: format!("key{n}"),
        value: Bytes::from(format!("{TEXT} {n}")),
        expires_at: None,
    };
    f.store.apply(owner, (0..300).map(put).collect()).await.unwrap();
    let patch = InstancePatch {
        proxy: Some(Some("socks5://user:word@127.0.0.1:1080".to_owned())),
        ..InstancePatch::default()
    };
    f.store
        .patch_instance(owner.tenant, owner.instance, patch, f.now())
        .await
        .unwrap();
    let message = f.accept(owner, TEXT).await.id;
    let code = NewEvent::code(EventType::InstanceQr, owner.instance, "2@the-code", f.now());
    f.store.append(owner, vec![code]).await.unwrap();
    let stamp = f.stamp("again", 1).idempotency.unwrap();
    f.store
        .keep_reply(owner.tenant, stamp, format!("{{\"x\":\"{TEXT}\"}}"))
        .await
        .unwrap();
    let hook = new_webhook(f, owner.tenant);
    let webhook = hook.id;
    f.store.create_webhook(hook, secret(1), 10, None).await.unwrap();
    Filled {
        owner,
        message,
        webhook,
    }
}

async fn check(f: &Fixture, filled: &Filled) {
    let Filled {
        owner,
        message,
        webhook,
    } = *filled;
    for n in [0, 150, 299] {
        let value = f.store.get(owner, Collection::Session, &format!("key{n}")).await;
        assert_eq!(value.unwrap().unwrap(), format!("{TEXT} {n}").as_bytes());
    }
    let instance = f.store.instance(owner.tenant, owner.instance).await.unwrap();
    assert!(instance.proxy.unwrap().contains("user:word"));
    let found = f.store.message(owner.tenant, message).await.unwrap();
    assert!(format!("{:?}", found.content).contains(TEXT));
    let log = f
        .store
        .events(owner.tenant, 0, 100, &EventFilter::default())
        .await
        .unwrap();
    assert!(
        log.events
            .iter()
            .any(|event| event.data.get().contains("2@the-code"))
    );
    let reply = f.store.reply(owner.tenant, "again", &[1; 32]).await.unwrap();
    assert!(reply.unwrap().body.contains(TEXT));
    let hook = f.store.webhook(owner.tenant, webhook).await.unwrap();
    assert_eq!(hook.url, new_webhook(f, owner.tenant).url);
    assert_eq!(
        f.store
            .webhook_secrets(owner.tenant, webhook)
            .await
            .unwrap()
            .len(),
        1
    );
}

async fn finished(f: &Fixture) -> Rotation {
    let done = async {
        loop {
            match f.store.rotation().await.unwrap() {
                Some(rotation) if rotation.state != RotationState::Running => return rotation,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done)
        .await
        .expect("the rotation ends")
}

/// Rows of `meta` that name earlier keys.
async fn old_keys(f: &Fixture) -> usize {
    f.sql("SELECT name FROM meta WHERE name LIKE 'master_key_old:%'")
        .await
        .len()
}

async fn a_rotation_reseals_everything_and_readers_notice_nothing(mut f: Fixture) {
    let filled = fill(&f).await;
    f.config.keys = given(&[8, 7]);
    f.reopen().await;
    check(&f, &filled).await;
    assert_eq!(old_keys(&f).await, 1);
    f.store.rotate_master_key().await.unwrap();
    loop {
        check(&f, &filled).await;
        if f.store.rotation().await.unwrap().unwrap().state != RotationState::Running {
            break;
        }
    }
    let rotation = finished(&f).await;
    assert_eq!(rotation.state, RotationState::Done, "{rotation:?}");
    assert!(rotation.resealed >= 305, "{rotation:?}");
    assert_eq!((rotation.sealed, rotation.unreadable), (0, 0));
    assert_eq!(old_keys(&f).await, 0);
    f.config.keys = given(&[8]);
    f.reopen().await;
    check(&f, &filled).await;
    f.store.close().await;
    f.config.keys = given(&[7]);
    assert!(matches!(f.open_again().await, Err(OpenError::WrongMasterKey)));
}

async fn encrypted_messages_and_plain_ones_are_read_side_by_side(mut f: Fixture) {
    let plain = fill(&f).await;
    f.config.encrypt_messages = true;
    f.reopen().await;
    let id = f.accept(plain.owner, TEXT).await.id;
    for message in [plain.message, id] {
        let found = f.store.message(plain.owner.tenant, message).await.unwrap();
        assert!(format!("{:?}", found.content).contains(TEXT));
    }
    assert_eq!(
        f.sql("SELECT id FROM message WHERE body LIKE '$1$%'").await,
        [id.to_string()]
    );
    f.config.encrypt_messages = false;
    f.reopen().await;
    check(&f, &plain).await;
    assert!(f.store.message(plain.owner.tenant, id).await.is_ok());
}

async fn a_rotation_seals_what_was_plain_text(mut f: Fixture) {
    let filled = fill(&f).await;
    f.config.encrypt_messages = true;
    f.reopen().await;
    f.store.rotate_master_key().await.unwrap();
    let rotation = finished(&f).await;
    assert_eq!(rotation.state, RotationState::Done, "{rotation:?}");
    // One message and its instance's `created`.
    assert_eq!((rotation.sealed, rotation.resealed), (2, 0), "{rotation:?}");
    check(&f, &filled).await;
    for (table, column) in [("message", "body"), ("event", "payload"), ("idempotency", "body")] {
        let plain = format!("SELECT '1' FROM {table} WHERE {column} NOT LIKE '$1$%'");
        assert_eq!(f.sql(&plain).await.len(), 0, "{table}");
    }
}

async fn codes_and_urls_are_sealed_in_any_case(f: Fixture) {
    let filled = fill(&f).await;
    let url = new_webhook(&f, filled.owner.tenant).url;
    f.store.close().await;
    let written = f.written().await;
    for secret in ["the-code", &url, "user:word"] {
        let found = written
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{secret}");
    }
    let found = written
        .windows(TEXT.len())
        .any(|window| window == TEXT.as_bytes());
    assert!(
        found,
        "a message that is not encrypted is found: the search works"
    );
}

async fn api_keys_stay_valid(mut f: Fixture) {
    let hash = f.store.key_hash("rst_a_b");
    let mac = f.store.stream_token_mac(b"payload");
    f.config.keys = given(&[8, 7]);
    f.reopen().await;
    f.store.rotate_master_key().await.unwrap();
    finished(&f).await;
    f.config.keys = given(&[8]);
    f.reopen().await;
    assert_eq!(f.store.key_hash("rst_a_b"), hash);
    assert_eq!(f.store.stream_token_mac(b"payload"), mac);
}

async fn the_earlier_key_is_needed_until_a_rotation_is_done(mut f: Fixture) {
    let filled = fill(&f).await;
    f.config.keys = given(&[8, 7]);
    f.reopen().await;
    f.store.close().await;
    f.config.keys = given(&[8]);
    let Err(error) = f.open_again().await else {
        panic!("opened without a key that is needed")
    };
    assert!(matches!(error, OpenError::MissingMasterKey { .. }), "{error}");
    f.config.keys = given(&[8, 7]);
    f.reopen().await;
    check(&f, &filled).await;
}

async fn a_value_that_cannot_be_decrypted_keeps_the_earlier_key(mut f: Fixture) {
    fill(&f).await;
    let swap =
        "UPDATE link_state SET value = (SELECT value FROM link_state WHERE key = 'key2') WHERE key = 'key1'";
    f.sql(swap).await;
    f.config.keys = given(&[8, 7]);
    f.reopen().await;
    f.store.rotate_master_key().await.unwrap();
    let rotation = finished(&f).await;
    assert_eq!((rotation.state, rotation.unreadable), (RotationState::Failed, 1));
    assert!(rotation.error.unwrap().contains("link_state.value"));
    assert_eq!(old_keys(&f).await, 1);
    f.sql("DELETE FROM link_state WHERE key = 'key1'").await;
    f.store.rotate_master_key().await.unwrap();
    assert_eq!(finished(&f).await.state, RotationState::Done);
    assert_eq!(old_keys(&f).await, 0);
}

async fn another_key_first_is_adopted_at_the_start(mut f: Fixture) {
    let filled = fill(&f).await;
    for keys in [&[8, 7][..], &[7, 8], &[9, 7, 8]] {
        f.config.keys = given(keys);
        f.reopen().await;
        check(&f, &filled).await;
        f.accept(filled.owner, "more").await;
    }
    f.store.rotate_master_key().await.unwrap();
    assert_eq!(finished(&f).await.state, RotationState::Done);
    f.config.keys = given(&[9]);
    f.reopen().await;
    check(&f, &filled).await;
}

/// A database whose keys are in a file.
async fn with_file() -> (Fixture, std::path::PathBuf) {
    let mut f = Fixture::sqlite().await;
    f.store.close().await;
    let folder = f.path().parent().unwrap().join("own");
    let file = folder.join("master.key");
    f.config.keys = KeySource::File(file.clone());
    f.config.url = format!("sqlite:{}", folder.join("other.db").display());
    f.store = std::sync::Arc::new(f.open_again().await.unwrap());
    (f, file)
}

fn lines(file: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_key_file_has_the_new_key_alone_when_a_rotation_is_done() {
    let (mut f, file) = with_file().await;
    let filled = fill(&f).await;
    let before = lines(&file);
    let begun = f.store.rotate_master_key().await.unwrap();
    assert_eq!(begun.old_key_ids.len(), 1);
    assert_eq!(finished(&f).await.state, RotationState::Done);
    f.store.close().await;
    let after = lines(&file);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    f.reopen().await;
    check(&f, &filled).await;
    assert!(f.store.resume_rotation().await.unwrap().is_none());
}

#[tokio::test]
async fn a_rotation_that_was_interrupted_goes_on() {
    let (mut f, file) = with_file().await;
    let filled = fill(&f).await;
    // As after a crash between the file and the database.
    let mut text = String::from("# a new one\n\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n");
    text.push_str(&std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, text).unwrap();
    f.reopen().await;
    check(&f, &filled).await;
    assert!(f.store.resume_rotation().await.unwrap().is_some());
    assert_eq!(finished(&f).await.state, RotationState::Done);
    f.store.close().await;
    assert_eq!(lines(&file), ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="]);
    f.reopen().await;
    check(&f, &filled).await;
}

#[tokio::test]
async fn a_database_without_its_key_file_is_not_opened_and_nothing_is_made() {
    let (f, file) = with_file().await;
    fill(&f).await;
    f.store.close().await;
    std::fs::remove_file(&file).unwrap();
    let folder = file.parent().unwrap();
    let list = || {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    std::fs::remove_file(folder.join("other.db.lock")).unwrap();
    let (names, bytes) = (list(), std::fs::read(folder.join("other.db")).unwrap());
    let Err(error) = f.open_again().await else {
        panic!("opened without a key")
    };
    assert!(matches!(error, OpenError::NoMasterKey { .. }), "{error}");
    assert_eq!(list(), names);
    assert!(std::fs::read(folder.join("other.db")).unwrap() == bytes);
    let wrong = StoreConfig::new(f.config.url.clone(), master_key());
    let refused = roost_store::migrate(&wrong, f.entropy.clone()).await;
    assert!(matches!(refused, Err(OpenError::WrongMasterKey)));
    assert_eq!(list(), names);
}

#[tokio::test]
async fn keys_that_cannot_be_written_are_not_rotated() {
    let (f, file) = with_file().await;
    fill(&f).await;
    std::fs::remove_file(&file).unwrap();
    let refused = f.store.rotate_master_key().await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert!(f.store.rotation().await.unwrap().is_none());
}
