//! Peers that behave badly after the greeting, and settings that cannot be. Links of one process: each
//! test has nodes of its own names, as `ractor`'s registry is one per process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorRef};
use ractor_cluster::NodeServerMessage;
use roost_domain::Timestamp;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{Kind, Mesh as _, Note, PeerAddress, PeerError, Peers, Service, WireError};
use roost_domain::time::Entropy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::door::{Door, Opening, Openings, Ready, closing};
use crate::gateway::{self, GatewayMessage};
use crate::greeting::{self, Me, inner_cookie};
use crate::renew::Watch;
use crate::stream::Stream;
use crate::wire::{self, CallHead};
use crate::{Cookie, Limits, Link, LinkConfig, LinkError, Listening, TlsFiles, certs};

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

struct Echo;

#[async_trait]
impl Service for Echo {
    async fn serve(&self, _: &NodeName, _: Kind, body: Bytes, _: Instant) -> Result<Bytes, WireError> {
        Ok(body)
    }

    fn told(&self, _: &NodeName, _: Note) {}
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn cookie() -> Cookie {
    Cookie::new("a cookie of some length").unwrap()
}

fn config(node: &str) -> LinkConfig {
    LinkConfig {
        node: name(node),
        release: "0.1.0".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        cookie: cookie(),
        tls: None,
        limits: Limits {
            greeting_timeout: Duration::from_millis(500),
            redial_pause: Duration::from_millis(50),
            ..Limits::default()
        },
    }
}

async fn start(config: LinkConfig) -> Link {
    let listening = Listening::bind(config).await.unwrap();
    listening.start(1, Arc::new(Echo), Arc::new(Zeros)).await.unwrap()
}

fn peer(node: &str, address: String) -> PeerAddress {
    PeerAddress {
        node: name(node),
        incarnation: 1,
        address,
    }
}

async fn within<F: IntoFuture>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("{what}"))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A connection to `link` that has greeted it as `node`.
async fn greeted(link: &Link, node: &str) -> TcpStream {
    let mut stream = TcpStream::connect(link.address()).await.unwrap();
    let (node, cookie) = (name(node), cookie());
    let me = Me {
        node: &node,
        incarnation: 1,
        release: "0.1.0",
        cookie: &cookie,
        channel: [0; 32],
        nonce: [1; 32],
    };
    let to = link.shared().config.node.clone();
    greeting::dial(&mut stream, &me, &to, |_| Ok(())).await.unwrap();
    stream
}

