//! One HTTP call over one connection, with or without TLS.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::body::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// Largest answer: a page of actors is a tenth of it.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Makes connections.
pub(super) struct Dial {
    tls: TlsConnector,
}

impl Dial {
    /// Trusts the public roots and those in the file.
    pub(super) fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = ca_file {
            let unreadable = || {
                format!(
                    "--ca-file {} is not a file of certificates in PEM",
                    path.display()
                )
            };
            for certificate in CertificateDer::pem_file_iter(path).with_context(unreadable)? {
                roots
                    .add(certificate.with_context(unreadable)?)
                    .with_context(unreadable)?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(config).into(),
        })
    }

    /// Makes a call with a key; its answer, or why there is none.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &Url,
        key: &str,
    ) -> Result<(StatusCode, Bytes), String> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((bare, port)).await.map_err(text)?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("roost/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .body(Empty::<Bytes>::new())
            .map_err(text)?;
        if url.scheme() == "https" {
            let name = ServerName::try_from(bare.to_owned()).map_err(text)?;
            exchange(self.tls.connect(name, tcp).await.map_err(text)?, request).await
        } else {
            exchange(tcp, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(text)?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(text)?.to_bytes()))
    };
    // The connection is driven until the answer is there, and ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        _ = &mut connection => talk.await,
    }
}

/// The error with what it came from: connections say the reason last.
fn text(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> String {
    let error: Box<dyn std::error::Error + Send + Sync> = error.into();
    let mut parts = vec![(&*error as &dyn Display).to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        parts.push(cause.to_string());
        source = cause.source();
    }
    parts.join(": ")
}
