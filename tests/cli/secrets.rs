//! Master keys and backups.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Gateway, err, fails, roost, run, succeeds};

/// Every file of the data folder with what is in it.
fn snapshot(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("data")).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A data folder with a tenant; its id comes back.
fn made(folder: &Path) -> String {
    let id = succeeds(&run(folder, &["tenant", "create", "acme"])).to_owned();
    // Whoever restores a copy has none.
    std::fs::remove_file(folder.join("data/roost.db.lock")).unwrap();
    id
}

fn key_for(folder: &Path, tenant: &str) -> std::process::Output {
    run(folder, &["key", "create", "--tenant", tenant])
}

#[test]
fn a_database_without_its_key_file_is_not_touched_and_no_new_key_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = made(folder.path());
    let key = folder.path().join("data/master.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let before = snapshot(folder.path());
    for command in [
        &["migrate"][..],
        &["serve"],
        &["tenant", "create", "more"],
        &["keys", "rotate"],
    ] {
        fails(
            &run(folder.path(), command),
            1,
            &["master.key", "missing", "no new key"],
        );
        assert!(snapshot(folder.path()) == before, "{command:?} touched something");
    }
    std::fs::write(&key, kept).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    succeeds(&key_for(folder.path(), &tenant));
}

#[test]
fn a_wrong_master_key_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let before = snapshot(folder.path());
    for command in ["migrate", "serve"] {
        let output = roost(folder.path(), &[command])
            .env("ROOST__STORE__MASTER_KEY", "00".repeat(32))
            .output()
            .unwrap();
        fails(&output, 1, &["not the one this database was written under"]);
        assert!(snapshot(folder.path()) == before, "{command} touched something");
    }
    std::fs::write(folder.path().join("data/roost.db"), "this is no database").unwrap();
    fails(
        &run(folder.path(), &["migrate"]),
        1,
        &["cannot be read as a database"],
    );
}

#[test]
fn the_master_key_is_rotated_while_no_gateway_runs() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = made(folder.path());
    let key = folder.path().join("data/master.key");
    let before = std::fs::read_to_string(&key).unwrap();
    let said = run(folder.path(), &["keys", "rotate"]);
    assert!(succeeds(&said).contains("everything is encrypted under master key"));
    let after = std::fs::read_to_string(&key).unwrap();
    assert!(after != before && after.lines().count() == 1);
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    succeeds(&key_for(folder.path(), &tenant));
    std::fs::write(&key, before).unwrap();
    fails(
        &run(folder.path(), &["migrate"]),
        1,
        &["not the one this database was written under"],
    );

    std::fs::write(&key, after).unwrap();
    let (_gateway, _) = Gateway::start(folder.path());
    let said = run(folder.path(), &["keys", "rotate"]);
    fails(&said, 1, &["another process", "/v1/operator/master-key/rotate"]);
}

#[test]
fn a_configured_master_key_is_changed_in_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = ("01".repeat(32), "02".repeat(32));
    let with = |keys: &[(&str, &str)], arguments: &[&str]| {
        let keys = keys
            .iter()
            .map(|(name, value)| (format!("ROOST__STORE__{name}"), *value));
        roost(folder.path(), arguments).envs(keys).output().unwrap()
    };
    succeeds(&with(&[("MASTER_KEY", &old)], &["tenant", "create", "acme"]));
    let both = [("MASTER_KEY", &*new), ("PREVIOUS_MASTER_KEYS", &*old)];
    succeeds(&with(&both, &["tenant", "create", "second"]));
    fails(
        &with(&[("MASTER_KEY", &new)], &["migrate"]),
        1,
        &["earlier master key", "store.previous_master_keys"],
    );
    succeeds(&with(&both, &["keys", "rotate"]));
    succeeds(&with(&[("MASTER_KEY", &new)], &["migrate"]));
    let alone = with(&[("PREVIOUS_MASTER_KEYS", &old)], &["migrate"]);
    fails(&alone, 2, &["store.previous_master_keys"]);
    assert!(!err(&alone).contains(&old));
}

#[test]
fn a_backup_made_beside_a_running_gateway_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = made(folder.path());
    let file = folder.path().join("copy.db");
    let backup = ["backup", file.to_str().unwrap()];
    let (gateway, _) = Gateway::start(folder.path());
    let said = run(folder.path(), &backup);
    assert!(succeeds(&said).contains("The master key is not in it"));
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fails(&run(folder.path(), &backup), 1, &["copy.db", "is there already"]);
    let restore = ["restore", file.to_str().unwrap()];
    fails(&run(folder.path(), &restore), 1, &["another process"]);
    drop(gateway);
    fails(
        &run(folder.path(), &restore),
        1,
        &["is there already", "--force-replace"],
    );
    let forced = ["restore", file.to_str().unwrap(), "--force-replace"];
    let said = run(folder.path(), &forced);
    assert!(succeeds(&said).contains("roost.db.replaced-"));
    succeeds(&key_for(folder.path(), &tenant));

    // Somewhere else: the key first, then the database.
    let other = tempfile::tempdir().unwrap();
    fails(&run(other.path(), &restore), 1, &["master.key"]);
    std::fs::copy(
        folder.path().join("data/master.key"),
        other.path().join("data/master.key"),
    )
    .unwrap();
    succeeds(&run(other.path(), &restore));
    succeeds(&key_for(other.path(), &tenant));
    let names: Vec<_> = snapshot(other.path()).into_keys().collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains("replaced") && name.len() < 16),
        "{names:?}"
    );
}

#[test]
fn a_backup_that_is_damaged_or_under_another_key_is_not_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = made(folder.path());
    let file = folder.path().join("copy.db");
    succeeds(&run(folder.path(), &["backup", file.to_str().unwrap()]));
    let whole = std::fs::read(&file).unwrap();
    let forced = ["restore", file.to_str().unwrap(), "--force-replace"];
    let output = roost(folder.path(), &forced)
        .env("ROOST__STORE__MASTER_KEY", "00".repeat(32))
        .output()
        .unwrap();
    fails(&output, 1, &["not the one this database was written under"]);
    // Pages behind the first few: the schema is still read.
    let mut damaged = whole.clone();
    let from = damaged.len() - 8 * 4096;
    damaged[from..].fill(0x5a);
    std::fs::write(&file, &damaged).unwrap();
    let before = snapshot(folder.path());
    let output = run(folder.path(), &forced);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let mut after = snapshot(folder.path());
    after.remove("roost.db.lock");
    let mut before = before;
    before.remove("roost.db.lock");
    assert!(after == before, "a failed restore changed something");
    std::fs::write(&file, "not a database").unwrap();
    fails(&run(folder.path(), &forced), 1, &["cannot be read as a database"]);
    fails(
        &run(folder.path(), &["restore", "/nowhere/copy.db", "--force-replace"]),
        1,
        &["there is no database at"],
    );
    succeeds(&key_for(folder.path(), &tenant));
}
