//! Pairing.

use roost_domain::engine::{LinkEnd, LinkFact};
use roost_domain::instance::PairingMethod;
use roost_domain::store::Collection;
use serde_json::json;

use crate::world::{OWN, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_pairs_by_qr_code() {
    let world = World::new().await;
    let open = world.open(Some(PairingMethod::Qr)).await;
    let code = open.qr().await;
    world
        .post(&format!("accounts/{OWN}/scan"), json!({"code": code}))
        .await;
    let paired = open
        .said
        .fact("the pairing", |fact| match fact {
            LinkFact::Paired(account) => Some(account.clone()),
            _ => None,
        })
        .await;
    assert_eq!(paired.phone_number.digits(), OWN);
    let account = open.connected().await;
    assert_eq!(account.phone_number.digits(), OWN);
    assert!(account.lid.is_some());
    open.link.close().await;
    assert_eq!(open.said.end().await, LinkEnd::Closed);
    assert_eq!(open.said.facts().last(), Some(&LinkFact::Ended(LinkEnd::Closed)));
    assert_eq!(world.state.count(world.owner, Collection::Device), 1);
    assert_eq!(world.state.count(world.owner, Collection::PendingInbound), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_pairs_by_code() {
    let world = World::new().await;
    let method = PairingMethod::Code {
        phone_number: OWN.parse().unwrap(),
    };
    let open = world.open(Some(method)).await;
    let (code, valid_for) = open
        .said
        .fact("a pairing code", |fact| match fact {
            LinkFact::PairingCode { code, valid_for } => Some((code.clone(), *valid_for)),
            _ => None,
        })
        .await;
    assert_eq!(code.len(), 8);
    assert!(!valid_for.is_zero());
    world
        .post(&format!("accounts/{OWN}/link-code"), json!({"code": code}))
        .await;
    assert_eq!(open.connected().await.phone_number.digits(), OWN);
    assert!(
        !open
            .said
            .facts()
            .iter()
            .any(|fact| matches!(fact, LinkFact::Qr { .. }))
    );
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paired_instance_connects_without_a_scan() {
    let world = World::new().await;
    world.paired().await.link.close().await;
    let open = world.open(None).await;
    open.connected().await;
    open.link.close().await;
    assert!(
        !open
            .said
            .facts()
            .iter()
            .any(|fact| matches!(fact, LinkFact::Qr { .. } | LinkFact::Paired(_)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaired_instance_does_not_dial_without_being_asked_to_pair() {
    let world = World::new().await;
    let open = world.open(None).await;
    assert_eq!(open.said.end().await, LinkEnd::NotPaired);
    assert_eq!(open.said.facts().len(), 1);
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairing_that_nobody_finishes_times_out() {
    let world = World::with(|config| config.pairing_timeout = std::time::Duration::from_millis(500)).await;
    let open = world.open(Some(PairingMethod::Qr)).await;
    open.qr().await;
    assert_eq!(open.said.end().await, LinkEnd::PairingTimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_pairing_on_both_sides() {
    let world = World::new().await;
    let open = world.paired().await;
    open.link.logout().await.unwrap();
    assert!(matches!(open.said.end().await, LinkEnd::LoggedOut { .. }));
    let account = world.get(&format!("accounts/{OWN}")).await;
    assert_eq!(account["devices"].as_array().map(Vec::len), Some(0), "{account}");
    let again = world.open(None).await;
    assert!(matches!(again.said.end().await, LinkEnd::LoggedOut { .. }));
}
