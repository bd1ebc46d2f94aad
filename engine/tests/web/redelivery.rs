//! What comes a second time: told apart by whether it was committed, not by whether it was decrypted.

use roost_domain::engine::{LinkEnd, LinkFact};
use roost_domain::message::{Content, Inbound, InboundBody};
use roost_domain::store::Collection;
use serde_json::{Value, json};

use crate::world::{FRIEND, OWN, Open, World};

impl World {
    /// Ends a link as a crash would between two writes: the session that decrypted a message is stored,
    /// and the message is not.
    async fn crash_in_the_gap(&self, open: &Open) {
        assert!(matches!(open.said.end().await, LinkEnd::Lost { .. }));
        open.link.close().await;
        let kept = self.state.forget(self.owner, Collection::PendingInbound);
        assert_eq!(kept, 1, "the message would not have been stored with its session");
    }

    async fn asked(&self) -> u64 {
        self.get("stats").await["retry_receipts"].as_u64().unwrap()
    }

    /// A message from the friend that arrived: everything before it was dealt with.
    async fn probe(&self, open: &Open) {
        let probe = self.friend_sends(json!({"text": "probe"})).await;
        open.said
            .message("the probe", |inbound| inbound.whatsapp_id == probe)
            .await;
    }

    /// Makes a group of the friend and the instance. Returns its JID.
    async fn group(&self) -> String {
        let new = json!({"creator": FRIEND, "subject": "Group", "participants": [OWN]});
        let group = self.post("groups", new).await;
        group["group_id"].as_str().unwrap().to_owned()
    }
}

fn id_of(sent: &Value) -> String {
    sent["whatsapp_id"].as_str().unwrap().to_owned()
}

fn text(body: &str) -> InboundBody {
    InboundBody::Message {
        content: Content::text(body),
        reply_to: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_lost_after_its_decryption_is_asked_for_and_arrives() {
    let world = World::new().await;
    let open = world.paired().await;
    world.probe(&open).await;
    open.said.refuse();
    let id = world.friend_sends(json!({"text": "not to be lost"})).await;
    world.crash_in_the_gap(&open).await;

    let open = world.open(None).await;
    let inbound = open
        .said
        .message("the message", |inbound| inbound.whatsapp_id == id)
        .await;
    assert_eq!(inbound.body, text("not to be lost"));
    open.said
        .fact("what happened", |fact| match fact {
            LinkFact::Undecryptable { whatsapp_id } => (*whatsapp_id == id).then_some(()),
            _ => None,
        })
        .await;
    world.probe(&open).await;
    assert_eq!(world.asked().await, 1);
    open.link.close().await;

    it_is_settled(&world, &id).await;
}

/// What was lost arrives on the next link, and that is all.
async fn comes_again(world: &World, id: &str) -> Inbound {
    let open = world.open(None).await;
    let inbound = open
        .said
        .message("what was lost", |inbound| inbound.whatsapp_id == id)
        .await;
    open.link.close().await;
    it_is_settled(world, id).await;
    inbound
}

/// It is not asked for on later links. What was sent again for the first question may still come.
async fn it_is_settled(world: &World, id: &str) {
    let asked = world.asked().await;
    for _ in 0..4 {
        let open = world.open(None).await;
        open.connected().await;
        world.probe(&open).await;
        let again = open
            .said
            .inbound()
            .iter()
            .any(|inbound| inbound.whatsapp_id == id);
        open.link.close().await;
        assert_eq!(world.asked().await, asked);
        if !again {
            return;
        }
    }
    panic!("the message came on every link");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_that_was_lost_after_its_decryption_arrives() {
    let world = World::new().await;
    let open = world.paired().await;
    let target = world.friend_sends(json!({"text": "before"})).await;
    world.probe(&open).await;
    open.said.refuse();
    let id = world
        .friend_sends(json!({"react_to": target, "emoji": "👍"}))
        .await;
    world.crash_in_the_gap(&open).await;

    let inbound = comes_again(&world, &id).await;
    let emoji = Some("👍".to_owned());
    assert_eq!(inbound.body, InboundBody::Reaction { target, emoji });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_message_that_was_lost_after_its_decryption_arrives() {
    let world = World::new().await;
    let open = world.paired().await;
    let group = world.group().await;
    let path = format!("accounts/{FRIEND}/messages");
    let first = id_of(&world.post(&path, json!({"to": group, "text": "before"})).await);
    open.said
        .message("the first message", |inbound| inbound.whatsapp_id == first)
        .await;
    open.said.refuse();
    let id = id_of(
        &world
            .post(&path, json!({"to": group, "text": "to the group"}))
            .await,
    );
    world.crash_in_the_gap(&open).await;

    let inbound = comes_again(&world, &id).await;
    assert_eq!(inbound.body, text("to the group"));
    assert_eq!(inbound.chat.id.to_string(), group);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_own_phone_wrote_and_was_lost_after_its_decryption_arrives() {
    let world = World::new().await;
    let open = world.paired().await;
    world.probe(&open).await;
    open.said.refuse();
    let sent = world
        .post(
            &format!("accounts/{OWN}/messages"),
            json!({"to": FRIEND, "text": "from my phone"}),
        )
        .await;
    let id = id_of(&sent);
    world.crash_in_the_gap(&open).await;

    let inbound = comes_again(&world, &id).await;
    assert!(inbound.from_me);
    assert_eq!(inbound.body, text("from my phone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_and_not_acknowledged_is_not_asked_for() {
    let world = World::new().await;
    let open = world.paired().await;
    world.probe(&open).await;
    open.said.die_after_commit();
    let id = world.friend_sends(json!({"text": "committed"})).await;
    world.crash_in_the_gap(&open).await;
    let committed = world
        .committed
        .lock()
        .unwrap()
        .iter()
        .any(|inbound| inbound.whatsapp_id == id);
    assert!(committed);

    it_is_settled(&world, &id).await;
    assert_eq!(world.asked().await, 0);
}
