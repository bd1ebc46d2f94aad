use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Counts itself for as long as it waits.
async fn wait(alive: Arc<AtomicUsize>) {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    alive.fetch_add(1, Ordering::SeqCst);
    let _alive = Alive(alive);
    std::future::pending::<()>().await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{what}"));
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[tokio::test]
async fn strangers_are_no_more_than_allowed() {
    let strangers = Arc::new(Strangers::new(4));
    let alive = Arc::new(AtomicUsize::new(0));
    for _ in 0..1_000 {
        strangers.admit(address(1), wait(Arc::clone(&alive)));
        assert!(strangers.lock().tasks.len() <= 4);
        tokio::task::yield_now().await;
    }
    until("only four are left", || alive.load(Ordering::SeqCst) == 4).await;
    strangers.clear();
    until("none is left", || alive.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn who_opens_many_connections_crowds_out_himself() {
    let strangers = Arc::new(Strangers::new(8));
    let (peer, flood) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    strangers.admit(address(1), wait(Arc::clone(&peer)));
    for _ in 0..500 {
        strangers.admit(address(2), wait(Arc::clone(&flood)));
    }
    until("seven of the flood are left", || {
        flood.load(Ordering::SeqCst) == 7
    })
    .await;
    assert_eq!(peer.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stranger_that_is_done_is_off_the_list() {
    let strangers = Arc::new(Strangers::new(8));
    for _ in 0..20 {
        strangers.admit(address(1), async {});
        strangers.admit(address(1), async { panic!("a fault of the meeting") });
    }
    until("the list is empty", || strangers.lock().tasks.is_empty()).await;
}

#[test]
fn a_network_of_ipv6_addresses_counts_as_one() {
    let of = |text: &str| network(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
}
