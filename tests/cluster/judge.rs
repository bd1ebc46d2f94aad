//! Whether at any time two nodes acted for one number, and whether anything was done under an epoch below one
//! that was seen before.
//!
//! An effect is a login, a frame that a device sent, a write of an owner in the database, or a POST to a
//! webhook. All are told which life of which node did them by whom they reached; what the nodes say of
//! themselves counts for nothing. The rules:
//! - L1: a number logs in from a node only after its connection from another node has ended. The one exception
//!   is a node that is frozen: its connection is open and dead;
//! - L2: once a number has logged in from another node, no frame comes by an earlier connection;
//! - L3: a login, a frame and a POST come from the node that owns the slot at that time;
//! - L4: their epochs (that of their node's latest claim) never fall, per number and per webhook;
//! - D1: epochs of writes never fall, per number and per webhook, in the order of commits;
//! - D2: everything that is written under an epoch is written by the life that claimed the slot under it.
//!
//! L1, L2, D1 and D2 compare numbers of one order and no clocks. L3 and L4 compare times of the sandbox, the
//! receiver and PostgreSQL, which have one clock here.

use std::collections::BTreeMap;

use crate::journal::{Claim, Notes};
use crate::receiver::Post;
use crate::wire::{Device, Login};

/// Violations that are told; the rest is counted.
const TOLD_MAX: usize = 20;

/// A life that was frozen for a time.
#[derive(Debug, Clone)]
pub struct Frozen {
    pub life: String,
    pub from_us: u64,
    pub to_us: u64,
}

pub struct Evidence {
    pub notes: Notes,
    pub devices: Vec<Device>,
    pub posts: Vec<Post>,
    pub frozen: Vec<Frozen>,
}

/// Claims by slot, in order.
struct Claims<'a>(BTreeMap<i64, Vec<&'a Claim>>);

impl<'a> Claims<'a> {
    fn of(notes: &'a Notes) -> Self {
        let mut slots: BTreeMap<i64, Vec<&Claim>> = BTreeMap::new();
        for claim in &notes.claims {
            slots.entry(claim.slot).or_default().push(claim);
        }
        Self(slots)
    }

    fn before(&self, slot: i64, at_us: u64) -> impl Iterator<Item = &'a Claim> {
        let claims = self.0.get(&slot).map(Vec::as_slice).unwrap_or_default();
        let end = claims.partition_point(|claim| claim.at_us <= at_us);
        claims[..end].iter().rev().copied()
    }

    /// The life that owns a slot at a time.
    fn owner(&self, slot: i64, at_us: u64) -> Option<&'a str> {
        let last = self.before(slot, at_us).next()?;
        last.node.as_ref().map(|_| last.life.as_str())
    }

    /// The epoch of a life's latest claim of a slot by a time.
    fn epoch(&self, slot: i64, life: &str, at_us: u64) -> Option<i64> {
        self.before(slot, at_us)
            .find(|claim| claim.life == life && claim.node.is_some())
            .map(|claim| claim.epoch)
    }

    /// Who claimed a slot under an epoch.
    fn claimer(&self, slot: i64, epoch: i64) -> Option<&'a str> {
        let claims = self.0.get(&slot)?;
        let claim = claims
            .iter()
            .find(|claim| claim.epoch == epoch && claim.node.is_some())?;
        Some(&claim.life)
    }
}

/// What the judge goes by and what it found.
struct Trial<'a> {
    claims: Claims<'a>,
    frozen: &'a [Frozen],
    violations: Vec<String>,
}

impl Evidence {
    /// Fails when a rule was broken, and tells how much there was to judge.
    pub fn judge(&self) {
        let logins: usize = self.devices.iter().map(|device| device.logins.len()).sum();
        let frames: usize = self.devices.iter().map(|device| device.frames.len()).sum();
        let (writes, posts) = (self.notes.effects.len(), self.posts.len());
        println!("judged: {logins} logins, {frames} frames, {writes} writes, {posts} posts");
        assert!(
            logins >= self.devices.len() && frames > logins && writes > logins && posts > 0,
            "there was too little to judge"
        );
        let violations = self.violations();
        let told = violations.len().min(TOLD_MAX);
        assert!(
            violations.is_empty(),
            "{} violations, such as\n{}",
            violations.len(),
            violations[..told].join("\n")
        );
    }

    fn violations(&self) -> Vec<String> {
        let mut trial = Trial {
            claims: Claims::of(&self.notes),
            frozen: &self.frozen,
            violations: Vec::new(),
        };
        for device in &self.devices {
            trial.logins(device);
            trial.frames(device);
            trial.wire_epochs(device, self.notes.slots[&device.instance]);
        }
        trial.writes(&self.notes);
        trial.posts(&self.posts, &self.notes);
        trial.violations
    }
}

