//! TLS and HTTP/2.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use roost_domain::webhook::client::CallFailure;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::endpoint::*;
use crate::config;
use crate::webhook::{OutgoingClient, SetupError};

/// An authority of the operator's own, and its certificate in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("roots.pem"), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A server with a certificate for these names.
    pub fn acceptor(
        &self,
        names: &[String],
        protocols: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> TlsAcceptor {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    pub fn client(&self, change: impl Fn(&mut config::WebhookClient)) -> OutgoingClient {
        let mut settings = settings();
        settings.extra_roots_file = Some(self.roots());
        change(&mut settings);
        client_with(&settings, TableLookup::new(&[&["127.0.0.1"]]))
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn plain(text: String) -> Answer {
    Response::new(Full::new(Bytes::from(text)).boxed())
}

/// Serves HTTP/1.1 and HTTP/2 as agreed on.
async fn serve<F, O>(acceptor: TlsAcceptor, answer: F) -> Endpoint
where
    F: Fn(Request<Incoming>) -> O + Clone + Send + Sync + 'static,
    O: Future<Output = Answer> + Send + 'static,
{
    Endpoint::new(move |stream, _| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

async fn version(request: Request<Incoming>) -> Answer {
    let version = request.version();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    plain(format!("{version:?} {}", body.len()))
}

pub fn url_of(endpoint: &Endpoint) -> String {
    format!("https://hooks.example:{}/hook", endpoint.address.port())
}

pub fn names() -> Vec<String> {
    vec!["hooks.example".into()]
}

pub fn nothing(_: &mut CertificateParams) {}

#[tokio::test]
async fn both_versions_of_http_are_spoken_as_agreed_on() {
    let authority = Authority::new();
    for (protocols, said) in [
        (&["h2", "http/1.1"][..], &b"HTTP/2.0 14"[..]),
        (&["http/1.1"], b"HTTP/1.1 14"),
        (&[], b"HTTP/1.1 14"),
    ] {
        let endpoint = serve(authority.acceptor(&names(), protocols, nothing), version).await;
        let client = Arc::new(authority.client(|_| {}));
        let answer = post(&client, &url_of(&endpoint)).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, said));
        for _ in 0..5 {
            post(&client, &url_of(&endpoint)).await.unwrap();
        }
        assert_eq!(endpoint.accepted(), 1);
    }
}

#[tokio::test]
async fn calls_at_once_share_one_http2_connection() {
    let authority = Authority::new();
    let endpoint = serve(authority.acceptor(&names(), &["h2"], nothing), version).await;
    let client = Arc::new(authority.client(|_| {}));
    post(&client, &url_of(&endpoint)).await.unwrap();
    let calls = (0..64).map(|_| {
        let (client, url) = (Arc::clone(&client), url_of(&endpoint));
        tokio::spawn(async move { post(&client, &url).await.unwrap().status })
    });
    for status in futures::future::join_all(calls).await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(endpoint.accepted(), 1);
}

#[tokio::test]
async fn an_http2_connection_on_which_a_call_timed_out_is_not_used_again() {
    let authority = Authority::new();
    let number = Arc::new(AtomicUsize::new(0));
    let endpoint = serve(authority.acceptor(&names(), &["h2"], nothing), move |_| {
        let first = number.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                forever().await;
            }
            plain("ok".into())
        }
    })
    .await;
    let client = authority.client(|_| {});
    let failure = post_within(&client, &url_of(&endpoint), Duration::from_secs(2))
        .await
        .unwrap_err();
    assert_eq!(failure, CallFailure::Timeout("no answer within 2s".into()));
    assert_eq!(post(&client, &url_of(&endpoint)).await.unwrap().status, 200);
    assert_eq!(endpoint.accepted(), 2);
}

#[tokio::test]
async fn of_an_endless_body_over_http2_little_is_read() {
    let authority = Authority::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let endpoint = serve(authority.acceptor(&names(), &["h2"], nothing), {
        let sent = Arc::clone(&sent);
        move |_| {
            let sent = Arc::clone(&sent);
            let frames = futures::stream::repeat_with(move || {
                sent.fetch_add(16_384, Ordering::SeqCst);
                Ok(Frame::data(Bytes::from_static(&[b'z'; 16_384])))
            });
            async move { Response::new(http_body_util::StreamBody::new(frames).boxed()) }
        }
    })
    .await;
    let client = authority.client(|_| {});
    for _ in 0..3 {
        let answer = post(&client, &url_of(&endpoint)).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 4096));
    }
    // The stream was reset, so that others on the connection go on.
    assert_eq!(endpoint.accepted(), 1);
    assert!(sent.load(Ordering::SeqCst) < 16 << 20);
}

