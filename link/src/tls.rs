//! Mutual TLS between nodes, from files.
//!
//! A node is who its certificate says: the dialer asks for the peer by name, the acceptor compares the
//! name in the greeting with the certificate's. Only DNS names of the subject's alternative names count.

use std::path::Path;
use std::sync::Arc;

use roost_domain::cluster::NodeName;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::TlsFiles;
use crate::error::LinkError;

/// What a connection says it carries: a client of something else is turned away by TLS already.
const PROTOCOL: &[u8] = b"roost-link/1";

/// Both sides of a node's TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    pub acceptor: TlsAcceptor,
    pub connector: TlsConnector,
}

impl Tls {
    /// Reads the files and checks that the certificate is this node's.
    pub fn load(files: &TlsFiles, node: &NodeName) -> Result<Self, LinkError> {
        let chain = certificates(&files.certificate)?;
        let key =
            PrivateKeyDer::from_pem_file(&files.key).map_err(|error| file(&files.key, &error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.authority)? {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());

        names(&chain[0], node).map_err(|reason| LinkError::Certificate {
            node: node.to_string(),
            reason,
        })?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| file(&files.authority, &error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A link lives for weeks: nothing is won by resuming, and every handshake checks again.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }
}

/// The name by which TLS knows a node.
pub(crate) fn server_name(node: &NodeName) -> Result<ServerName<'static>, String> {
    match ServerName::try_from(node.as_str().to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        _ => Err(format!(
            "{node} is not a DNS name, as a certificate's name has to be"
        )),
    }
}

/// Checks that a certificate names a node.
pub(crate) fn names(certificate: &CertificateDer<'_>, node: &NodeName) -> Result<(), String> {
    let name = server_name(node)?;
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| error.to_string())?;
    verify_server_name(&parsed, &name).map_err(|error| error.to_string())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain = read.map_err(|error| file(path, &error.to_string()))?;
    if chain.is_empty() {
        return Err(file(path, "there is no certificate in it"));
    }
    Ok(chain)
}

fn file(path: &Path, reason: &str) -> LinkError {
    LinkError::File {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
