//! Which faults there are, whom they strike, and how often they have.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::kind::FaultKind;
use super::place::{Place, Who, at_once};
use crate::server::link::Link;
use crate::server::sync::lock;

/// Longest life of a fault.
const DURATION_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Fields every kind has; the others belong to the kind.
const COMMON: [&str; 6] = [
    "account",
    "device",
    "probability",
    "after",
    "count",
    "duration_ms",
];

/// Whom a fault strikes, when, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Terms {
    /// A phone number; everybody without it.
    pub account: Option<String>,
    pub device: Option<u16>,
    /// Of each chance; always without it.
    pub probability: Option<f64>,
    /// Chances that are let pass first.
    #[serde(default)]
    pub after: u64,
    /// It ends after it has struck this often.
    pub count: Option<u64>,
    pub duration_ms: Option<u64>,
}

/// A fault as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::server) struct NewFault {
    pub kind: FaultKind,
    pub terms: Terms,
}

/// A field of a request that is wrong, as a JSON pointer, and why.
pub(in crate::server) type Wrong = (String, String);

impl NewFault {
    pub(in crate::server) fn parse(body: Value) -> Result<Self, Wrong> {
        let Value::Object(mut body) = body else {
            return Err((String::new(), "a fault is an object".to_owned()));
        };
        let common = COMMON.iter().filter_map(|name| body.remove_entry(*name));
        let common: Map<_, _> = common.collect();
        let terms: Terms = read(Value::Object(common)).map_err(|(path, detail)| (pointer(&path), detail))?;
        let kind = match body.remove("kind") {
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(("/kind".to_owned(), "the kind is a text".to_owned())),
            None => return Err(("/kind".to_owned(), "a fault has a kind".to_owned())),
        };
        let tagged = Map::from_iter([(kind, Value::Object(body))]);
        let kind: FaultKind = read(Value::Object(tagged)).map_err(|(path, detail)| match &path[..] {
            // Only the name of the kind itself is outside its parameters.
            [] | [_] if detail.starts_with("unknown variant") => ("/kind".to_owned(), detail),
            [] => (String::new(), detail),
            [_, rest @ ..] => (pointer(rest), detail),
        })?;
        let wrong = |(field, detail): (&str, String)| (field.to_owned(), detail);
        kind.check().map_err(wrong)?;
        terms.check().map_err(wrong)?;
        Ok(Self { kind, terms })
    }
}

impl Terms {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.device.is_some() && self.account.is_none() {
            return Err(("/device", "a device is named with its account".to_owned()));
        }
        if self.probability.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            return Err(("/probability", "it is over 0 and at most 1".to_owned()));
        }
        if self.count == Some(0) {
            return Err(("/count", "it is at least 1".to_owned()));
        }
        if self
            .duration_ms
            .is_some_and(|ms| !(1..=DURATION_MS_MAX).contains(&ms))
        {
            return Err(("/duration_ms", format!("it is from 1 to {DURATION_MS_MAX}")));
        }
        Ok(())
    }

    fn cover(&self, who: Who<'_>) -> bool {
        self.account
            .as_deref()
            .is_none_or(|account| who.account == Some(account))
            && self.device.is_none_or(|device| who.device == Some(device))
    }
}

/// Reads a value; the error carries the path to the place that is wrong.
fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, (Vec<String>, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        use serde_path_to_error::Segment;
        let path = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        });
        let mut path: Vec<_> = path.collect();
        let detail = error.inner().to_string();
        // What is missing has no place of its own: it is named where it should be.
        let missing = detail
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next());
        path.extend(missing.map(str::to_owned));
        (path, detail)
    })
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|part| format!("/{part}")).collect()
}

struct Fault {
    kind: FaultKind,
    terms: Terms,
    until: Option<Instant>,
    /// It struck what was there when it was made, and strikes no more.
    spent: bool,
    chances: u64,
    strikes: u64,
    rng: StdRng,
}

