//! Times from the sandbox's ledger: how long numbers were away.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::Device;

/// Some durations, in order.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    fn of(times: impl Iterator<Item = u64>) -> Self {
        let mut times: Vec<Duration> = times.map(Duration::from_micros).collect();
        times.sort_unstable();
        Self(times)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn median(&self) -> Duration {
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }

    pub fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "median {:.2?}, longest {:.2?} of {}",
            self.median(),
            self.max(),
            self.count()
        )
    }
}

/// How long after a moment each number that was connected from this life was logged in from another one.
/// `None` for a number that was not.
pub fn outages(devices: &[Device], life: &str, since_us: u64) -> Option<Times> {
    let mut times = Vec::new();
    for device in devices {
        let before = device.logins.iter().rfind(|login| login.at_us < since_us);
        if before.is_none_or(|login| login.life != life) {
            continue;
        }
        let next = device
            .logins
            .iter()
            .find(|login| login.at_us >= since_us && login.life != life)?;
        times.push(next.at_us - since_us);
    }
    Some(Times::of(times.into_iter()))
}

/// How long numbers were away that moved from one life to another within a span of time: from the end of the
/// connection to the next login.
pub fn gaps(devices: &[Device], from_us: u64, to_us: u64) -> Times {
    let moves = devices.iter().flat_map(|device| device.logins.windows(2));
    let moved = moves.filter(|pair| pair[0].life != pair[1].life);
    let during = moved.filter(|pair| (from_us..to_us).contains(&pair[1].at_us));
    Times::of(during.filter_map(|pair| Some(pair[1].at_us.saturating_sub(pair[0].ended.as_ref()?.at_us))))
}

/// How many numbers are connected from each life, by their latest logins.
pub fn shares(devices: &[Device]) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    let latest = devices.iter().filter_map(|device| device.logins.last());
    for login in latest.filter(|login| login.ended.is_none()) {
        *shares.entry(login.life.clone()).or_default() += 1;
    }
    shares
}
