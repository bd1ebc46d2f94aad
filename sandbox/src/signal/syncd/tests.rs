//! Facts about patches and snapshots.

use super::*;
use crate::signal::proto::{ChatFlagAction, SyncdBlob, SyncdPatchVersion};

fn keyring() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add(b"key-01", &[7; 32]);
    keyring
}

fn archive(chat: &str, archived: bool) -> Change {
    Change {
        operation: SyncdOperation::Set,
        index: vec!["archive".into(), chat.into()],
        value: SyncActionValue {
            timestamp: Some(1),
            archive_chat_action: Some(ChatFlagAction {
                flag: Some(archived),
                message_range: None,
            }),
            ..SyncActionValue::default()
        },
        version: 3,
    }
}

/// A patch as the server hands it out.
fn stamped(patch: Vec<u8>, version: u64) -> SyncdPatch {
    SyncdPatch::decode(SyncdPatchVersion::stamp(patch, version).as_slice()).unwrap()
}

/// A collection after two patches: one chat archived and taken out again, one archived.
fn collection() -> Replica {
    let keyring = keyring();
    let mut replica = Replica::default();
    let first = replica
        .compose("regular_low", &[archive("a", true), archive("b", true)], &keyring)
        .unwrap();
    replica
        .apply("regular_low", &stamped(first, 1), &keyring)
        .unwrap();
    let second = replica
        .compose("regular_low", &[archive("a", false)], &keyring)
        .unwrap();
    replica
        .apply("regular_low", &stamped(second, 2), &keyring)
        .unwrap();
    replica
}

#[test]
fn what_one_device_composes_another_applies() {
    let replica = collection();
    assert_eq!(replica.version(), 2);
    let mut flags: Vec<_> = replica
        .entries()
        .map(|entry| {
            let flag = entry.value.archive_chat_action.as_ref().unwrap().flag;
            (entry.index[1].clone(), flag)
        })
        .collect();
    flags.sort();
    assert_eq!(
        flags,
        [("a".to_owned(), Some(false)), ("b".to_owned(), Some(true))]
    );
}

#[test]
fn a_removal_takes_the_entry_out_of_the_hash() {
    let keyring = keyring();
    let mut replica = Replica::default();
    let set = replica.compose("x", &[archive("a", true)], &keyring).unwrap();
    replica.apply("x", &stamped(set, 1), &keyring).unwrap();
    let remove = Change {
        operation: SyncdOperation::Remove,
        ..archive("a", true)
    };
    let remove = replica.compose("x", &[remove], &keyring).unwrap();
    replica.apply("x", &stamped(remove, 2), &keyring).unwrap();
    assert_eq!(replica.entries().count(), 0);
    assert_eq!(replica.hash, Replica::default().hash);
}

#[test]
fn a_snapshot_is_what_the_patches_make() {
    let replica = collection();
    let snapshot = replica.snapshot("regular_low", &keyring()).unwrap();
    let restored = Replica::restore("regular_low", &snapshot, &keyring()).unwrap();
    assert_eq!((restored.version, &restored.hash), (2, &replica.hash));
    assert_eq!(
        Replica::restore("regular", &snapshot, &keyring()).err(),
        Some(SyncdError::SnapshotMac)
    );
}

#[test]
fn every_tampering_is_named() {
    let keyring = keyring();
    let replica = Replica::default();
    let composed = replica.compose("x", &[archive("a", true)], &keyring).unwrap();
    let good = stamped(composed, 1);
    let error_of = |patch: &SyncdPatch| replica.clone().apply("x", patch, &keyring).err();
    assert_eq!(error_of(&good), None);

    let mut patch = good.clone();
    patch.patch_mac = Some(vec![0; 32]);
    assert_eq!(error_of(&patch), Some(SyncdError::PatchMac));
    let mut patch = good.clone();
    patch.version = Some(SyncdVersion { version: Some(3) });
    assert!(matches!(
        error_of(&patch),
        Some(SyncdError::Version {
            found: 3,
            expected: 1
        })
    ));
    let mut patch = good.clone();
    patch.key_id = Some(KeyId {
        id: Some(b"other".to_vec()),
    });
    assert_eq!(error_of(&patch), Some(SyncdError::UnknownKey));
    let mut patch = good.clone();
    let record = patch.mutations[0].record.as_mut().unwrap();
    record.value.as_mut().unwrap().blob.as_mut().unwrap()[20] ^= 1;
    assert_eq!(error_of(&patch), Some(SyncdError::ValueMac));
    let mut patch = good.clone();
    let record = patch.mutations[0].record.as_mut().unwrap();
    record.index = Some(SyncdBlob {
        blob: Some(vec![1; 32]),
    });
    assert_eq!(error_of(&patch), Some(SyncdError::IndexMac));
    let mut patch = good;
    patch.mutations[0].record.as_mut().unwrap().value = None;
    assert_eq!(error_of(&patch), Some(SyncdError::Missing("value")));
}

#[test]
fn a_patch_over_another_state_of_the_collection_is_refused() {
    let keyring = keyring();
    let mut other = Replica::default();
    let composed = other.compose("x", &[archive("a", true)], &keyring).unwrap();
    other.apply("x", &stamped(composed, 1), &keyring).unwrap();
    let second = other.compose("x", &[archive("b", true)], &keyring).unwrap();
    let mut ours = Replica {
        version: 1,
        ..Replica::default()
    };
    let refused = ours.apply("x", &stamped(second, 2), &keyring);
    assert_eq!(refused.err(), Some(SyncdError::SnapshotMac));
    assert_eq!(ours.version(), 1, "what fails changes nothing");
}

#[test]
fn what_was_said_under_an_older_key_is_said_once() {
    let mut keyring = keyring();
    let mut replica = Replica::default();
    let mut write = |change: Change, keyring: &Keyring| {
        let patch = replica.compose("x", &[change], keyring).unwrap();
        let version = replica.version() + 1;
        replica.apply("x", &stamped(patch, version), keyring).unwrap();
        replica.entries().count()
    };
    write(archive("a", true), &keyring);
    keyring.add(b"key-02", &[8; 32]);
    assert_eq!(write(archive("a", false), &keyring), 1);
    keyring.add(b"key-03", &[9; 32]);
    let remove = Change {
        operation: SyncdOperation::Remove,
        ..archive("a", false)
    };
    assert_eq!(write(remove, &keyring), 0);
    assert_eq!(replica.hash, Replica::default().hash);
}
