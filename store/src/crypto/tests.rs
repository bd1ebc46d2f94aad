use roost_domain::{InstanceId, MessageId, Timestamp, WebhookId};

use super::*;
use crate::MasterKey;

struct Counter(std::sync::atomic::AtomicU8);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

/// The first one seals.
fn known(masters: &[u8]) -> Keyring {
    Keyring::new(&keys(masters), false, Arc::new(Counter(0.into())))
}

fn keys(masters: &[u8]) -> MasterKeys {
    let mut keys = masters.iter().map(|&byte| MasterKey::from_bytes([byte; 32]));
    MasterKeys {
        first: keys.next().unwrap(),
        further: keys.collect(),
    }
}

fn keyring(master: u8) -> Keyring {
    known(&[master])
}

const TENANT: fn(u128) -> TenantId = |n| TenantId::from_parts(1, n);
const INSTANCE: fn(u128) -> InstanceId = |n| InstanceId::from_parts(1, n);

#[test]
fn a_sealed_value_opens_in_its_own_row_only() {
    let keys = keyring(1);
    let tenant = keys.tenant(TENANT(1), b"salt");
    let key = tenant.instance(INSTANCE(1));
    let place = Place::LinkState {
        collection: 3,
        key: "49151:0",
    };
    let sealed = key.seal(place, b"secret").unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
    assert_eq!(key.open(place, sealed.clone()).unwrap(), b"secret");
    for other in [
        Place::LinkState {
            collection: 3,
            key: "49152:0",
        },
        Place::LinkState {
            collection: 4,
            key: "49151:0",
        },
        Place::Proxy,
    ] {
        assert!(matches!(
            key.open(other, sealed.clone()),
            Err(StoreError::Corrupt(_))
        ));
    }
    assert!(tenant.instance(INSTANCE(2)).open(place, sealed.clone()).is_err());
    assert!(
        keys.tenant(TENANT(2), b"salt")
            .instance(INSTANCE(1))
            .open(place, sealed.clone())
            .is_err()
    );
    assert!(
        keyring(2)
            .tenant(TENANT(1), b"salt")
            .instance(INSTANCE(1))
            .open(place, sealed.clone())
            .is_err()
    );
    assert!(
        keyring(1)
            .tenant(TENANT(1), b"other")
            .instance(INSTANCE(1))
            .open(place, sealed)
            .is_err()
    );
}

#[test]
fn every_changed_or_missing_byte_is_noticed() {
    let keys = keyring(1);
    let tenant = keys.tenant(TENANT(1), b"salt");
    let key = tenant.instance(INSTANCE(1));
    let sealed = key.seal(Place::Proxy, b"secret").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(key.open(Place::Proxy, changed).is_err());
        assert!(key.open(Place::Proxy, sealed[..at].to_vec()).is_err());
    }
}

#[test]
fn check_value_and_pepper_depend_on_the_master_key() {
    let check = |master| keyring(master).masters()[0].check_value();
    assert_eq!(check(1), check(1));
    assert_ne!(check(1), check(2));
    assert_eq!(
        keyring(1).api_key_hash("rst_a_b"),
        keyring(1).api_key_hash("rst_a_b")
    );
    assert_ne!(
        keyring(1).api_key_hash("rst_a_b"),
        keyring(2).api_key_hash("rst_a_b")
    );
}

#[test]
fn the_first_master_key_seals_and_every_known_one_opens() {
    let (tenant, instance) = (TENANT(1), INSTANCE(1));
    let seal = |keys: &Keyring| {
        let key = keys.tenant(tenant, b"salt");
        key.instance(instance).seal(Place::Proxy, b"secret").unwrap()
    };
    let open = |keys: &Keyring, sealed: Vec<u8>| {
        let key = keys.tenant(tenant, b"salt");
        key.instance(instance).open(Place::Proxy, sealed)
    };
    let keys = known(&[1]);
    let old = seal(&keys);
    let held = keys.tenant(tenant, b"salt");
    let retired = keys.replace(&self::keys(&[2, 1]));
    let new = seal(&keys);
    assert_eq!(key_of(&old), Some(keyring(1).sealing_id()));
    assert_eq!(key_of(&new), Some(keyring(2).sealing_id()));
    for sealed in [&old, &new] {
        assert_eq!(open(&keys, sealed.clone()).unwrap(), b"secret");
    }
    assert_eq!(open(&known(&[1, 2]), new.clone()).unwrap(), b"secret");
    let unknown = open(&keyring(1), new).unwrap_err();
    let id = keyring(2).sealing_id().to_string();
    assert!(unknown.to_string().contains(&id), "{unknown}");
    assert!(retired.in_use(), "somebody may still seal with the earlier key");
    drop(held);
    assert!(!retired.in_use());
}

