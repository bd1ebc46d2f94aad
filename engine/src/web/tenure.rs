//! Whether a link may still act: under the lease of the life of this node in which it was opened.
//!
//! A later lease of the same node does not revive a link: by then another node may have had the number.

use std::sync::Arc;

use roost_domain::cluster::Lease;

/// A link may not act any more.
#[derive(Debug, thiserror::Error)]
#[error("another node may own the number by now")]
pub(super) struct Over;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Tenure(Option<(Arc<dyn Lease>, u64)>);

impl Tenure {
    /// Of a link that is opened now; `None` when there is no lease at this moment. A node without a lease to
    /// ask for may act for ever.
    pub(super) fn begin(lease: Option<&Arc<dyn Lease>>) -> Option<Self> {
        let Some(lease) = lease else {
            return Some(Self(None));
        };
        let life = lease.life()?;
        Some(Self(Some((Arc::clone(lease), life))))
    }

    pub(super) fn holds(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|(lease, life)| lease.life() == Some(*life))
    }

    /// Asked right before an act.
    pub(super) fn check(&self) -> Result<(), Over> {
        if self.holds() { Ok(()) } else { Err(Over) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A lease whose life a test sets; 0 for none.
    pub struct Lives(pub AtomicU64);

    impl Lease for Lives {
        fn holds(&self) -> bool {
            self.life().is_some()
        }

        fn life(&self) -> Option<u64> {
            Some(self.0.load(Ordering::SeqCst)).filter(|life| *life > 0)
        }
    }

    #[test]
    fn a_link_ends_with_the_life_that_opened_it_and_is_not_revived_by_the_next() {
        let lives = Arc::new(Lives(AtomicU64::new(0)));
        let lease: Arc<dyn Lease> = Arc::clone(&lives) as _;
        assert!(Tenure::begin(Some(&lease)).is_none(), "no lease yet");
        lives.0.store(1, Ordering::SeqCst);
        let tenure = Tenure::begin(Some(&lease)).unwrap();
        assert!(tenure.holds());
        lives.0.store(0, Ordering::SeqCst);
        assert!(!tenure.holds());
        lives.0.store(2, Ordering::SeqCst);
        assert!(!tenure.holds());
    }

    #[test]
    fn without_a_cluster_a_link_may_always_act() {
        assert!(Tenure::begin(None).unwrap().holds());
    }
}
