use std::time::Duration;

use bytes::Bytes;
use roost_domain::Timestamp;
use roost_domain::store::{Collection, LinkState, Node, StateOp};

use crate::fixture::Fixture;

crate::on_both!(
    what_was_applied_is_read_back,
    changes_take_effect_in_their_order,
    a_scan_goes_by_prefix_in_byte_order,
    a_pairing_writes_hundreds_of_prekeys,
    a_sweep_removes_what_has_expired,
);

fn put(key: &str, value: &[u8]) -> StateOp {
    put_in(Collection::Session, key, value, None)
}

fn put_in(collection: Collection, key: &str, value: &[u8], expires_at: Option<Timestamp>) -> StateOp {
    StateOp::Put {
        collection,
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        expires_at,
    }
}

fn clear(prefix: &str) -> StateOp {
    StateOp::Clear {
        collection: Collection::Session,
        prefix: prefix.to_owned(),
    }
}

async fn keys(f: &Fixture, owner: roost_domain::Owner, prefix: &str) -> Vec<String> {
    let found = f
        .store
        .scan(owner, Collection::Session, prefix, 100)
        .await
        .unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

async fn what_was_applied_is_read_back(f: Fixture) {
    let owner = f.owner().await;
    let other = f.instance(owner.tenant).await;
    let long = vec![0xA5; 100_000];
    let ops = vec![
        put("a", b"one"),
        put("b", &long),
        put("empty", b""),
        put_in(Collection::Identity, "a", b"two", None),
    ];
    f.store.apply(owner, ops).await.unwrap();
    f.store.apply(owner, vec![put("a", b"newer")]).await.unwrap();
    let get = async |key: &str| f.store.get(owner, Collection::Session, key).await.unwrap();
    assert_eq!(get("a").await.as_deref(), Some(&b"newer"[..]));
    assert_eq!(get("b").await.as_deref(), Some(&long[..]));
    assert_eq!(get("empty").await.as_deref(), Some(&b""[..]));
    assert_eq!(get("none").await, None);
    assert_eq!(
        f.store
            .get(owner, Collection::Identity, "a")
            .await
            .unwrap()
            .as_deref(),
        Some(&b"two"[..])
    );
    assert_eq!(f.store.get(other, Collection::Session, "a").await.unwrap(), None);
    let wanted = ["b", "none", "a", "a"].map(str::to_owned);
    let mut many = f
        .store
        .get_many(owner, Collection::Session, &wanted)
        .await
        .unwrap();
    many.sort();
    assert_eq!(
        many.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(
        f.store
            .last_key(owner, Collection::Session)
            .await
            .unwrap()
            .as_deref(),
        Some("empty")
    );
    assert_eq!(f.store.last_key(owner, Collection::Prekey).await.unwrap(), None);
}

async fn changes_take_effect_in_their_order(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .apply(
            owner,
            vec![put("x:1", b"old"), put("x:2", b"old"), put("y", b"old")],
        )
        .await
        .unwrap();
    let delete = StateOp::Delete {
        collection: Collection::Session,
        key: "y".to_owned(),
    };
    let ops = vec![
        put("x:3", b"gone"),
        clear("x:"),
        put("x:4", b"kept"),
        put("y", b"gone"),
        delete,
        put("z", b"1"),
        put("z", b"2"),
    ];
    f.store.apply(owner, ops).await.unwrap();
    assert_eq!(keys(&f, owner, "").await, ["x:4", "z"]);
    assert_eq!(
        f.store
            .get(owner, Collection::Session, "z")
            .await
            .unwrap()
            .as_deref(),
        Some(&b"2"[..])
    );
    f.store.apply(owner, vec![clear("")]).await.unwrap();
    assert_eq!(keys(&f, owner, "").await, Vec::<String>::new());
}

async fn a_scan_goes_by_prefix_in_byte_order(f: Fixture) {
    let owner = f.owner().await;
    let all = ["A", "B_", "a", "a-b", "a1", "a_", "b", "\u{e4}", "\u{10FFFF}"];
    f.store
        .apply(owner, all.iter().rev().map(|key| put(key, b"v")).collect())
        .await
        .unwrap();
    assert_eq!(keys(&f, owner, "").await, all);
    assert_eq!(keys(&f, owner, "a").await, ["a", "a-b", "a1", "a_"]);
    assert_eq!(keys(&f, owner, "\u{10FFFF}").await, ["\u{10FFFF}"]);
    assert_eq!(
        f.store
            .scan(owner, Collection::Session, "", 2)
            .await
            .unwrap()
            .len(),
        2
    );
    f.store.apply(owner, vec![clear("a")]).await.unwrap();
    assert_eq!(
        keys(&f, owner, "").await,
        ["A", "B_", "b", "\u{e4}", "\u{10FFFF}"]
    );
}

async fn a_pairing_writes_hundreds_of_prekeys(f: Fixture) {
    let owner = f.owner().await;
    let ops = (1..=812).map(|n| put_in(Collection::Prekey, &format!("{n:08}"), &[n as u8; 70], None));
    f.store.apply(owner, ops.collect()).await.unwrap();
    assert_eq!(
        f.store
            .last_key(owner, Collection::Prekey)
            .await
            .unwrap()
            .as_deref(),
        Some("00000812")
    );
    let wanted: Vec<String> = (1..=2000).map(|n| format!("{n:08}")).collect();
    assert_eq!(
        f.store
            .get_many(owner, Collection::Prekey, &wanted)
            .await
            .unwrap()
            .len(),
        812
    );
}

async fn a_sweep_removes_what_has_expired(f: Fixture) {
    let owner = f.owner().await;
    let soon = f.now().plus(Duration::from_secs(10));
    let ops = vec![
        put_in(Collection::Session, "brief", b"v", Some(soon)),
        put("long", b"v"),
    ];
    f.store.apply(owner, ops).await.unwrap();
    let month = Duration::from_secs(30 * 86_400);
    f.store.sweep(f.now(), month).await.unwrap();
    assert_eq!(keys(&f, owner, "").await, ["brief", "long"]);
    f.clock.advance(Duration::from_secs(10));
    assert_eq!(f.store.sweep(f.now(), month).await.unwrap(), 1);
    assert_eq!(keys(&f, owner, "").await, ["long"]);
}
