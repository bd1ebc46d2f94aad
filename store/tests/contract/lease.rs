//! Writes of owners depend on the node's lease, when they begin and when they are committed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use roost_domain::cluster::Lease;
use roost_domain::instance::InstanceState;
use roost_domain::message::{FailureReason, MessageStatus};
use roost_domain::store::{EventLog, Instances, Messages, Node, Stamp, StoreError, Webhooks};
use roost_domain::webhook::DeliveryStatus;
use roost_domain::webhook::store::{ReplayScope, Settlement};
use roost_domain::{Epoch, Owner};
use roost_store::Guard;

use crate::fixture::{Fixture, until};
use crate::instances::change as state;
use crate::messages::step;
use crate::webhook::{change, hooked, new_event, publish};

crate::on_both!(
    without_a_lease_owners_are_refused_and_others_are_not,
    a_lease_that_ends_before_the_commit_undoes_what_owners_wrote,
    a_lease_that_ends_in_a_batch_leaves_the_others_of_it_alone,
);

/// Answers what it was told to, one answer per question, and the last one for good.
struct Told(Mutex<VecDeque<bool>>);

impl Told {
    fn answers(&self, answers: &[bool]) {
        *self.0.lock().unwrap() = answers.iter().copied().collect();
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Lease for Told {
    fn holds(&self) -> bool {
        let mut answers = self.0.lock().unwrap();
        if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers[0]
        }
    }
}

async fn leased(f: &mut Fixture) -> Arc<Told> {
    let lease = Arc::new(Told(Mutex::new([true].into())));
    f.config.guard = Guard::by(lease.clone());
    f.reopen().await;
    lease
}

async fn without_a_lease_owners_are_refused_and_others_are_not(mut f: Fixture) {
    let lease = leased(&mut f).await;
    let owner = f.owner().await;
    let hook = hooked(&f).await;
    let event = publish(&f, hook.tenant, 1).await;
    let message = f.accept(owner, "before").await;
    let (events, hook_events) = (f.kinds(owner.tenant).await, f.kinds(hook.tenant).await);
    lease.answers(&[false]);
    let fenced = StoreError::Fenced;
    let accepted = f.store.accept(owner, f.new_message("x"), Stamp::default()).await;
    assert_eq!(accepted.err(), Some(fenced.clone()));
    let inbound = f.store.record_inbound(owner, vec![f.inbound_text("I", "x")]);
    assert_eq!(inbound.await.err(), Some(fenced.clone()));
    let advanced = f
        .store
        .advance(owner, vec![step(&message.whatsapp_id, MessageStatus::Sent, &f)]);
    assert_eq!(advanced.await.err(), Some(fenced.clone()));
    let failed = f.store.fail_pending(owner, FailureReason::InstanceGone, f.now());
    assert_eq!(failed.await.err(), Some(fenced.clone()));
    let moved = f.store.change_state(owner, state(&f, InstanceState::Connected));
    assert_eq!(moved.await.err(), Some(fenced.clone()));
    assert_eq!(f.store.activate(owner).await.err(), Some(fenced.clone()));
    let deleted = f.store.delete_instance(owner, f.now()).await;
    assert_eq!(deleted.err(), Some(fenced.clone()));
    let appended = f.store.append(owner, vec![new_event("custom.a", None, None)]);
    assert_eq!(appended.await.err(), Some(fenced.clone()));
    let settled = Settlement {
        deliveries: vec![change(&event, DeliveryStatus::Pending)],
        ..Settlement::default()
    };
    let rare = Settlement {
        disabled: Some("x".to_owned()),
        ..settled.clone()
    };
    for settlement in [settled, rare] {
        let settled = f.store.settle(hook, settlement).await;
        assert_eq!(settled.err(), Some(fenced.clone()));
    }
    let redriven = f.store.redrive(hook, vec![event.seq], f.now()).await;
    assert_eq!(redriven.err(), Some(fenced.clone()));
    let replay = f.store.add_replay(hook, 1, 2, ReplayScope::Dead).await;
    assert_eq!(replay.err(), Some(fenced.clone()));
    assert_eq!(f.store.activate_webhook(hook).await.err(), Some(fenced));
    assert_eq!(f.kinds(owner.tenant).await, events);
    assert_eq!(f.kinds(hook.tenant).await, hook_events);
    // What belongs to no owner goes on, and with the lease everything does.
    publish(&f, f.tenant().await, 1).await;
    f.store.next_epoch().await.unwrap();
    lease.answers(&[true]);
    f.accept(owner, "after").await;
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 2);
}

