//! The file that tells scripts that the gateway is ready, and where.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// What the file says.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    pub(super) api: String,
    pub(super) api_key: Option<String>,
    pub(super) operator_key: Option<String>,
    pub(super) sandbox: Option<String>,
}

impl Ready {
    /// Writes the file, readable by its owner only, complete or not at all.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string(self)?;
        write_private(path, text.as_bytes())
            .with_context(|| format!("the ready file {} cannot be written", path.display()))
    }
}

/// Replaces a file by one with mode 0600.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // What failed is told; a draft that cannot be removed either adds nothing to it.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_private_and_replaces_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        fs::write(&path, "old").unwrap();
        let ready = Ready {
            api: "http://127.0.0.1:1".into(),
            api_key: Some("k".into()),
            operator_key: None,
            sandbox: None,
        };
        ready.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(value["api_key"], "k");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
