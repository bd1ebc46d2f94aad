//! Random interleavings of writes against a model of what they mean.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use roost_domain::message::{MessageStatus, StatusChange};
use roost_domain::store::{Messages, Outcome, Stamp};
use roost_domain::{MessageId, Owner};

use crate::fixture::Fixture;
use crate::messages::step;

crate::on_both!(random_interleavings_keep_the_rules);

#[derive(Debug, Clone)]
enum Act {
    Accept { instance: usize },
    Advance { message: usize, status: MessageStatus },
    Inbound { instance: usize, id: u8 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let status = prop::sample::select(MessageStatus::ALL);
    let act = prop_oneof![
        2 => (0..3_usize).prop_map(|instance| Act::Accept { instance }),
        4 => (0..40_usize, status).prop_map(|(message, status)| Act::Advance { message, status }),
        2 => (0..3_usize, 0..12_u8).prop_map(|(instance, id)| Act::Inbound { instance, id }),
    ];
    prop::collection::vec(act, 20..80)
}

async fn random_interleavings_keep_the_rules(f: Fixture) {
    let mut runner = TestRunner::deterministic();
    for _ in 0..12 {
        let acts = acts().new_tree(&mut runner).unwrap().current();
        play(&f, acts).await;
    }
}

/// Runs the acts in waves of concurrent writes. Within a wave the order is the store's to choose, so
/// the model follows the log.
async fn play(f: &Fixture, acts: Vec<Act>) {
    let tenant = f.tenant().await;
    let owners = [
        f.instance(tenant).await,
        f.instance(tenant).await,
        f.instance(tenant).await,
    ];
    let mut made: Vec<(Owner, MessageId, String)> = Vec::new();
    for wave in acts.chunks(10) {
        let mut running = Vec::new();
        for act in wave.iter().cloned() {
            let store = f.store.clone();
            match act {
                Act::Accept { instance } => {
                    let (owner, new) = (owners[instance], f.new_message("x"));
                    running.push(tokio::spawn(async move {
                        let Outcome::Done(message) =
                            store.accept(owner, new, Stamp::default()).await.unwrap()
                        else {
                            panic!()
                        };
                        Some((owner, message.id, message.whatsapp_id))
                    }));
                }
                Act::Advance { message, status } => {
                    let Some((owner, _, id)) = made.get(message).cloned() else {
                        continue;
                    };
                    let change: StatusChange = step(&id, status, f);
                    running.push(tokio::spawn(async move {
                        store.advance(owner, vec![change]).await.unwrap();
                        None
                    }));
                }
                Act::Inbound { instance, id } => {
                    let (owner, one) = (owners[instance], f.inbound_text(&format!("IN{id}"), "x"));
                    running.push(tokio::spawn(async move {
                        store.record_inbound(owner, vec![one]).await.unwrap();
                        None
                    }));
                }
            }
        }
        for write in running {
            made.extend(write.await.unwrap());
        }
    }
    check(f, &owners, &made).await;
}

/// The log is gap-free, every status step in it was allowed, and the rows are where it leads.
async fn check(f: &Fixture, owners: &[Owner], made: &[(Owner, MessageId, String)]) {
    let mut status: HashMap<String, MessageStatus> = made
        .iter()
        .map(|(_, id, _)| (id.to_string(), MessageStatus::Accepted))
        .collect();
    let mut inbound = std::collections::HashSet::new();
    for event in f.log(owners[0].tenant).await {
        let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
        let Some(message) = data.get("message") else {
            continue;
        };
        let next = MessageStatus::from_name(message["status"].as_str().unwrap()).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        if next == MessageStatus::Received {
            let key = (event.instance_id, message["whatsapp_id"].to_string());
            assert!(inbound.insert(key), "recorded twice");
            continue;
        }
        let current = status.get_mut(&id).unwrap();
        assert!(current.may_become(next), "{current:?} became {next:?}");
        *current = next;
    }
    for (owner, id, _) in made {
        let message = f.store.message(owner.tenant, *id).await.unwrap();
        assert_eq!(message.status, status[&id.to_string()]);
    }
}
