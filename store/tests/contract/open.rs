use std::os::unix::fs::PermissionsExt;

use roost_domain::store::Node;
use roost_store::{MasterKey, MasterKeyError, MasterKeys, OpenError, StoreConfig, migrate};

use crate::fixture::{Fixture, master_key};

crate::on_both!(
    migrations_are_in_the_ledger_and_run_once,
    a_newer_schema_is_refused
);

async fn migrations_are_in_the_ledger_and_run_once(f: Fixture) {
    f.store.close().await;
    let again = migrate(&f.config, f.entropy.clone()).await.unwrap();
    assert_eq!(again.applied, []);
    assert_eq!(
        (again.ledger[0].version, again.ledger[0].name.as_str()),
        (1, "spine")
    );
}

async fn a_newer_schema_is_refused(f: Fixture) {
    f.store.close().await;
    f.sql("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1")
        .await;
    let Err(error) = f.open_again().await else {
        panic!("opened")
    };
    assert!(
        matches!(error, OpenError::NewerSchema { found: 9999, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("9999"));
}

#[tokio::test]
async fn a_sqlite_database_has_one_owner() {
    let mut f = Fixture::sqlite().await;
    let Err(error) = f.open_again().await else {
        panic!("opened twice")
    };
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    f.reopen().await;
    f.store.check().await.unwrap();
}

#[tokio::test]
async fn an_empty_database_is_migrated_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::sqlite(folder.path().join("sub/roost.db"), master_key());
    let f = Fixture::sqlite().await;
    let migrated = migrate(&config, f.entropy.clone()).await.unwrap();
    assert_eq!(migrated.applied, migrated.ledger);
    assert!(!migrated.ledger.is_empty());
}

#[tokio::test]
async fn an_url_of_no_known_database_is_refused_without_repeating_it() {
    let f = Fixture::sqlite().await;
    for url in [
        "mysql://u:secret@h/d",
        "sqlite:",
        "sqlite::memory:",
        "postgres://u:secret@h:notaport/d",
    ] {
        let config = StoreConfig::new(url, master_key());
        let Err(error) = migrate(&config, f.entropy.clone()).await else {
            panic!("{url}")
        };
        assert!(matches!(error, OpenError::Url(_)), "{error}");
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn a_master_key_file_is_made_once_and_kept_private() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let f = runtime.block_on(Fixture::sqlite());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys/master.key");
    MasterKeys::create(&path, &*f.entropy).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&path).unwrap();
    MasterKeys::create(&path, &*f.entropy).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "no draft is left behind"
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = MasterKeys::load(&path);
    assert!(matches!(refused, Err(MasterKeyError::Mode { mode: 0o640, .. })));
    drop(runtime);
}

#[test]
fn a_master_key_is_32_bytes_in_hex_or_base64() {
    for text in [
        "00".repeat(32),
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(),
    ] {
        assert!(MasterKey::from_text(&format!(" {text}\n")).is_ok());
    }
    for text in [String::new(), "00".repeat(31), "zz".repeat(32), "AAAA".to_owned()] {
        assert!(matches!(MasterKey::from_text(&text), Err(MasterKeyError::Form)));
    }
    assert!(!format!("{:?}", master_key()).contains('7'));
}
