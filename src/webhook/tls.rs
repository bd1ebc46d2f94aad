//! Whom we trust: the usual roots, and the operator's own.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// TLS with both versions of HTTP on offer, and with HTTP/1.1 alone.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) any: TlsConnector,
    pub(super) http1: TlsConnector,
}

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of extra roots.
    #[error("webhooks.client.extra_roots_file {path} is not a file of certificates in PEM: {problem}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The TLS library refuses to work.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Tls {
    /// Trusts the public roots and those in the file.
    pub(super) fn new(extra_roots_file: Option<&Path>) -> Result<Self, SetupError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = extra_roots_file {
            add(&mut roots, path).map_err(|problem| SetupError::Roots {
                path: path.display().to_string(),
                problem,
            })?;
        }
        let mut any = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http1 = any.clone();
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            any: Arc::new(any).into(),
            http1: Arc::new(http1).into(),
        })
    }
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let mut any = false;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        any = true;
    }
    if any { Ok(()) } else { Err("it holds none".into()) }
}