/// A fault as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub(in crate::server) struct FaultView {
    pub id: String,
    #[serde(flatten)]
    what: Map<String, Value>,
    #[serde(flatten)]
    terms: Terms,
    state: FaultState,
    /// How often it could have struck, and how often it did.
    chances: u64,
    pub strikes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum FaultState {
    Active,
    Ended,
}

impl Fault {
    fn is_over(&self, now: Instant) -> bool {
        self.spent || self.is_exhausted() || self.has_expired(now)
    }

    fn is_exhausted(&self) -> bool {
        self.terms.count.is_some_and(|count| self.strikes >= count)
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Takes a chance. Returns whether the fault strikes.
    fn chance(&mut self) -> bool {
        self.chances += 1;
        if self.chances <= self.terms.after || self.is_exhausted() {
            return false;
        }
        let strikes = match self.terms.probability {
            Some(probability) => self.rng.random_bool(probability),
            None => true,
        };
        self.strikes += u64::from(strikes);
        strikes
    }

    fn view(&self, number: u64, now: Instant) -> FaultView {
        // A kind is written as one field, named after it, with its parameters.
        let mut what = Map::new();
        if let Ok(Value::Object(tagged)) = serde_json::to_value(&self.kind)
            && let Some((kind, Value::Object(parameters))) = tagged.into_iter().next()
        {
            what.insert("kind".to_owned(), kind.into());
            what.extend(parameters.into_iter().filter(|(_, value)| !value.is_null()));
        }
        let state = if self.is_over(now) {
            FaultState::Ended
        } else {
            FaultState::Active
        };
        FaultView {
            id: fault_id(number),
            what,
            terms: self.terms.clone(),
            state,
            chances: self.chances,
            strikes: self.strikes,
        }
    }
}

pub(in crate::server) fn fault_id(number: u64) -> String {
    format!("flt_{number}")
}

fn fault_number(id: &str) -> Option<u64> {
    id.strip_prefix("flt_")?.parse().ok()
}

/// There is no room for another fault.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct TooManyFaults;

/// All faults, and the places where one may strike.
pub(in crate::server) struct Faults {
    /// A bit for each [`Place`].
    armed: AtomicU8,
    strikes: AtomicU64,
    state: Mutex<State>,
    /// Told when a fault was taken away.
    removed: Notify,
    seed: u64,
    faults_max: usize,
}

#[derive(Default)]
struct State {
    faults: BTreeMap<u64, Fault>,
    last: u64,
}

impl Faults {
    pub(in crate::server) fn new(seed: u64, faults_max: usize) -> Self {
        Self {
            armed: AtomicU8::new(0),
            strikes: AtomicU64::new(0),
            state: Mutex::default(),
            removed: Notify::new(),
            seed,
            faults_max,
        }
    }

    /// Adds a fault and returns its number. For one that strikes at once, [`Self::strike_live`] follows.
    pub(in crate::server) fn add(&self, new: NewFault) -> Result<u64, TooManyFaults> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        if state.faults.len() >= self.faults_max {
            // Those that have ended are only kept to be looked at.
            let ended = state.faults.iter().find(|(_, fault)| fault.is_over(now));
            let ended = ended.map(|(number, _)| *number).ok_or(TooManyFaults)?;
            state.faults.remove(&ended);
            self.removed.notify_waiters();
        }
        state.last += 1;
        let number = state.last;
        let until = new.terms.duration_ms.map(|ms| now + Duration::from_millis(ms));
        let fault = Fault {
            kind: new.kind,
            terms: new.terms,
            until,
            spent: false,
            chances: 0,
            strikes: 0,
            rng: StdRng::seed_from_u64(self.seed.wrapping_add(number)),
        };
        state.faults.insert(number, fault);
        self.arm(&state, now);
        Ok(number)
    }

    /// Lets a fault that strikes at once take its chance at each of the live connections, and cuts
    /// those it strikes. It strikes no others later.
    pub(in crate::server) fn strike_live(&self, number: u64, live: &[(Arc<str>, u16, Arc<Link>)]) {
        let mut state = lock(&self.state);
        let Some(fault) = state.faults.get_mut(&number) else {
            return;
        };
        let Some(cut) = at_once(&fault.kind, number) else {
            return;
        };
        for (account, device, link) in live {
            if fault.terms.cover(Who::new(account, *device)) && fault.chance() {
                cut.apply(link);
                self.strikes.fetch_add(1, Ordering::Relaxed);
            }
        }
        fault.spent = true;
    }

