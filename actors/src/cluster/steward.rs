//! The steward of a node's slots: reads who owns what, takes what is free and ours, gives away what is
//! another's, and has the residents of those slots started and ended.
//!
//! One reading at a time, on a tick and on hints, and what follows from it ([`super::plan`]) is done before
//! the next. Only a wave that is being handed off goes on beside it, so that a slow session does not keep
//! this node from taking over those of one that crashed. If the steward breaks, its successor finds what is
//! here in the placement; a wave that it left half-way is adopted again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use roost_domain::cluster::{ClusterView, Member, Membership, MembershipError, NodeLease};
use roost_domain::peer::{Mesh, PeerAddress};
use roost_domain::slot::Placement as _;
use roost_domain::{Epoch, Slot};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::numbers::Notebook;
use super::plan::{self, Plan, Situation, plan};
use super::{ClusterPlacement, ClusterSettings};
use crate::index::ActorMeta;
use crate::residents::{Residents, read_resting};

/// Path of the steward.
pub(crate) const PATH: &str = "steward";

/// What successive lives of the steward share.
pub(crate) struct Stewardship {
    pub membership: Arc<dyn Membership>,
    pub mesh: Arc<dyn Mesh>,
    pub notebook: Arc<Notebook>,
    pub placement: Arc<ClusterPlacement>,
    pub residents: Arc<Residents>,
    pub settings: ClusterSettings,
    /// The life of this node, while its lease holds.
    pub standing: watch::Receiver<Option<Member>>,
    /// Somebody has a reason to look now.
    pub hint: Arc<Notify>,
    /// What the last reading has come to.
    pub outlook: watch::Sender<Outlook>,
}

/// What the last reading has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// What was ours to take was taken, and what is to run in it was handed to its registries.
    pub settled: bool,
    /// This node gives everything away.
    pub drains: bool,
    /// It does, and nothing is left.
    pub drained: bool,
}

/// What it is told.
pub(crate) enum StewardMessage {
    /// The task that does its work has ended.
    WorkEnded,
}

impl ractor::Message for StewardMessage {}

/// See the module.
pub(crate) struct StewardActor;

/// The state of the steward.
pub(crate) struct StewardState {
    meta: Arc<ActorMeta>,
    _work: AbortOnDropHandle<()>,
}

impl Actor for StewardActor {
    type Msg = StewardMessage;
    type State = StewardState;
    type Arguments = Arc<Stewardship>;

