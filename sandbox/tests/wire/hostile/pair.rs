//! Two well-behaved companions that keep writing to each other while others misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roost_sandbox::wire::node::Node;
use tokio::task::JoinHandle;

use crate::client::{Companion, Wire};
use crate::stage::{DEADLINE, Stage};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
pub const ADA_JID: &str = "15550000001@s.whatsapp.net";
pub const BOB_JID: &str = "15550000002@s.whatsapp.net";
/// Companions of both, as they are addressed.
const ADA_DEVICE: &str = "15550000001:1@s.whatsapp.net";
const BOB_DEVICE: &str = "15550000002:1@s.whatsapp.net";
/// Exchanges that must succeed after the misbehaviour.
const EXCHANGES_AFTER: usize = 3;

/// The pair at work.
pub struct Pair {
    stop: Arc<AtomicBool>,
    talk: JoinHandle<usize>,
}

impl Pair {
    /// Links both and has them write to each other from now on.
    pub async fn start(stage: &Stage) -> Self {
        stage.account(ADA, false).await;
        stage.account(BOB, false).await;
        let mut ada = Companion::paired(stage, ADA).await;
        let mut bob = Companion::paired(stage, BOB).await;
        let mut at_ada = ada.open(stage).await;
        let mut at_bob = bob.open(stage).await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let talk = tokio::spawn(async move {
            let (mut done, mut after) = (0, 0);
            while after < EXCHANGES_AFTER {
                if stopped.load(Ordering::Relaxed) {
                    after += 1;
                }
                let devices = [BOB_JID, BOB_DEVICE, ADA_JID];
                exchange((&mut ada, &mut at_ada), (&mut bob, &mut at_bob), &devices, done).await;
                let devices = [ADA_JID, ADA_DEVICE, BOB_JID];
                exchange((&mut bob, &mut at_bob), (&mut ada, &mut at_ada), &devices, done).await;
                done += 1;
            }
            done
        });
        Self { stop, talk }
    }

    /// Ends the conversation after it went on for a little while; it was never disturbed.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let done = tokio::time::timeout(DEADLINE, self.talk).await;
        assert!(done.expect("the pair goes on talking").unwrap() >= EXCHANGES_AFTER);
    }
}

/// One message with everything that belongs to it.
async fn exchange(
    (from, at_from): (&mut Companion, &mut Wire),
    (to, at_to): (&mut Companion, &mut Wire),
    devices: &[&str; 3],
    number: usize,
) {
    let id = format!("{}-{number}", from.jid.user);
    let text = format!("text {number}");
    let message = from.message(at_from, devices[0], devices, &id, &text).await;
    at_from.send(&message).await;
    let ack = at_from.expect_ack(&id).await;
    assert_eq!((ack.get("error"), ack.get("phash")), (None, None), "{ack:?}");
    let received = at_to
        .expect(|node| node.tag == "message" && node.is("id", &id))
        .await;
    assert_eq!(to.read(&received).text(), Some(text.as_str()));
    to.receipt(at_to, &received, None).await;
    let is_receipt = |node: &Node| node.tag == "receipt" && node.is("id", &id);
    for _ in 0..2 {
        // The phone and the companion both have it.
        let receipt = at_from.expect(is_receipt).await;
        assert_eq!(receipt.get("type"), None, "{receipt:?}");
        let ack = Node::new("ack")
            .attr("class", "receipt")
            .attr("id", id.clone())
            .attr("to", receipt.get("from").unwrap().to_owned());
        at_from.send(&ack).await;
    }
}
