use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::task::JoinHandle;

use super::*;
use crate::cluster::BootTime;
use crate::cluster::testing::{Fault, TestClock, TestMembership, card};

/// Runs until it is killed, and longer if it is stubborn.
struct TestLife {
    lost: AtomicUsize,
    kills: AtomicUsize,
    stubborn: AtomicBool,
    lease: Arc<HeldLease>,
    killed: Option<SyncSender<()>>,
}

impl Life for TestLife {
    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
    }

    fn kill(&self) {
        assert!(
            !self.lease.holds(),
            "nothing may begin any more when the rest is killed"
        );
        self.kills.fetch_add(1, Ordering::SeqCst);
        if let Some(killed) = &self.killed {
            let _ = killed.try_send(());
        }
    }

    fn gone(&self) -> bool {
        !self.stubborn.load(Ordering::SeqCst)
    }
}

struct Stage {
    rows: Arc<TestMembership>,
    clock: Arc<TestClock>,
    lease: Arc<HeldLease>,
    life: Arc<TestLife>,
    standing: watch::Receiver<Option<Member>>,
    order: watch::Sender<Order>,
    joined: Option<oneshot::Receiver<Result<(), JoinError>>>,
    task: JoinHandle<()>,
}

fn settings() -> ClusterSettings {
    ClusterSettings {
        ttl: Duration::from_secs(4),
        ..ClusterSettings::default()
    }
}

/// A keeper on the test's own runtime, whose time is the test's.
fn stage(rows: &Arc<TestMembership>, address: &str) -> Stage {
    let clock = Arc::new(TestClock::new());
    let lease = Arc::new(HeldLease::new(Arc::clone(&clock) as _));
    let life = Arc::new(TestLife {
        lost: AtomicUsize::new(0),
        kills: AtomicUsize::new(0),
        stubborn: AtomicBool::new(false),
        lease: Arc::clone(&lease),
        killed: None,
    });
    let parts = KeeperParts {
        membership: Arc::clone(rows) as _,
        card: card("a", address),
        settings: settings(),
        lease: Arc::clone(&lease),
        life: Arc::clone(&life) as _,
    };
    let (order, orders) = watch::channel(Order::Keep);
    let (told, standing) = watch::channel(None);
    let (first, joined) = oneshot::channel();
    let task = tokio::spawn(keep(parts, orders, told, first));
    Stage {
        rows: Arc::clone(rows),
        clock,
        lease,
        life,
        standing,
        order,
        joined: Some(joined),
        task,
    }
}

async fn joined() -> Stage {
    let mut stage = stage(&Arc::new(TestMembership::new()), "here");
    stage.join().await.unwrap();
    stage
}

impl Stage {
    async fn join(&mut self) -> Result<(), JoinError> {
        self.joined.take().unwrap().await.unwrap()
    }

    fn member(&self) -> Option<Member> {
        self.standing.borrow().clone()
    }