async fn closed(mut stream: TcpStream) {
    within("the connection is closed", async {
        let mut buffer = [0; 1_024];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_more_or_too_much_is_closed() {
    let link = start(config("silent-b")).await;
    link.set_peers(vec![peer("silent-a", "127.0.0.1:1".to_owned())]);
    closed(greeted(&link, "silent-a").await).await;
    for flood in [
        &u64::MAX.to_be_bytes()[..],
        &(1_u64 << 32).to_be_bytes(),
        &[0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut stream = greeted(&link, "silent-a").await;
        stream.write_all(flood).await.unwrap();
        closed(stream).await;
    }
    let view = link.peers().remove(0);
    assert_eq!((view.connected, view.links), (false, 0));
    link.stop().await;
}

/// A door that opens a greeted connection under `name` and with `cookie`. Returns what came of it.
async fn open(stream: TcpStream, name: &str, cookie: String) -> Result<Ready, oneshot::error::RecvError> {
    let openings = Openings::default();
    let door = Door {
        node: self::name(name),
        cookie,
        frame_bytes_max: 1 << 20,
        openings: openings.clone(),
    };
    let (door, ended): (ActorRef<NodeServerMessage>, _) = Actor::spawn(None, door, ()).await.unwrap();
    let (ready, is_ready) = oneshot::channel();
    let (closed, guard) = closing();
    let label = "test".to_owned();
    let to = self::name(&format!("{}-b", &name[..4]));
    let _placed = openings.put(
        label.clone(),
        Opening {
            peer: to,
            ready,
            closed: guard,
        },
    );
    let stream = Stream {
        io: Box::new(stream),
        label,
        cut: CancellationToken::new(),
        received: Arc::<AtomicU64>::default(),
    };
    let open = NodeServerMessage::ConnectionOpenedExternal {
        stream: Box::new(stream),
        is_server: false,
    };
    door.cast(open).unwrap();
    let outcome = within("it is decided", is_ready).await;
    if outcome.is_err() {
        within("the link is closed", closed.cancelled()).await;
    }
    door.stop(None);
    within("the door ends", ended).await.unwrap();
    outcome
}

#[tokio::test]
async fn connections_that_do_not_become_links_are_closed() {
    let mut crowded = config("crowd-b");
    crowded.limits.strangers_max = 2;
    let link = start(crowded).await;
    let mut strangers = Vec::new();
    for _ in 0..5 {
        strangers.push(TcpStream::connect(link.address()).await.unwrap());
    }
    // Three are crowded out, two take too long.
    for stranger in strangers {
        closed(stranger).await;
    }
    link.set_peers(vec![peer("crowd-a", "127.0.0.1:1".to_owned())]);
    let _peer = greeted(&link, "crowd-a").await;
    link.stop().await;
}

#[tokio::test]
async fn a_peer_that_goes_by_another_name_inside_is_not_linked() {
    let link = start(config("name-b")).await;
    link.set_peers(vec![
        peer("name-a", "127.0.0.1:1".to_owned()),
        peer("name-aa", "127.0.0.1:1".to_owned()),
    ]);
    let stream = greeted(&link, "name-a").await;
    let outcome = open(stream, "name-aa", inner_cookie(&cookie())).await;
    assert!(outcome.is_err());
    let stream = greeted(&link, "name-a").await;
    let outcome = open(stream, "name-a", inner_cookie(&cookie())).await;
    assert!(outcome.is_ok(), "under its own name it is");
    link.stop().await;
}

#[tokio::test]
async fn a_peer_with_another_inner_cookie_is_not_linked() {
    let link = start(config("cook-b")).await;
    link.set_peers(vec![peer("cook-a", "127.0.0.1:1".to_owned())]);
    let stream = greeted(&link, "cook-a").await;
    assert!(open(stream, "cook-a", "another".to_owned()).await.is_err());
    link.stop().await;
}

/// A node's own gateway, not one of its mirrors.
fn gateway_of(node: &str) -> ActorRef<GatewayMessage> {
    ractor::pg::get_local_members(&gateway::GROUP.to_owned())
        .into_iter()
        .find(|cell| cell.get_name() == Some(gateway::name(&name(node))))
        .unwrap()
        .into()
}

/// What a node's gateway answers to a frame.
async fn invoke(node: &str, frame: Vec<u8>) -> Result<Bytes, WireError> {
    let gateway = gateway_of(node);
    let answer = gateway
        .call(
            |reply| GatewayMessage::Invoke(frame, reply),
            Some(Duration::from_secs(60)),
        )
        .await
        .unwrap();
    let CallResult::Success(answer) = answer else {
        panic!("no answer")
    };
    wire::open_answer(answer).unwrap()
}

#[tokio::test]
async fn calls_of_other_releases_and_strangers_are_answered() {
    let link = start(config("skew-b")).await;
    link.set_peers(vec![peer("skew-a", "127.0.0.1:1".to_owned())]);
    let head = |from| CallHead {
        from: name(from),
        kind: Kind::INSTANCE,
        left_ms: 60_000,
    };
    let good = wire::frame(&head("skew-a"), b"x").unwrap();
    assert_eq!(invoke("skew-b", good.clone()).await, Ok(Bytes::from("x")));
    let mut newer = good.clone();
    newer[0] = 2;
    assert_eq!(invoke("skew-b", newer).await, Err(WireError::UnknownKind));
    for bad in [vec![], good[..7].to_vec(), vec![1; 64]] {
        assert!(matches!(invoke("skew-b", bad).await, Err(WireError::Bad(_))));
    }
    let stranger = wire::frame(&head("skew-x"), b"x").unwrap();
    assert!(matches!(invoke("skew-b", stranger).await, Err(WireError::Bad(_))));
    let large = wire::frame(&head("skew-a"), &vec![0; (1 << 20) + 1]).unwrap();
    assert!(matches!(invoke("skew-b", large).await, Err(WireError::Bad(_))));
    link.stop().await;
}

#[tokio::test]
async fn a_gateway_that_ends_is_started_again_and_links_come_back() {
    let (a, b) = (start(config("root-a")).await, start(config("root-b")).await);
    a.set_peers(vec![peer("root-b", b.address().to_string())]);
    b.set_peers(vec![peer("root-a", a.address().to_string())]);
    until("they are linked", || {
        b.peers()[0].connected && a.peers()[0].connected
    })
    .await;
    gateway_of("root-b").kill();
    until("they are linked again", || {
        a.peers()[0].links == 2 && a.peers()[0].connected
    })
    .await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let call = a.call(&name("root-b"), Kind(1), "x".into(), deadline).await;
    assert_eq!(call, Ok(Bytes::from("x")));
    a.stop().await;
    b.stop().await;
    let call = a.call(&name("root-b"), Kind(1), "x".into(), deadline).await;
    assert_eq!(call, Err(PeerError::Down));
    assert_eq!(a.shared().tasks.len(), 0, "nothing is left running");
}

#[allow(clippy::disallowed_methods, reason = "certificates have to be valid today")]
fn today() -> Timestamp {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Timestamp::from_unix_ms(now.as_millis() as i64)
}

#[tokio::test]
async fn certificates_of_a_new_authority_are_taken_up_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let names = [name("cert-a"), name("cert-b")];
    let renew = || {
        for file in [certs::AUTHORITY, certs::AUTHORITY_KEY] {
            let _ = std::fs::remove_file(folder.path().join(file));
        }
        certs::make(folder.path(), &names, 1, true, today()).unwrap();
    };
    renew();
    let with_tls = |node: &str| LinkConfig {
        tls: Some(certs::files(folder.path(), &name(node))),
        ..config(node)
    };
    let (a, b) = (start(with_tls("cert-a")).await, start(with_tls("cert-b")).await);
    a.set_peers(vec![peer("cert-b", b.address().to_string())]);
    b.set_peers(vec![peer("cert-a", a.address().to_string())]);
    let connected = |link: &Link| link.peers()[0].connected;
    until("they are linked", || connected(&a) && connected(&b)).await;

    let watch = |link: &Link| Watch::new(link.shared()).unwrap();
    let (mut of_a, mut of_b) = (watch(&a), watch(&b));
    assert!(!of_b.look().unwrap(), "nothing has changed");
    renew();
    assert!(of_b.look().unwrap());
    b.reborn(2);
    until("the old authority is not trusted", || {
        let error = a.peers()[0].last_error.clone();
        error.is_some_and(|error| error.contains("certificate"))
    })
    .await;
    assert!(of_a.look().unwrap());
    until("they are linked again", || connected(&a) && connected(&b)).await;

    std::fs::write(folder.path().join("cert-a.pem"), "half").unwrap();
    assert!(of_a.look().is_err());
    a.shared().cut_links();
    until("what was read before is in use", || a.peers()[0].links == 3).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn without_certificates_only_this_host_is_spoken_to() {
    let mut outside = config("plain-a");
    outside.listen = "0.0.0.0:0".parse().unwrap();
    let bound = Listening::bind(outside).await.map(drop);
    assert!(matches!(bound, Err(LinkError::PlainAddress(_))));
    let link = start(config("plain-a")).await;
    link.set_peers(vec![peer("plain-b", "192.0.2.1:9".to_owned())]);
    until("the address is refused", || {
        link.peers()[0]
            .last_error
            .as_deref()
            .is_some_and(|error| error.contains("not on this host"))
    })
    .await;
    link.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    assert!(Cookie::new("short").is_err());
    assert_eq!(format!("{:?}", cookie()), "Cookie");
    let wrong: [fn(&mut Limits); 4] = [
        |limits| limits.calls_in_flight_max = 0,
        |limits| limits.bytes_in_flight_max = 1,
        |limits| limits.bytes_in_flight_max = 2 << 30,
        |limits| limits.ping_interval = Duration::ZERO,
    ];
    for set in wrong {
        let mut config = config("settings-a");
        set(&mut config.limits);
        let bound = Listening::bind(config).await.map(drop);
        assert!(matches!(bound, Err(LinkError::Config(_))));
    }
    let mut missing = config("settings-a");
    missing.tls = Some(TlsFiles {
        authority: "/nowhere/authority.pem".into(),
        certificate: "/nowhere/a.pem".into(),
        key: "/nowhere/a.key".into(),
    });
    let bound = Listening::bind(missing).await.map(drop);
    assert!(matches!(bound, Err(LinkError::File { .. })));
}
