//! The certificates of the media service: an authority of the sandbox's own, and what it signs.
//!
//! The authority is made at the first start and kept, so that clients need its certificate once; the
//! server's certificate is made anew at every start, for the names of that start.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::MediaError;

/// Names every certificate is valid for: this machine, and the hosts clients have built in.
const NAMES: [&str; 5] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "mmg.whatsapp.net",
    "*.whatsapp.net",
];

/// The authority as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct AuthorityRow {
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
    certificate: String,
}

impl AuthorityRow {
    pub fn generate() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params()?.self_signed(&key)?;
        Ok(Self {
            key: key.serialize_der(),
            certificate: certificate.pem(),
        })
    }

    /// The certificate that clients have to trust.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// A TLS server for `names`, vouched for by this authority.
    pub fn server(&self, names: &[String]) -> Result<Arc<ServerConfig>, MediaError> {
        let key = KeyPair::try_from(self.key.as_slice())?;
        let issuer = Issuer::new(params()?, key);
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name
            .push(DnType::CommonName, "Roost sandbox media");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&leaf_key, &issuer)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Roost sandbox media authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// All names of the server: those of every sandbox, the configured ones, and where it listens.
pub(super) fn names(configured: &[String], listen: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = NAMES.map(str::to_owned).to_vec();
    names.extend(configured.iter().cloned());
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a certificate for `names` is valid for `host`.
pub(super) fn covers(names: &[String], host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    names.iter().any(|name| match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, of)| of == domain),
        None => name == host,
    })
}

/// Puts the authority's certificate where clients can be pointed to. A file that is there is replaced
/// at once, never half.
pub(super) fn export(pem: &str, file: &Path) -> Result<(), MediaError> {
    let failed = |source| MediaError::Export {
        path: file.to_owned(),
        source,
    };
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, pem).map_err(failed)?;
    std::fs::rename(&draft, file).map_err(failed)
}
