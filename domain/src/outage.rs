//! What fails again and again until it works, and how often that is worth a line in the log.

use std::fmt::Display;
use std::mem;

/// Reasons of one outage that are told: a text that is another each time must not fill a log either.
const REASONS_MAX: usize = 8;

/// A failure that lasts: each reason for it is told once, and once that it is over.
#[derive(Debug, Default)]
pub struct Outage {
    told: Vec<String>,
}

impl Outage {
    /// It has failed. Whether to tell why: this reason is new since it last worked.
    pub fn failed(&mut self, reason: &impl Display) -> bool {
        let reason = reason.to_string();
        let is_new = self.told.len() < REASONS_MAX && !self.told.contains(&reason);
        if is_new {
            self.told.push(reason);
        }
        is_new
    }

    /// It has worked. Whether to tell so: it failed before.
    pub fn worked(&mut self) -> bool {
        !mem::take(&mut self.told).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_an_outage_is_told_once_and_so_is_its_end() {
        let mut outage = Outage::default();
        assert!(!outage.worked(), "nothing has failed");
        let told: Vec<bool> = ["refused", "refused", "timeout", "refused"]
            .iter()
            .map(|reason| outage.failed(reason))
            .collect();
        assert_eq!(told, [true, false, true, false]);
        assert!(outage.worked());
        assert!(!outage.worked());
        assert!(outage.failed(&"refused"), "another outage");
    }

    #[test]
    fn reasons_that_are_never_the_same_are_told_a_few_times() {
        let mut outage = Outage::default();
        let told = (0..1_000).filter(|number| outage.failed(number)).count();
        assert_eq!(told, REASONS_MAX);
    }
}
