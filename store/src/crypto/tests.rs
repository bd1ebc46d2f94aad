use super::*;

struct Counter(std::sync::atomic::AtomicU8);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

fn keyring(master: u8) -> Keyring {
    Keyring::new(&MasterKey::from_bytes([master; 32]), Arc::new(Counter(0.into())))
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
    assert_eq!(keyring(1).check_value(), keyring(1).check_value());
    assert_ne!(keyring(1).check_value(), keyring(2).check_value());
    assert_eq!(
        keyring(1).api_key_hash("rst_a_b"),
        keyring(1).api_key_hash("rst_a_b")
    );
    assert_ne!(
        keyring(1).api_key_hash("rst_a_b"),
        keyring(2).api_key_hash("rst_a_b")
    );
}