#[test]
fn a_sealed_text_opens_in_its_own_row_and_a_plain_one_is_read_as_it_is() {
    let keys = keyring(1);
    let tenant = keys.tenant(TENANT(1), b"salt");
    let id = MessageId::from_parts(5, 5);
    let place = Place::Message { id };
    let key = tenant.messages(INSTANCE(1), id);
    let text = key.seal_text(place, "{\"text\":\"h\u{e4}llo\"}").unwrap();
    assert!(sealed::is_sealed(&text) && text.starts_with(&sealed::head(keys.sealing_id())));
    assert_eq!(sealed::key_of(&text), Some(keys.sealing_id()));
    assert_eq!(key.open_text(place, &text).unwrap(), "{\"text\":\"h\u{e4}llo\"}");
    assert_eq!(key.open_text(place, "{}").unwrap(), "{}");
    let other = Place::Message {
        id: MessageId::from_parts(5, 6),
    };
    assert!(key.open_text(other, &text).is_err());
    assert!(tenant.messages(INSTANCE(2), id).open_text(place, &text).is_err());
    for at in 0..text.len() {
        let cut = key.open_text(place, &text[..at]);
        assert!(at < 3 || cut.is_err(), "{at}");
    }
}

#[test]
fn every_kind_and_share_has_a_key_of_its_own() {
    let keys = keyring(1);
    let tenant = keys.tenant(TENANT(1), b"salt");
    let (webhook, instance) = (WebhookId::from_parts(1, 1), INSTANCE(1));
    let message = |ms| tenant.messages(instance, MessageId::from_parts(ms, 1));
    let each = [
        tenant.instance(instance),
        tenant.webhook(webhook),
        message(1),
        message(1 << 33),
        tenant.events(1),
        tenant.events(1 << 20),
        tenant.replies(Timestamp::from_unix_ms(1)),
        tenant.replies(Timestamp::from_unix_ms(1 << 33)),
        tenant.deliveries(webhook, 1),
        tenant.deliveries(webhook, 1 << 20),
    ];
    // The same place everywhere, so that only the keys tell them apart.
    for (n, key) in each.iter().enumerate() {
        let sealed = key.seal(Place::Event { seq: 1 }, b"secret").unwrap();
        for (m, other) in each.iter().enumerate() {
            let opened = other.open(Place::Event { seq: 1 }, sealed.clone());
            assert_eq!(opened.is_ok(), n == m, "{n} {m}");
        }
    }
    assert!(
        message(1)
            .open(Place::Proxy, message(2).seal(Place::Proxy, b"x").unwrap())
            .is_ok()
    );
}

#[test]
fn what_the_database_keeps_for_itself_opens_under_its_own_name_only() {
    let keys = known(&[2, 1]);
    let text = keyring(1).seal_meta("pepper", b"secret").unwrap();
    assert_eq!(&**keys.open_meta("pepper", &text).unwrap(), b"secret");
    assert!(keys.open_meta("other", &text).is_err());
    assert!(keyring(2).open_meta("pepper", &text).is_err());
}

#[test]
fn a_destroyed_key_is_not_kept_again() {
    let keys = keyring(1);
    keys.tenant(TENANT(1), b"salt");
    keys.forget(TENANT(1));
    keys.tenant(TENANT(1), b"salt");
    assert!(keys.cached(TENANT(1)).is_none());
}
