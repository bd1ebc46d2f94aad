//! Reads the certificates again when their files have changed: renewing them needs no restart.
//!
//! Connections that are made from then on use the new ones; links that are there stay. Files that are not
//! good, or half written, change nothing, and are looked at again.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use roost_domain::outage::Outage;

use crate::config::TlsFiles;
use crate::error::LinkError;
use crate::shared::Shared;
use crate::tls::Tls;

/// What a file looks like from outside; `None` when it cannot be looked at.
type Look = Option<(SystemTime, u64)>;

/// Looks at a node's files.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    files: TlsFiles,
    /// As they were when they were read.
    read: [Look; 3],
}

impl Watch {
    /// Of the files that this node has read already, if it has any.
    pub fn new(shared: &Arc<Shared>) -> Option<Self> {
        let files = shared.config.tls.clone()?;
        Some(Self {
            shared: Arc::clone(shared),
            read: looks(&files),
            files,
        })
    }

    /// Reads the files if they have changed. Whether they are in use now.
    pub fn look(&mut self) -> Result<bool, LinkError> {
        let now = looks(&self.files);
        if now == self.read {
            return Ok(false);
        }
        let tls = Tls::load(&self.files, &self.shared.config.node)?;
        self.shared.set_tls(tls);
        self.read = now;
        Ok(true)
    }

    /// Looks until the link ends.
    pub async fn run(mut self) {
        let mut outage = Outage::default();
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = tokio::time::sleep(self.shared.config.limits.certificates_check) => {}
            }
            match self.look() {
                Ok(false) => {}
                Ok(true) => {
                    outage.worked();
                    tracing::info!("the certificates of the cluster link were read again");
                }
                Err(error) => {
                    if outage.failed(&error) {
                        tracing::warn!(%error, "the changed certificates cannot be used; those read before stay in use");
                    }
                }
            }
        }
    }
}

fn looks(files: &TlsFiles) -> [Look; 3] {
    [&files.authority, &files.certificate, &files.key].map(|path| look(path))
}

fn look(path: &Path) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
