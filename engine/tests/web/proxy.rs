//! Links through proxies.

use std::time::Duration;

use roost_domain::engine::{Engine, LinkEnd, LinkSpec, OpenError};
use roost_domain::instance::PairingMethod;

use crate::support::proxy::{Manner, Proxy};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_link_goes_through_its_proxy() {
    let world = World::new().await;
    world.paired().await.link.close().await;
    let socks = Proxy::socks(Manner::Guarded).await;
    let http = Proxy::http(Manner::Guarded).await;
    for url in [
        format!("socks5://ann:p%40ss@{}", socks.address),
        format!("http://ann:p%40ss@{}", http.address),
    ] {
        let open = world.open_with(None, Some(url)).await;
        open.connected().await;
        open.link.close().await;
    }
    assert_eq!((socks.tunnels(), http.tunnels()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_never_goes_around_its_proxy() {
    let world = World::with(|config| config.connect_timeout = Duration::from_millis(500)).await;
    let proxies = [
        format!("socks5://{}", Proxy::socks(Manner::Refusing).await.address),
        format!(
            "socks5://ann:wrong@{}",
            Proxy::socks(Manner::Guarded).await.address
        ),
        format!("socks5://{}", Proxy::socks(Manner::Guarded).await.address),
        format!("socks5://{}", Proxy::socks(Manner::Silent).await.address),
        format!("http://{}", Proxy::http(Manner::Refusing).await.address),
        format!("http://{}", Proxy::http(Manner::Guarded).await.address),
        format!("http://{}", Proxy::http(Manner::Silent).await.address),
        "socks5://127.0.0.1:1".to_owned(),
        "http://127.0.0.1:1".to_owned(),
    ];
    for url in proxies {
        let open = world.open_with(Some(PairingMethod::Qr), Some(url.clone())).await;
        let LinkEnd::Lost { reason } = open.said.end().await else {
            panic!("{url}: {:?}", open.said.facts())
        };
        assert!(!reason.contains("wrong"), "{reason}");
    }
    let stats = world.sandbox.stats();
    assert_eq!(
        (stats.links, stats.counters.bytes_in),
        (0, 0),
        "somebody went around"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_none_is_refused_at_once() {
    let world = World::new().await;
    for url in [
        "",
        "127.0.0.1:1080",
        "ftp://127.0.0.1",
        "socks5://",
        "http://127.0.0.1/path",
    ] {
        let spec = LinkSpec {
            owner: world.owner,
            proxy: Some(url.to_owned()),
            pairing: Some(PairingMethod::Qr),
        };
        let opened = world
            .engine
            .open(spec, std::sync::Arc::<crate::support::Recorder>::default())
            .await;
        assert!(matches!(opened, Err(OpenError::Proxy(_))), "{url}");
    }
    let spec = LinkSpec {
        owner: world.owner,
        proxy: Some("socks5://192.0.2.1:1080".to_owned()),
        pairing: Some(PairingMethod::Qr),
    };
    let opened = world
        .engine
        .open(spec, std::sync::Arc::<crate::support::Recorder>::default())
        .await;
    assert!(
        matches!(opened, Err(OpenError::Endpoint(_))),
        "a sandbox build leaves the machine by no detour"
    );
}
