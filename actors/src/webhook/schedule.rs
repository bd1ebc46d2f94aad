//! When a delivery is tried again.

use std::time::Duration;

use roost_domain::time::Entropy;

use super::WebhookSettings;

/// How long a delivery waits after `round` failed attempts of its round; `None` when it was the last.
pub(super) fn wait_after(round: u32, settings: &WebhookSettings, entropy: &dyn Entropy) -> Option<Duration> {
    let wait = settings.schedule.get(usize::try_from(round).ok()?)?;
    Some(jittered(*wait, settings.jitter_percent, entropy))
}

/// A wait made shorter or longer by up to a share, so that what failed together does not come back
/// together.
pub(super) fn jittered(wait: Duration, percent: u32, entropy: &dyn Entropy) -> Duration {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    let share = nanos / 100 * u64::from(percent.min(100));
    let random = u64::from_le_bytes(bytes) % (2 * share.min(u64::MAX / 4) + 1);
    Duration::from_nanos(nanos - share + random)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64);
    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0.to_le_bytes());
        }
    }

    #[test]
    fn the_schedule_runs_out_after_its_last_wait() {
        let settings = WebhookSettings {
            jitter_percent: 0,
            ..WebhookSettings::default()
        };
        let waits: Vec<Option<u64>> = (1..=9)
            .map(|round| wait_after(round, &settings, &Fixed(7)).map(|wait| wait.as_secs()))
            .collect();
        let hour = 3_600;
        let expected = [5, 30, 300, 1_800, 2 * hour, 5 * hour, 10 * hour, 10 * hour].map(Some);
        assert_eq!(waits[..8], expected);
        assert_eq!(waits[8], None);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let wait = Duration::from_secs(100);
        for random in [0, 1, u64::MAX / 3, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let jittered = jittered(wait, 20, &Fixed(random));
            assert!((80..=120).contains(&jittered.as_secs()), "{jittered:?}");
        }
        assert_eq!(jittered(wait, 20, &Fixed(0)), Duration::from_secs(80));
        assert_eq!(jittered(Duration::ZERO, 20, &Fixed(9)), Duration::ZERO);
    }
}
