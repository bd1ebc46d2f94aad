//! Whom we trust: the usual roots, and the operator's own.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why the trust roots cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The extra roots are not certificates in PEM.
    #[error("the extra trust roots are not certificates in PEM: {0}")]
    Roots(String),
    /// The TLS library refuses to work.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// A client configuration that trusts the public roots and the given ones.
pub(in crate::web) fn client_config(extra_roots_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in CertificateDer::pem_slice_iter(extra_roots_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Roots(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| TlsError::Roots(error.to_string()))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
