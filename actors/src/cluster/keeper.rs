//! The keeper of the lease: registers this node, renews its lease, and ends everything when it is lost.
//!
//! ```text
//! register ─▶ renew every quarter of the lease ─▶ leave at a clean end
//!     ▲              │ lost, or not renewed in time
//!     └── all gone ◀─┴─ kill
//! ```
//! It runs on a thread and a runtime of its own, so that no actor, however busy or stuck, keeps it from
//! renewing, or from ending what must not go on. It kills by signals: no mailbox stands between. An expired
//! lease is never revived: the node registers anew, as another life, when nothing of the last one runs.

use std::sync::Arc;
use std::time::Duration;

use roost_domain::cluster::{Lease as _, Member, Membership, MembershipError, NodeCard};
use roost_domain::outage::Outage;
use roost_domain::peer::MeshError;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{ClusterSettings, HeldLease};

/// How often the end of a life is looked at.
const GONE_POLL: Duration = Duration::from_millis(20);

/// What runs under a lease.
pub(crate) trait Life: Send + Sync + 'static {
    /// Takes note that a lease was lost.
    fn lost(&self);
    /// Ends everything, by signals: it returns at once, whatever the actors do. Called again until
    /// nothing is left.
    fn kill(&self);
    /// Whether nothing runs any more.
    fn gone(&self) -> bool;
}

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It was refused, or the database did not answer for the length of a lease.
    #[error(transparent)]
    Refused(MembershipError),
    /// There is no thread for the keeper.
    #[error("the keeper of the lease cannot start")]
    Thread(#[source] std::io::Error),
    /// Its port for other nodes cannot be opened.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The keeper ended before it had registered.
    #[error("the keeper of the lease ended")]
    Ended,
}

/// What a keeper works with.
pub(crate) struct KeeperParts {
    /// Used by nobody else, so that its connections live on the keeper's runtime.
    pub membership: Arc<dyn Membership>,
    pub card: NodeCard,
    pub settings: ClusterSettings,
    pub lease: Arc<HeldLease>,
    pub life: Arc<dyn Life>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Keep,
    Leave,
    Abandon,
}

/// See the module. Dropped, it lets go of the lease without telling the others.
pub(crate) struct Keeper {
    order: watch::Sender<Order>,
    standing: watch::Receiver<Option<Member>>,
}

impl Keeper {
    /// Starts the thread, and waits until the node is registered. Somebody else's lease may be that of a
    /// predecessor that crashed elsewhere: it is given the time to run out.
    pub async fn start(parts: KeeperParts) -> Result<Self, JoinError> {
        let (order, orders) = watch::channel(Order::Keep);
        let (told, standing) = watch::channel(None);
        let (first, joined) = oneshot::channel();
        let run = move || {
            let (lease, life) = (Arc::clone(&parts.lease), Arc::clone(&parts.life));
            let _fence = FenceAtEnd(lease, life);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(keep(parts, orders, told, first)),
                Err(error) => drop(first.send(Err(JoinError::Thread(error)))),
            }
        };
        let thread = std::thread::Builder::new().name("lease-keeper".to_owned());
        thread.spawn(run).map_err(JoinError::Thread)?;
        joined.await.unwrap_or(Err(JoinError::Ended))?;
        Ok(Self { order, standing })
    }

    /// The life of this node, while its lease holds.
    pub fn standing(&self) -> watch::Receiver<Option<Member>> {
        self.standing.clone()
    }

    /// Gives the lease back, when nothing runs under it any more.
    pub async fn leave(&self) {
        self.order.send_replace(Order::Leave);
        let mut standing = self.standing.clone();
        // The thread's end closes the channel.
        while standing.changed().await.is_ok() {}
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.order.send_if_modified(|order| {
            let keeps = *order == Order::Keep;
            if keeps {
                *order = Order::Abandon;
            }
            keeps
        });
    }
}

/// However the thread ends, nothing goes on without it.
struct FenceAtEnd(Arc<HeldLease>, Arc<dyn Life>);

impl Drop for FenceAtEnd {
    fn drop(&mut self) {
        self.0.end();
        if !self.1.gone() {
            self.1.kill();
        }
    }
}