    async fn pre_start(
        &self,
        myself: ActorRef<StewardMessage>,
        shared: Arc<Stewardship>,
    ) -> Result<StewardState, ActorProcessingErr> {
        let meta = shared.residents.node.index.open(PATH, PATH, None);
        meta.enter("running");
        let listening = AbortOnDropHandle::new(tokio::spawn(listen(Arc::clone(&shared))));
        let work = AbortOnDropHandle::new(tokio::spawn(Work::new(shared).run()));
        let watched = tokio::spawn(async move {
            // Neither ends but by breaking.
            tokio::select! {
                _ = listening => {}
                _ = work => {}
            }
            let _ = myself.cast(StewardMessage::WorkEnded);
        });
        Ok(StewardState {
            meta,
            _work: AbortOnDropHandle::new(watched),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<StewardMessage>,
        message: StewardMessage,
        state: &mut StewardState,
    ) -> Result<(), ActorProcessingErr> {
        let StewardMessage::WorkEnded = message;
        state.meta.handling("work_ended");
        Err("the work of the steward broke".into())
    }
}

/// Turns what the database tells into hints.
async fn listen(shared: Arc<Stewardship>) {
    loop {
        match shared.membership.changed().await {
            Ok(()) => shared.hint.notify_one(),
            // The tick goes on without it.
            Err(_) => sleep(shared.settings.tick).await,
        }
    }
}

/// A wave of slots on their way out.
struct Wave {
    slots: BTreeSet<Slot>,
    done: AbortOnDropHandle<()>,
}

/// One life of the steward at work.
struct Work {
    shared: Arc<Stewardship>,
    me: Option<Member>,
    wave: Option<Wave>,
    free_since: BTreeMap<Slot, Instant>,
    /// The life in which this node was last seen to drain.
    drained_in: Option<i64>,
    starts: JoinSet<()>,
    /// The last reading failed: said once.
    blind: bool,
}

impl Work {
    fn new(shared: Arc<Stewardship>) -> Self {
        Self {
            shared,
            me: None,
            wave: None,
            free_since: BTreeMap::new(),
            drained_in: None,
            starts: JoinSet::new(),
            blind: false,
        }
    }

    async fn run(mut self) {
        read_resting(&self.shared.residents.node).await;
        let mut standing = self.shared.standing.clone();
        loop {
            while self.starts.try_join_next().is_some() {}
            let begun = Instant::now();
            let member = standing.borrow_and_update().clone();
            self.turn_to(member).await;
            if let Some(me) = self.me.clone()
                && self.shared.placement.holds_lease()
            {
                match self.pass(&me).await {
                    Ok(()) => self.blind = false,
                    // The keeper sees to it.
                    Err(MembershipError::Lost) => {}
                    Err(error) => {
                        if !std::mem::replace(&mut self.blind, true) {
                            tracing::warn!(%error, "slots cannot be read or taken at this moment; trying again");
                        }
                    }
                }
            }
            sleep_until(begun + self.shared.settings.pause).await;
            let tick = sleep_until(begun + self.shared.settings.tick);
            tokio::select! {
                () = tick => {}
                () = self.shared.hint.notified() => {}
                () = wave_done(&mut self.wave) => self.wave = None,
                changed = standing.changed() => if changed.is_err() {
                    // The keeper has gone: there is no lease any more, and none comes.
                    return std::future::pending().await;
                },
            }
        }
    }

    /// Follows the keeper into another life: it begins with nothing.
    async fn turn_to(&mut self, member: Option<Member>) {
        if member == self.me {
            return;
        }
        self.wave = None;
        self.starts.abort_all();
        self.free_since.clear();
        self.shared.outlook.send_replace(Outlook::default());
        self.me = member;
        match self.me.clone() {
            // The predecessor broke, perhaps while it had this started.
            Some(me) if self.shared.placement.life() == Some(me.incarnation) => {
                let owned = self.shared.placement.owned();
                self.begin(&me, owned.into_iter().collect(), false);
            }
            Some(me) => {
                self.shared.placement.begin(me.incarnation);
                self.shared.mesh.reborn(me.incarnation);
                // What waits here to be restarted may live elsewhere now.
                self.shared.residents.hand_off(Slot::all().collect()).await;
            }
            None => self.shared.placement.end(),
        }
    }

    async fn pass(&mut self, me: &Member) -> Result<(), MembershipError> {
        let mut view = self.shared.membership.view().await?;
        if self.drains_on(me, &view) {
            self.shared.membership.set_draining(&me.node, true).await?;
            self.drained_in = Some(me.incarnation);
            view = self.shared.membership.view().await?;
        }
        self.shared.placement.learn(&view);
        self.shared.notebook.saw(&view);
        self.shared.mesh.set_peers(peers(&view));
        let overdue = self.overdue(&view);
        let (none, owned) = (BTreeSet::new(), self.shared.placement.owned());
        let situation = Situation {
            me,
            view: &view,
            owned: &owned,
            leaving: self.wave.as_ref().map_or(&none, |wave| &wave.slots),
            overdue: &overdue,
        };
        let Plan {
            claim,
            adopt,
            lost,
            give,
            drains,
        } = plan(&situation, &self.shared.settings);
        if !lost.is_empty() {
            tracing::error!(
                slots = lost.len(),
                "slots of this node have another owner; what runs in them is ended"
            );
            self.end(lost);
        }
        if !adopt.is_empty() {
            self.begin(me, adopt, true);
        }
        if !claim.is_empty() {
            let taken = self.shared.membership.claim(me, &claim).await?;
            tracing::info!(slots = taken.len(), "slots were taken");
            self.begin(me, taken, false);
        }
        let drained = drains && self.wave.is_none() && self.shared.placement.owned().is_empty();
        if !give.is_empty() {
            self.give(me, give);
        }
        let settled = self.starts.is_empty();
        self.shared.outlook.send_replace(Outlook {
            settled,
            drains,
            drained,
        });
        Ok(())
    }

    /// Whether an earlier life of this node was drained, and the mark was lost with it.
    fn drains_on(&mut self, me: &Member, view: &ClusterView) -> bool {
        let of_me = |lease: &&NodeLease| lease.incarnation == me.incarnation;
        let Some(lease) = view.nodes.get(&me.node).filter(of_me) else {
            return false;
        };
        if lease.draining {
            self.drained_in = Some(me.incarnation);
            return false;
        }
        // In the same life it was taken back.
        self.drained_in = self.drained_in.filter(|life| *life != me.incarnation);
        self.drained_in.is_some()
    }

    /// Slots that have been free for so long that anybody may take them.
    fn overdue(&mut self, view: &ClusterView) -> BTreeSet<Slot> {
        let (free, now) = (plan::free(view), Instant::now());
        self.free_since.retain(|slot, _| free.contains(slot));
        for &slot in &free {
            self.free_since.entry(slot).or_insert(now);
        }
        let patience = self.shared.settings.take_after;
        let waited = self
            .free_since
            .iter()
            .filter(|(_, since)| now - **since >= patience);
        waited.map(|(&slot, _)| slot).collect()
    }

    /// Slots are here now: what is to run in them is started, after what may still be ending in them.
    fn begin(&mut self, me: &Member, taken: Vec<(Slot, Epoch)>, ending: bool) {
        if !self.shared.placement.take(me.incarnation, &taken) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.starts.spawn(async move {
            let residents = &shared.residents;
            let slots: Vec<Slot> = taken.into_iter().map(|(slot, _)| slot).collect();
            // A tenant may have been suspended through another node.
            read_resting(&residents.node).await;
            if ending {
                residents.hand_off(slots.iter().copied().collect()).await;
            }
            let (sessions, webhooks) = residents.start(&slots).await;
            tracing::info!(
                slots = slots.len(),
                sessions,
                webhooks,
                "what lives in slots that came was started"
            );
            shared.hint.notify_one();
        });
    }

    /// Slots are another's: what runs in them has no right to.
    fn end(&mut self, slots: Vec<Slot>) {
        self.shared.placement.close(slots.iter().copied());
        let residents = Arc::clone(&self.shared.residents);
        self.starts.spawn(async move {
            residents.hand_off(slots.into_iter().collect()).await;
        });
    }

    /// Gives slots away: what runs in them ends in good order before anybody else can take them.
    fn give(&mut self, me: &Member, slots: Vec<Slot>) {
        let shared = Arc::clone(&self.shared);
        shared.placement.close(slots.iter().copied());
        tracing::info!(slots = slots.len(), "slots are given away");
        let (me, leaving) = (me.clone(), slots.iter().copied().collect());
        let done = tokio::spawn(async move {
            let set: HashSet<Slot> = slots.iter().copied().collect();
            while !shared.residents.hand_off(set.clone()).await {
                tracing::warn!("something in slots to be given away does not end; trying again");
            }
            if let Err(error) = shared.membership.release(&me, &slots).await {
                tracing::warn!(%error, "slots could not be given away; they are taken up again");
            }
        });
        self.wave = Some(Wave {
            slots: leaving,
            done: AbortOnDropHandle::new(done),
        });
    }
}

/// The nodes that are there, this one among them.
fn peers(view: &ClusterView) -> Vec<PeerAddress> {
    let live = view.nodes.values().filter(|lease| lease.is_live());
    live.map(|lease| PeerAddress {
        node: lease.card.node.clone(),
        incarnation: lease.incarnation,
        address: lease.card.address.clone(),
    })
    .collect()
}

async fn wave_done(wave: &mut Option<Wave>) {
    match wave {
        Some(wave) => drop((&mut wave.done).await),
        None => std::future::pending().await,
    }
}

impl Stewardship {
    /// Gives every slot away, as far as others take part, within a time. `true` when none is left.
    pub async fn drain(&self, wait: std::time::Duration) -> bool {
        let Some(me) = self.standing.borrow().clone() else {
            return true;
        };
        let drained = async {
            while let Err(error) = self.membership.set_draining(&me.node, true).await {
                tracing::warn!(%error, "this node could not be marked as draining; trying again");
                sleep(self.settings.tick).await;
            }
            self.hint.notify_one();
            let mut outlook = self.outlook.subscribe();
            outlook.wait_for(|outlook| outlook.drained).await.is_ok()
        };
        timeout(wait, drained).await.unwrap_or(false)
    }
}

#[cfg(test)]
pub(crate) mod tests;
