//! The data folder: made when it is not there, private.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use anyhow::Context;

use crate::config::Data;

/// Makes the data folder when it is not there, readable by its owner only.
pub fn prepare(data: &Data) -> anyhow::Result<()> {
    let folder = &data.dir;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| {
            format!(
                "the data folder {} cannot be made; choose another with --data-dir (or data.dir)",
                folder.display()
            )
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let data = Data {
            dir: folder.path().join("file/inside"),
        };
        let error = format!("{:#}", prepare(&data).unwrap_err());
        assert!(
            error.contains("inside") && error.contains("--data-dir"),
            "{error}"
        );
    }
}