/// How a life ended.
enum End {
    Ordered(Order),
    Lost(&'static str),
}

type Orders = watch::Receiver<Order>;
type Told = watch::Sender<Option<Member>>;
type First = oneshot::Sender<Result<(), JoinError>>;

async fn keep(parts: KeeperParts, mut orders: Orders, told: Told, first: First) {
    let mut first = Some(first);
    loop {
        let patience = first.is_some().then_some(parts.settings.ttl);
        let me = tokio::select! {
            _ = ordered(&mut orders) => return,
            registered = register(&parts, patience) => match registered {
                Ok(me) => me,
                Err(error) => {
                    if let Some(first) = first.take() {
                        // Whoever waited may have given up.
                        let _ = first.send(Err(JoinError::Refused(error)));
                    }
                    return;
                }
            }
        };
        tracing::info!(node.name = %me.node, node.incarnation = me.incarnation, "this node is registered");
        told.send_replace(Some(me.clone()));
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        let end = hold(&parts, &me, &mut orders).await;
        parts.lease.end();
        told.send_replace(None);
        match end {
            End::Ordered(Order::Leave) => return leave(&parts, &me).await,
            End::Ordered(_) => return,
            End::Lost(why) => {
                tracing::error!(
                    node.incarnation = me.incarnation,
                    why,
                    "the lease of this node is lost; everything that runs under it is killed"
                );
                parts.life.lost();
                tokio::select! {
                    _ = ordered(&mut orders) => return,
                    () = fence(&*parts.life, parts.settings.ttl) => {}
                }
            }
        }
    }
}

async fn ordered(orders: &mut Orders) -> Order {
    // Nobody can order anything any more: that is the end, too.
    let order = orders.wait_for(|order| *order != Order::Keep).await;
    order.map_or(Order::Abandon, |order| *order)
}

/// Registers until it succeeds; with `patience`, as long as that lasts.
async fn register(parts: &KeeperParts, patience: Option<Duration>) -> Result<Member, MembershipError> {
    let KeeperParts {
        membership,
        card,
        settings,
        lease,
        ..
    } = parts;
    let (begun, mut outage) = (Instant::now(), Outage::default());
    loop {
        let sent = lease.now();
        let refused = match timeout(settings.call(), membership.register(card, settings.ttl)).await {
            Ok(Ok(me)) if lease.begin(sent, settings) => return Ok(me),
            Ok(Ok(_)) => late(),
            Ok(Err(error)) => error,
            Err(_) => late(),
        };
        let hopeless = matches!(refused, MembershipError::Layout(_));
        if patience.is_some_and(|patience| hopeless || begun.elapsed() > patience) {
            return Err(refused);
        }
        if outage.failed(&refused) {
            tracing::warn!(error = %refused, "this node cannot register yet; trying again");
        }
        sleep(settings.ttl / 16).await;
    }
}

fn late() -> MembershipError {
    let text = "the database did not answer in time".to_owned();
    MembershipError::Store(roost_domain::store::StoreError::Unavailable(text))
}

/// Renews as long as that succeeds in time.
async fn hold(parts: &KeeperParts, me: &Member, orders: &mut Orders) -> End {
    let KeeperParts {
        membership,
        settings,
        lease,
        ..
    } = parts;
    let (mut wait, mut outage) = (settings.ttl / 4, Outage::default());
    loop {
        tokio::select! {
            biased;
            order = ordered(orders) => return End::Ordered(order),
            () = expiry(lease, settings) => return End::Lost("it was not renewed in time"),
            () = sleep(wait) => {}
        }
        let (sent, begun) = (lease.now(), Instant::now());
        let answer = tokio::select! {
            biased;
            order = ordered(orders) => return End::Ordered(order),
            () = expiry(lease, settings) => return End::Lost("it was not renewed in time"),
            answer = timeout(settings.call(), membership.renew(me, settings.ttl)) => answer,
        };
        let error = match answer {
            Ok(Ok(())) if lease.extend(sent, settings) => {
                if outage.worked() {
                    tracing::info!("the lease of this node is renewed again");
                }
                wait = (settings.ttl / 4).saturating_sub(begun.elapsed());
                continue;
            }
            Ok(Ok(())) => return End::Lost("it was renewed too late"),
            Ok(Err(MembershipError::Lost)) => return End::Lost("the database has ended it"),
            Ok(Err(error)) => error,
            Err(_) => late(),
        };
        if outage.failed(&error) {
            tracing::warn!(%error, "the lease of this node could not be renewed; trying again");
        }
        wait = settings.ttl / 16;
    }
}

/// Waits until the lease holds no more. Timers do not count the time that the host is asleep, so it looks
/// now and then.
async fn expiry(lease: &HeldLease, settings: &ClusterSettings) {
    while lease.holds() {
        sleep(lease.left().min(settings.ttl / 16)).await;
    }
}

/// Kills until nothing is left. Says so when that takes longer than it should.
async fn fence(life: &dyn Life, patience: Duration) {
    let mut complaint = Instant::now() + patience;
    loop {
        life.kill();
        if life.gone() {
            return;
        }
        if Instant::now() >= complaint {
            tracing::error!(
                "something that was killed does not end; this node stays out of the cluster until it does"
            );
            complaint += patience;
        }
        sleep(GONE_POLL).await;
    }
}

async fn leave(parts: &KeeperParts, me: &Member) {
    match timeout(parts.settings.call(), parts.membership.leave(me)).await {
        Ok(Ok(())) => tracing::info!(node.name = %me.node, "this node has left"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "this node could not sign off; its lease runs out by itself");
        }
        Err(_) => tracing::warn!("this node could not sign off in time; its lease runs out by itself"),
    }
}

#[cfg(test)]
mod tests;
