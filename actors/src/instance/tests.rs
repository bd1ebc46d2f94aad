mod machine;
mod outbox;
mod session;

use roost_domain::time::Entropy;

/// Randomness that repeats itself: a test is the same on every run.
pub(super) struct FixedEntropy(pub u8);

impl Entropy for FixedEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0);
    }
}
