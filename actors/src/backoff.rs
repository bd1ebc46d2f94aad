//! Waits between attempts: doubling, capped, with full jitter.

use std::time::Duration;

use roost_domain::time::Entropy;

/// How waits grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The longest wait before attempt number `failures + 1`.
    pub fn ceiling(self, failures: u32) -> Duration {
        let factor = 1_u32
            .checked_shl(failures.saturating_sub(1).min(31))
            .unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// A wait after so many failures in a row: anything up to the ceiling, so that sessions which
    /// failed together do not come back together.
    pub fn wait(self, failures: u32, entropy: &dyn Entropy) -> Duration {
        jittered(self.ceiling(failures), entropy)
    }
}

/// A random part of a duration, never less than a hundredth of it.
fn jittered(ceiling: Duration, entropy: &dyn Entropy) -> Duration {
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    let random = u64::from_le_bytes(bytes);
    Duration::from_nanos((nanos / 100).max(random % nanos.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(300),
        };
        let seconds: Vec<u64> = (1..=10)
            .map(|failures| backoff.ceiling(failures).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff.ceiling(u32::MAX).as_secs(), 300);
    }

    #[test]
    fn a_wait_is_never_longer_than_its_ceiling_and_never_zero() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(300),
        };
        for byte in 0..=255 {
            let wait = backoff.wait(3, &Fixed(byte));
            assert!(
                wait > Duration::ZERO && wait <= Duration::from_secs(4),
                "{wait:?}"
            );
        }
    }
}
