//! Why a node's link cannot be set up.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node's link cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A setting cannot be.
    #[error("the cluster link's settings: {0}")]
    Config(String),
    /// Without certificates a node speaks to its own host only.
    #[error("the cluster listener {0} is not a loopback address: give the nodes certificates")]
    PlainAddress(SocketAddr),
    /// The port cannot be listened on.
    #[error("the cluster listener cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A certificate or a key cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate is not one of this node.
    #[error("the certificate does not name the node {node}: {reason}")]
    Certificate {
        /// The node.
        node: String,
        /// What TLS says.
        reason: String,
    },
    /// TLS cannot be set up with what the files hold.
    #[error("the certificates cannot be used")]
    Tls(#[from] rustls::Error),
    /// An actor cannot be started.
    #[error("the link's actors cannot be started: {0}")]
    Start(String),
}
