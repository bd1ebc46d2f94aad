mod machine;
mod machine_property;
mod outbox;
mod pacing;
mod sending;
mod session;

use roost_domain::MessageId;
use roost_domain::message::{Message, MessageStatus};
use roost_domain::time::Entropy;

use crate::testing::{TestNode, eventually};

/// Randomness that repeats itself: a test is the same on every run.
pub(super) struct FixedEntropy(pub u8);

impl Entropy for FixedEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0);
    }
}

/// Waits until a message has a status.
pub(super) async fn message_in(node: &TestNode, id: MessageId, status: MessageStatus) -> Message {
    eventually(&format!("{id} becomes {}", status.as_str()), async || {
        let message = node.instances().message(node.tenant, id).await.unwrap();
        Some(message).filter(|message| message.status == status)
    })
    .await
}
