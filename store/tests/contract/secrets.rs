use bytes::Bytes;
use roost_domain::instance::InstancePatch;
use roost_domain::store::{Collection, Instances, LinkState, StateOp, StoreError};
use roost_store::{KeySource, MasterKey, MasterKeys, OpenError};

use crate::fixture::Fixture;

crate::on_both!(
    secrets_are_nowhere_in_plain_text,
    a_value_moved_to_another_row_does_not_open,
    another_master_key_is_refused,
);

const SECRET: &str = "very-secret-words";

fn put(key: &str, value: &'static str) -> StateOp {
    StateOp::Put {
        collection: Collection::Session,
        key: key.to_owned(),
        value: Bytes::from_static(value.as_bytes()),
        expires_at: None,
    }
}

async fn secrets_are_nowhere_in_plain_text(f: Fixture) {
    let owner = f.owner().await;
    f.store.apply(owner, vec![put("k", SECRET)]).await.unwrap();
    let proxy = Some(Some(format!("socks5://user:{SECRET}@127.0.0.1:1080")));
    let patch = InstancePatch {
        proxy,
        ..InstancePatch::default()
    };
    f.store
        .patch_instance(owner.tenant, owner.instance, patch, f.now())
        .await
        .unwrap();
    let new = roost_domain::instance::NewInstance {
        proxy: Some(format!("http://u:{SECRET}@h:1")),
        ..f.new_instance()
    };
    f.store
        .create_instance(owner.tenant, new, None, f.stamp("k", 1))
        .await
        .unwrap();
    f.store.close().await;
    let written = f.written().await;
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    for plain in [SECRET, &hex] {
        assert!(
            !written
                .windows(plain.len())
                .any(|window| window == plain.as_bytes())
        );
    }
}

async fn a_value_moved_to_another_row_does_not_open(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .apply(owner, vec![put("mine", "a"), put("theirs", "b")])
        .await
        .unwrap();
    let swap = "UPDATE link_state SET value = (SELECT value FROM link_state WHERE key = 'theirs') WHERE key = 'mine'";
    f.sql(swap).await;
    assert!(matches!(
        f.store.get(owner, Collection::Session, "mine").await,
        Err(StoreError::Corrupt(_))
    ));
    assert!(f.store.get(owner, Collection::Session, "theirs").await.is_ok());
}

async fn another_master_key_is_refused(mut f: Fixture) {
    let owner = f.owner().await;
    f.store.apply(owner, vec![put("k", "v")]).await.unwrap();
    f.store.close().await;
    let wrong = KeySource::Given(MasterKeys::one(MasterKey::from_bytes([8; 32])));
    let right = std::mem::replace(&mut f.config.keys, wrong);
    assert!(matches!(f.open_again().await, Err(OpenError::WrongMasterKey)));
    f.config.keys = right;
    f.reopen().await;
    assert!(
        f.store
            .get(owner, Collection::Session, "k")
            .await
            .unwrap()
            .is_some()
    );
}

/// Whoever adds a column decides what may be in it, and writes that down.
#[tokio::test]
async fn every_column_stands_in_the_list_of_what_is_encrypted() {
    let f = Fixture::sqlite().await;
    let columns = "SELECT t.name || '.' || c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c \
                   WHERE t.type = 'table' AND t.name NOT LIKE '\\_%' ESCAPE '\\'";
    let columns = f.sql(columns).await;
    assert!(columns.len() > 100, "{columns:?}");
    let page = include_str!("../../../docs/secrets.md");
    let listed = |table: &str, column: &str| {
        let row = format!("| `{table}` | ");
        let mut rows = page.lines().filter_map(|line| line.strip_prefix(&row));
        rows.any(|row| row.split([',', '|', ':']).any(|name| name.trim() == column))
    };
    let missing: Vec<_> = columns
        .iter()
        .filter(|name| !page.contains(&format!("`{name}`")))
        .filter(|name| {
            name.split_once('.')
                .is_none_or(|(table, column)| !listed(table, column))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "docs/secrets.md does not say how these are kept: {missing:?}"
    );
}
