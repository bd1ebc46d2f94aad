//! Certificates for small installations: an authority of the cluster's own, in a folder, and what it
//! signs. Who has an authority already uses that one.
//!
//! The authority is made once and used again for nodes that come later, and for renewals. Its key is
//! needed on no node: it belongs where the folder is kept. Each file is written whole or not at all,
//! and is readable by its owner only.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use roost_domain::Timestamp;
use roost_domain::cluster::NodeName;

use crate::config::TlsFiles;
use crate::tls;

/// The authority's certificate, which every node has.
pub const AUTHORITY: &str = "authority.pem";

/// The authority's key, which no node needs.
pub const AUTHORITY_KEY: &str = "authority.key";

/// How long the authority is valid.
const AUTHORITY_DAYS: u32 = 3_650;

/// Clocks of nodes may differ: certificates are valid from a while before they were made.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// One of the authority's two files is missing.
    #[error("{0} is missing: the authority consists of {AUTHORITY} and {AUTHORITY_KEY}")]
    HalfAuthority(PathBuf),
    /// A node's name cannot stand in a certificate.
    #[error("{0}")]
    Name(String),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
}

/// What was done for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The node.
    pub node: NodeName,
    /// The files that it needs.
    pub files: TlsFiles,
    /// Whether they are new; otherwise they were there already.
    pub new: bool,
}

/// The files of a node in such a folder.
pub fn files(folder: &Path, node: &NodeName) -> TlsFiles {
    TlsFiles {
        authority: folder.join(AUTHORITY),
        certificate: folder.join(format!("{node}.pem")),
        key: folder.join(format!("{node}.key")),
    }
}

/// Makes certificates for the nodes that have none in the folder, valid for so many days; with `renew`,
/// for all of them. Makes the folder and the authority when there is none.
pub fn make(
    folder: &Path,
    nodes: &[NodeName],
    days: u32,
    renew: bool,
    now: Timestamp,
) -> Result<Vec<Made>, CertsError> {
    for node in nodes {
        tls::server_name(node).map_err(CertsError::Name)?;
        // These names are taken by the authority's files.
        if node.as_str() == "authority" {
            return Err(CertsError::Name("no node can be named authority here".to_owned()));
        }
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| fault(folder, source))?;
    let authority = authority(folder, now)?;
    let mut made = Vec::with_capacity(nodes.len());
    for node in nodes {
        let files = files(folder, node);
        let new = renew || !(files.certificate.exists() && files.key.exists());
        if new {
            let (certificate, key) = sign(&authority, node, days, now)?;
            write(&files.key, &key)?;
            write(&files.certificate, &certificate)?;
        }
        made.push(Made {
            node: node.clone(),
            files,
            new,
        });
    }
    Ok(made)
}

/// Reads the authority, or makes it.
fn authority(folder: &Path, now: Timestamp) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let (certificate, key) = (folder.join(AUTHORITY), folder.join(AUTHORITY_KEY));
    match (certificate.exists(), key.exists()) {
        (true, true) => {
            let key_pem = fs::read_to_string(&key).map_err(|source| fault(&key, source))?;
            let pem = fs::read_to_string(&certificate).map_err(|source| fault(&certificate, source))?;
            Ok(Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&key_pem)?)?)
        }
        (false, false) => {
            let pair = KeyPair::generate()?;
            let mut params = CertificateParams::new(Vec::<String>::new())?;
            params
                .distinguished_name
                .push(DnType::CommonName, "Roost cluster authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            valid(&mut params, AUTHORITY_DAYS, now);
            let pem = params.self_signed(&pair)?.pem();
            write(&key, &pair.serialize_pem())?;
            write(&certificate, &pem)?;
            Ok(Issuer::new(params, pair))
        }
        (true, false) => Err(CertsError::HalfAuthority(key)),
        (false, true) => Err(CertsError::HalfAuthority(certificate)),
    }
}

/// A certificate of a node and its key, as PEM.
fn sign(
    authority: &Issuer<'static, KeyPair>,
    node: &NodeName,
    days: u32,
    now: Timestamp,
) -> Result<(String, String), CertsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![node.to_string()])?;
    params.distinguished_name.push(DnType::CommonName, node.as_str());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    valid(&mut params, days, now);
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn valid(params: &mut CertificateParams, days: u32, now: Timestamp) {
    let seconds = u64::try_from(now.unix_ms() / 1_000).unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::from_secs(u64::from(days) * 86_400);
}

/// Writes a file that only its owner reads, at once.
fn write(path: &Path, text: &str) -> Result<(), CertsError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| {
            // The mode counts for new files only.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&part, path));
    written.map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: std::io::Error) -> CertsError {
    CertsError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Tls;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(1_790_000_000_000)
    }

    #[test]
    fn files_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("certs");
        make(&inner, &[name("a")], 30, false, now()).unwrap();
        let mut names: Vec<_> = fs::read_dir(&inner)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{entry:?}");
                entry.file_name().into_string().unwrap()
            })
            .collect();
        names.sort();
        assert_eq!(names, ["a.key", "a.pem", AUTHORITY_KEY, AUTHORITY]);
        let mode = fs::metadata(&inner).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_later_node_is_signed_by_the_same_authority() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &[name("a")], 30, false, now()).unwrap();
        let before = fs::read(folder.path().join(AUTHORITY)).unwrap();
        let first = fs::read(folder.path().join("a.pem")).unwrap();
        let made = make(folder.path(), &[name("a"), name("b")], 30, false, now()).unwrap();
        assert_eq!(
            made.iter().map(|made| made.new).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(fs::read(folder.path().join(AUTHORITY)).unwrap(), before);
        assert_eq!(fs::read(folder.path().join("a.pem")).unwrap(), first);
        make(folder.path(), &[name("a")], 30, true, now()).unwrap();
        assert_ne!(fs::read(folder.path().join("a.pem")).unwrap(), first, "renewed");
    }

    #[test]
    fn what_was_made_is_a_nodes_certificate_for_that_node_only() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &[name("node-1.roost")], 30, false, now()).unwrap();
        let files = files(folder.path(), &name("node-1.roost"));
        Tls::load(&files, &name("node-1.roost")).map(drop).unwrap();
        assert!(Tls::load(&files, &name("node-2.roost")).is_err());
    }

    #[test]
    fn half_an_authority_and_impossible_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["7", "a..b", "authority"] {
            let made = make(folder.path(), &[name(bad)], 30, false, now());
            assert!(matches!(made, Err(CertsError::Name(_))), "{bad}");
        }
        make(folder.path(), &[name("a")], 30, false, now()).unwrap();
        fs::remove_file(folder.path().join(AUTHORITY_KEY)).unwrap();
        let made = make(folder.path(), &[name("b")], 30, false, now());
        assert!(matches!(made, Err(CertsError::HalfAuthority(_))));
    }
}