#[tokio::test]
async fn a_connection_beyond_the_pool_is_not_http2() {
    let authority = Authority::new();
    let first = Endpoint::good().await;
    let endpoint = serve(
        authority.acceptor(&names(), &["h2", "http/1.1"], nothing),
        version,
    )
    .await;
    let client = authority.client(|settings| settings.pool_max = 1);
    post(&client, &first.url()).await.unwrap();
    for _ in 0..3 {
        let answer = post(&client, &url_of(&endpoint)).await.unwrap();
        assert_eq!(&answer.body[..], b"HTTP/1.1 14");
    }
    assert_eq!(endpoint.accepted(), 3);
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_a_tls_failure() {
    let authority = Authority::new();
    let other = Authority::new();
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let not_yet = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    };
    let many: Vec<String> = (0..500).map(|number| format!("host{number}.example")).collect();
    for (what, acceptor) in [
        ("unknown authority", other.acceptor(&names(), &[], nothing)),
        ("expired", authority.acceptor(&names(), &[], expired)),
        ("not yet valid", authority.acceptor(&names(), &[], not_yet)),
        (
            "another name",
            authority.acceptor(&["other.example".into()], &[], nothing),
        ),
        ("many other names", authority.acceptor(&many, &[], nothing)),
    ] {
        let endpoint = serve(acceptor, version).await;
        let failure = post(&authority.client(|_| {}), &url_of(&endpoint))
            .await
            .unwrap_err();
        assert!(matches!(failure, CallFailure::Tls(_)), "{what}: {failure:?}");
        assert!(failure.to_string().chars().count() <= 301, "{what}");
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_if_it_is_configured() {
    let authority = Authority::new();
    let endpoint = serve(authority.acceptor(&names(), &[], nothing), version).await;
    post(&authority.client(|_| {}), &url_of(&endpoint)).await.unwrap();
    let client = authority.client(|settings| settings.extra_roots_file = None);
    let failure = post(&client, &url_of(&endpoint)).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Tls(_)), "{failure:?}");
}

#[tokio::test]
async fn a_certificate_for_an_address_fits_that_address() {
    let authority = Authority::new();
    let names = vec!["127.0.0.1".to_owned()];
    let endpoint = serve(authority.acceptor(&names, &["h2"], nothing), version).await;
    let url = format!("https://127.0.0.1:{}/", endpoint.address.port());
    assert_eq!(post(&authority.client(|_| {}), &url).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_tls_is_a_tls_failure() {
    let authority = Authority::new();
    let garbage = Endpoint::new(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        forever().await;
    })
    .await;
    let closing = Endpoint::new(|stream, _| async move { drop(stream) }).await;
    for endpoint in [garbage, closing] {
        let failure = post(&authority.client(|_| {}), &url_of(&endpoint))
            .await
            .unwrap_err();
        assert!(matches!(failure, CallFailure::Tls(_)), "{failure:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_is_within_the_deadline() {
    let authority = Authority::new();
    let endpoint = Endpoint::new(|stream, _| async move {
        forever().await;
        drop(stream);
    })
    .await;
    let client = authority.client(|_| {});
    let failure = post_within(&client, &url_of(&endpoint), Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(failure, CallFailure::Timeout("no connection within 300ms".into()));
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_reported_when_the_client_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for path in [folder.path().join("missing.pem"), empty] {
        let mut settings = settings();
        settings.extra_roots_file = Some(path);
        let made = OutgoingClient::new(&settings, system(), Arc::new(FixedClock), None);
        assert!(matches!(made.err(), Some(SetupError::Roots { .. })));
    }
}
