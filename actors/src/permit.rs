//! Permits: the bound that ractor's mailboxes do not have.
//!
//! A handle takes a permit before it queues a command; the permit travels in the message and on into
//! the task that does the work, so it comes back however either ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Classes of commands, each with its own permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Send,
    Query,
    Control,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Send, Self::Query, Self::Control];

    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Query => "query",
            Self::Control => "control",
        }
    }
}

/// Why no permit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// All are taken.
    Exhausted,
    /// The actor takes no more commands; a successor may.
    Retired,
    /// As `Retired`, and no successor here would: another owner has taken over.
    Fenced,
}

/// The permits of one actor.
#[derive(Debug)]
pub(crate) struct Permits {
    classes: [(Arc<Semaphore>, usize); 3],
    retired: AtomicBool,
    fenced: AtomicBool,
}

impl Permits {
    pub fn new(send: usize, query: usize, control: usize) -> Self {
        Self {
            classes: [send, query, control].map(|max| (Arc::new(Semaphore::new(max)), max)),
            retired: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
        }
    }

    pub fn take(&self, class: Class) -> Result<OwnedSemaphorePermit, Refused> {
        let (semaphore, _) = &self.classes[class as usize];
        Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
            if self.is_fenced() {
                Refused::Fenced
            } else if self.is_retired() {
                Refused::Retired
            } else {
                Refused::Exhausted
            }
        })
    }

    /// Takes no more commands, unless one is under way. A command that holds a permit may still sit in
    /// the mailbox, so an actor that stops by itself asks here first.
    pub fn retire_if_unused(&self) -> bool {
        let mut taken = Vec::with_capacity(self.classes.len());
        for (semaphore, max) in &self.classes {
            let all = u32::try_from(*max).unwrap_or(u32::MAX);
            match semaphore.try_acquire_many(all) {
                Ok(permits) => taken.push(permits),
                Err(_) => return false,
            }
        }
        self.retire();
        // The flag is up: nobody can wait for these.
        taken.into_iter().for_each(tokio::sync::SemaphorePermit::forget);
        true
    }

    /// Takes no more commands.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.classes.iter().for_each(|(semaphore, _)| semaphore.close());
    }

    /// Takes no more commands, for another owner has taken over.
    pub fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
        self.retire();
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Taken and most, for a class.
    pub fn used(&self, class: Class) -> (usize, usize) {
        let (semaphore, max) = &self.classes[class as usize];
        let used = if self.is_retired() {
            0
        } else {
            max.saturating_sub(semaphore.available_permits())
        };
        (used, *max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_dropped() {
        let permits = Permits::new(1, 1, 1);
        let held = permits.take(Class::Send).unwrap();
        assert_eq!(permits.take(Class::Send).unwrap_err(), Refused::Exhausted);
        assert_eq!(permits.used(Class::Send), (1, 1));
        assert!(permits.take(Class::Query).is_ok());
        drop(held);
        assert!(permits.take(Class::Send).is_ok());
    }

    #[test]
    fn an_actor_with_a_command_under_way_does_not_retire() {
        let permits = Permits::new(2, 2, 2);
        let held = permits.take(Class::Control).unwrap();
        assert!(!permits.retire_if_unused());
        assert!(permits.take(Class::Send).is_ok());
        drop(held);
        assert!(permits.retire_if_unused());
        assert_eq!(permits.take(Class::Send).unwrap_err(), Refused::Retired);
    }
}