    pub(in crate::server) fn list(&self) -> Vec<FaultView> {
        let now = Instant::now();
        let state = lock(&self.state);
        let views = state
            .faults
            .iter()
            .map(|(number, fault)| fault.view(*number, now));
        views.collect()
    }

    pub(in crate::server) fn view(&self, number: u64) -> Option<FaultView> {
        let state = lock(&self.state);
        let fault = state.faults.get(&number)?;
        Some(fault.view(number, Instant::now()))
    }

    pub(in crate::server) fn find(&self, id: &str) -> Option<FaultView> {
        self.view(fault_number(id)?)
    }

    /// Takes a fault away. Returns whether there was one.
    pub(in crate::server) fn remove(&self, id: &str) -> bool {
        let Some(number) = fault_number(id) else {
            return false;
        };
        self.remove_if(|candidate| candidate == number) > 0
    }

    /// Takes away those whose number is `wanted`. Returns how many.
    pub(in crate::server) fn remove_if(&self, wanted: impl Fn(u64) -> bool) -> usize {
        let mut state = lock(&self.state);
        let before = state.faults.len();
        state.faults.retain(|number, _| !wanted(*number));
        let removed = before - state.faults.len();
        self.arm(&state, Instant::now());
        drop(state);
        self.removed.notify_waiters();
        removed
    }

    /// How many faults can strike now, and how often any has.
    pub(in crate::server) fn counts(&self) -> (u64, u64) {
        let now = Instant::now();
        let state = lock(&self.state);
        let active = state.faults.values().filter(|fault| !fault.is_over(now)).count();
        (active as u64, self.strikes.load(Ordering::Relaxed))
    }

    /// Waits until a fault is taken away, or its time is over.
    pub(in crate::server) async fn gone(&self, number: u64) {
        loop {
            let removed = self.removed.notified();
            tokio::pin!(removed);
            // Registered before the look, so that nothing is missed between the two.
            removed.as_mut().enable();
            let until = {
                let state = lock(&self.state);
                let Some(fault) = state.faults.get(&number) else {
                    return;
                };
                fault.until
            };
            match until {
                Some(until) if Instant::now() >= until => return,
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, removed).await;
                }
                None => removed.await,
            }
        }
    }

    pub(super) fn are_armed(&self, place: Place) -> bool {
        self.armed.load(Ordering::Relaxed) & place as u8 != 0
    }

    /// Lets the faults at a place take their chance, oldest first, until one strikes: that which
    /// `pick` makes of it is returned.
    pub(super) fn strike<T>(
        &self,
        place: Place,
        who: Who<'_>,
        pick: impl Fn(&FaultKind, u64) -> Option<T>,
    ) -> Option<T> {
        if !self.are_armed(place) {
            return None;
        }
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut over = false;
        let mut struck = None;
        for (number, fault) in &mut state.faults {
            if fault.is_over(now) {
                over = true;
                continue;
            }
            if fault.kind.place() != Some(place) || !fault.terms.cover(who) {
                continue;
            }
            if let Some(picked) = pick(&fault.kind, *number)
                && fault.chance()
            {
                tracing::debug!(fault = *number, kind = ?fault.kind, "a fault strikes");
                over |= fault.is_exhausted();
                struck = Some(picked);
                break;
            }
        }
        if over {
            self.arm(&state, now);
        }
        drop(state);
        self.strikes
            .fetch_add(u64::from(struck.is_some()), Ordering::Relaxed);
        struck
    }

    fn arm(&self, state: &State, now: Instant) {
        let places = state.faults.values().filter(|fault| !fault.is_over(now));
        let places = places.filter_map(|fault| fault.kind.place());
        let armed = places.fold(0, |armed, place| armed | place as u8);
        self.armed.store(armed, Ordering::Relaxed);
    }
}