impl Trial<'_> {
    fn was_frozen(&self, life: &str, at_us: u64) -> bool {
        let mut frozen = self.frozen.iter().filter(|frozen| frozen.life == life);
        frozen.any(|frozen| (frozen.from_us..frozen.to_us).contains(&at_us))
    }

    fn logins(&mut self, device: &Device) {
        for (place, login) in device.logins.iter().enumerate() {
            for earlier in &device.logins[..place] {
                let over = earlier.ended.as_ref().is_some_and(|end| end.order < login.order);
                let excused = earlier.life == login.life || self.was_frozen(&earlier.life, login.at_us);
                if !over && !excused {
                    self.violations.push(format!(
                        "L1 {}: logged in from {} while it was connected from {}: {login:?} {earlier:?}",
                        device.phone, login.life, earlier.life
                    ));
                }
            }
        }
    }

    fn frames(&mut self, device: &Device) {
        let by_connection: BTreeMap<u64, &Login> = device
            .logins
            .iter()
            .map(|login| (login.connection, login))
            .collect();
        for frame in &device.frames {
            let Some(of) = by_connection.get(&frame.connection) else {
                let phone = &device.phone;
                self.violations
                    .push(format!("L2 {phone}: a frame without a login: {frame:?}"));
                continue;
            };
            let another = device
                .logins
                .iter()
                .find(|login| login.order < frame.order && login.order > of.order && login.life != of.life);
            if let Some(another) = another {
                self.violations.push(format!(
                    "L2 {}: {} sent after the login from {}: {frame:?}",
                    device.phone, of.life, another.life
                ));
            }
        }
    }

    /// L3 and L4 of logins and frames.
    fn wire_epochs(&mut self, device: &Device, slot: i64) {
        let lives: BTreeMap<u64, &str> = device
            .logins
            .iter()
            .map(|login| (login.connection, login.life.as_str()))
            .collect();
        let logins = device
            .logins
            .iter()
            .map(|login| (login.order, login.at_us, login.life.as_str(), "login"));
        let frames = device.frames.iter().filter_map(|frame| {
            let life = lives.get(&frame.connection)?;
            Some((frame.order, frame.at_us, *life, frame.tag.as_str()))
        });
        let mut effects: Vec<_> = logins.chain(frames).collect();
        effects.sort_unstable();
        let effects = effects
            .into_iter()
            .map(|(_, at_us, life, what)| (at_us, life, what));
        self.timed(&device.phone, slot, effects);
    }

    fn timed<'e>(&mut self, key: &str, slot: i64, effects: impl Iterator<Item = (u64, &'e str, &'e str)>) {
        let mut seen = 0;
        for (at_us, life, what) in effects {
            let owner = self.claims.owner(slot, at_us);
            if owner != Some(life) {
                self.violations.push(format!(
                    "L3 {key}: {what} from {life} at {at_us}, when {owner:?} owned slot {slot}"
                ));
            }
            let epoch = self.claims.epoch(slot, life, at_us).unwrap_or_default();
            if epoch < seen {
                self.violations
                    .push(format!("L4 {key}: {what} from {life} under {epoch} after {seen}"));
            }
            seen = seen.max(epoch);
        }
    }

    fn writes(&mut self, notes: &Notes) {
        let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
        // Epoch 0 is of what nobody has owned yet.
        for effect in notes.effects.iter().filter(|effect| effect.epoch > 0) {
            let highest = seen.entry(&effect.key).or_default();
            if effect.epoch < *highest {
                self.violations.push(format!("D1 after {highest}: {effect:?}"));
            }
            *highest = effect.epoch.max(*highest);
            let claimer = self.claims.claimer(effect.slot, effect.epoch);
            if claimer != Some(&effect.life) {
                self.violations
                    .push(format!("D2 claimed by {claimer:?}: {effect:?}"));
            }
        }
    }

    fn posts(&mut self, posts: &[Post], notes: &Notes) {
        let mut webhooks: BTreeMap<&str, Vec<&Post>> = BTreeMap::new();
        for post in posts {
            webhooks.entry(&post.webhook).or_default().push(post);
        }
        for (webhook, posts) in webhooks {
            let known = posts
                .iter()
                .filter_map(|post| Some((post.at_us, post.life.as_deref()?, post.event.as_str())));
            self.timed(webhook, notes.slots[webhook], known);
        }
    }
}

#[cfg(test)]
mod tests;