    /// Lets time pass in small steps. Whenever this node acts, the database must know its lease.
    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
            if self.lease.holds() {
                let me = self.member().unwrap();
                assert!(self.rows.is_live(&me), "it acts without a lease");
            }
        }
    }

    fn kills(&self) -> usize {
        self.life.kills.load(Ordering::SeqCst)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_four_times_in_its_length() {
    let stage = joined().await;
    let me = stage.member();
    stage.pass(MINUTE).await;
    assert!(stage.lease.holds());
    assert_eq!(stage.member(), me, "it is the same life");
    assert!(
        (55..=60).contains(&stage.rows.renewals()),
        "{}",
        stage.rows.renewals()
    );
    assert_eq!(stage.kills(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_database_is_borne_within_the_time_of_a_call() {
    let stage = joined().await;
    let me = stage.member();
    stage.rows.fault(Fault::Slow(Duration::from_millis(1_200)));
    stage.pass(MINUTE).await;
    assert_eq!(stage.member(), me);
    assert_eq!(stage.kills(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_borne() {
    let stage = joined().await;
    let me = stage.member();
    stage.rows.fault(Fault::Refuses);
    stage.pass(Duration::from_secs(2)).await;
    stage.rows.fault(Fault::None);
    stage.pass(MINUTE).await;
    assert_eq!(stage.member(), me);
    assert_eq!(stage.kills(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_cut_off_from_the_database_stops_before_others_may_take_over_and_comes_back_as_new() {
    let stage = joined().await;
    let me = stage.member().unwrap();
    stage.rows.fault(Fault::Silent);
    stage.pass(Duration::from_millis(3_000)).await;
    while stage.lease.holds() {
        stage.pass(Duration::from_millis(10)).await;
    }
    assert!(stage.rows.is_live(&me), "it stopped while nobody else could act");
    stage.pass(Duration::from_secs(10)).await;
    assert!(stage.kills() > 0);
    assert_eq!(stage.member(), None);
    stage.rows.fault(Fault::None);
    stage.pass(Duration::from_secs(3)).await;
    let later = stage.member().unwrap();
    assert!(later.incarnation > me.incarnation);
    assert!(stage.lease.holds());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_database_has_ended_is_not_revived() {
    let stage = joined().await;
    let me = stage.member().unwrap();
    stage.rows.expire("a");
    stage.pass_unjudged(Duration::from_secs(2)).await;
    assert!(stage.kills() > 0);
    assert!(stage.member().unwrap().incarnation > me.incarnation);
    assert_eq!(stage.rows.registrations(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_asleep_finds_its_lease_gone() {
    let stage = joined().await;
    let me = stage.member().unwrap();
    stage.clock.sleeps(3_600_000);
    assert!(!stage.lease.holds(), "at once, before anybody noticed");
    stage.pass(Duration::from_secs(2)).await;
    assert!(stage.kills() > 0);
    assert!(stage.member().unwrap().incarnation > me.incarnation);
}

#[tokio::test(start_paused = true)]
async fn a_new_life_begins_when_nothing_of_the_last_one_runs() {
    let stage = joined().await;
    stage.life.stubborn.store(true, Ordering::SeqCst);
    stage.clock.sleeps(10_000);
    stage.pass(MINUTE).await;
    assert_eq!(stage.rows.registrations(), 1);
    assert!(stage.kills() > 1, "it is killed again and again");
    assert_eq!(stage.life.lost.load(Ordering::SeqCst), 1, "one lease was lost");
    stage.life.stubborn.store(false, Ordering::SeqCst);
    stage.pass(Duration::from_secs(1)).await;
    assert_eq!(stage.rows.registrations(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_process_of_the_name_is_refused_while_the_first_lives() {
    let first = joined().await;
    let mut second = stage(&first.rows, "elsewhere");
    let error = second.join().await.unwrap_err();
    assert!(
        matches!(&error, JoinError::Refused(MembershipError::NameTaken { address, .. }) if address == "here"),
        "{error}"
    );
    assert!(!second.lease.holds());
    assert!(first.lease.holds());
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_crashed_predecessor_elsewhere_is_waited_for() {
    let first = joined().await;
    first.task.abort();
    let mut second = stage(&first.rows, "elsewhere");
    second.join().await.unwrap();
    assert!(second.lease.holds());
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_when_a_node_starts_is_waited_for_as_long_as_a_lease() {
    let rows = Arc::new(TestMembership::new());
    rows.fault(Fault::Silent);
    let mut late = stage(&rows, "here");
    assert!(late.join().await.is_err());
    let mut soon = stage(&rows, "here");
    sleep(Duration::from_secs(2)).await;
    rows.fault(Fault::None);
    soon.join().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_told_once_and_so_is_its_return() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(log.reopen().unwrap()));
    let _told = tracing::subscriber::set_default(subscriber.finish());
    let count = |line: &str| std::fs::read_to_string(log.path()).unwrap().matches(line).count();
    let rows = Arc::new(TestMembership::new());
    rows.fault(Fault::Refuses);
    let mut stage = stage(&rows, "here");
    sleep(settings().ttl / 2).await;
    assert_eq!(count("this node cannot register yet"), 1);
    rows.fault(Fault::None);
    stage.join().await.unwrap();
    assert_eq!(count("this node is registered"), 1);
    for outages in 1..=2 {
        rows.fault(Fault::Refuses);
        stage.pass(settings().ttl / 2).await;
        assert_eq!(count("could not be renewed"), outages);
        rows.fault(Fault::None);
        stage.pass(settings().ttl).await;
        assert_eq!(count("is renewed again"), outages);
    }
    assert_eq!(stage.kills(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_has_no_row_and_no_lease() {
    let stage = joined().await;
    stage.order.send_replace(Order::Leave);
    stage.task.await.unwrap();
    assert!(!stage.rows.has("a"));
    assert!(!stage.lease.holds());
    assert_eq!(stage.life.kills.load(Ordering::SeqCst), 0);
}

fn real(killed: SyncSender<()>, rows: &Arc<TestMembership>) -> KeeperParts {
    let lease = Arc::new(HeldLease::new(Arc::new(BootTime)));
    let life = Arc::new(TestLife {
        lost: AtomicUsize::new(0),
        kills: AtomicUsize::new(0),
        stubborn: AtomicBool::new(false),
        lease: Arc::clone(&lease),
        killed: Some(killed),
    });
    let ttl = Duration::from_millis(1_000);
    KeeperParts {
        membership: Arc::clone(rows) as _,
        card: card("a", "here"),
        settings: ClusterSettings {
            ttl,
            ..ClusterSettings::default()
        },
        lease,
        life,
    }
}

/// Blocks the test's only thread, and with it its runtime.
fn wait_blocked(killed: &Receiver<()>) {
    killed.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[tokio::test]
async fn everything_is_killed_also_when_the_runtime_of_the_actors_is_stuck() {
    let (tell, killed) = sync_channel(1);
    let rows = Arc::new(TestMembership::new());
    let keeper = Keeper::start(real(tell, &rows)).await.unwrap();
    assert!(keeper.standing().borrow().is_some());
    rows.fault(Fault::Silent);
    wait_blocked(&killed);
    rows.fault(Fault::None);
    let mut standing = keeper.standing();
    standing.wait_for(Option::is_some).await.unwrap();
    assert_eq!(rows.registrations(), 2);
    keeper.leave().await;
    assert!(!rows.has("a"));
}

impl Stage {
    /// Lets time pass, while the rows say something that this node cannot know yet.
    async fn pass_unjudged(&self, time: Duration) {
        sleep(time).await;
    }
}