async fn a_lease_that_ends_before_the_commit_undoes_what_owners_wrote(mut f: Fixture) {
    let lease = leased(&mut f).await;
    let owner = f.owner().await;
    let hook = hooked(&f).await;
    let events = f.kinds(owner.tenant).await;
    // It holds at the beginning of the transaction, and no more at its end.
    lease.answers(&[true, false]);
    let accepted = f.store.accept(owner, f.new_message("x"), Stamp::default()).await;
    assert_eq!(accepted.err(), Some(StoreError::Fenced));
    assert_eq!(lease.left(), 1, "it was asked at both ends");
    lease.answers(&[true, false]);
    let activated = f.store.activate_webhook(hook).await;
    assert_eq!(activated.err(), Some(StoreError::Fenced));
    assert_eq!(lease.left(), 1);
    // A lease that comes back at once does not let it through either.
    lease.answers(&[true, false, true]);
    let moved = f
        .store
        .change_state(owner, state(&f, InstanceState::Connected))
        .await;
    assert_eq!(moved.err(), Some(StoreError::Fenced));
    assert_eq!(f.kinds(owner.tenant).await, events);
    assert!(f.sql("SELECT id FROM message").await.is_empty());
    let told = f.told.0.lock().unwrap().len();
    assert_eq!(told, events.len() + f.kinds(hook.tenant).await.len());
    f.accept(owner, "x").await;
}

async fn a_lease_that_ends_in_a_batch_leaves_the_others_of_it_alone(mut f: Fixture) {
    // Longer than any test runs: a status waits for company.
    f.config.writer.status_max_wait = Duration::from_secs(3600);
    let lease = leased(&mut f).await;
    let owner = f.owner().await;
    let message = f.accept(owner, "x").await;
    let other = f.tenant().await;
    lease.answers(&[true, false]);
    let sent = f
        .store
        .advance(owner, vec![step(&message.whatsapp_id, MessageStatus::Sent, &f)]);
    let published = publish(&f, other, 1);
    let (sent, _) = tokio::join!(sent, published);
    assert_eq!(sent.err(), Some(StoreError::Fenced));
    assert_eq!(f.kinds(other).await, ["custom.a"]);
    let kept = f.store.message(owner.tenant, message.id).await.unwrap();
    assert_eq!(kept.status, MessageStatus::Accepted);
}

/// Freezes whoever asks for the second time, which is before a commit, until it is let go.
#[derive(Default)]
struct Frost {
    asked: Mutex<u32>,
    thawed: (Mutex<bool>, Condvar),
}

impl Lease for Frost {
    fn holds(&self) -> bool {
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        if asked == 2 {
            let (thawed, changed) = &self.thawed;
            drop(
                changed
                    .wait_while(thawed.lock().unwrap(), |thawed| !*thawed)
                    .unwrap(),
            );
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_freezes_within_a_transaction_does_not_keep_its_instances() {
    let mut f = Fixture::postgres().await;
    let owner = f.owner().await;
    let frost = Arc::new(Frost::default());
    f.config.guard = Guard::by(frost.clone());
    f.config.idle_transaction_timeout = Duration::from_millis(500);
    f.config.writer.retry_for = Duration::from_secs(60);
    let frozen = Arc::new(f.open_again().await.unwrap());
    let write = {
        let (frozen, new) = (frozen.clone(), f.new_message("from the frozen node"));
        tokio::spawn(async move { frozen.accept(owner, new, Stamp::default()).await })
    };
    until("it has written and not committed", async || {
        *frost.asked.lock().unwrap() == 2
    })
    .await;
    // The next owner waits for the rows that the frozen one holds, and has them before it moves again.
    let next = Owner {
        epoch: Epoch(2),
        ..owner
    };
    f.store.activate(next).await.unwrap();
    f.accept(next, "from the next owner").await;
    *frost.thawed.0.lock().unwrap() = true;
    frost.thawed.1.notify_all();
    assert_eq!(write.await.unwrap().err(), Some(StoreError::Fenced));
    assert_eq!(f.store.pending_count(next).await.unwrap(), 1);
    frozen.close().await;
}
