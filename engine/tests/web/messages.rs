//! Messages both ways.

use roost_domain::engine::{LinkFact, ReadReceipt, SendError};
use roost_domain::message::{Content, InboundBody, MessageStatus, Quoted};
use serde_json::json;

use crate::world::{FRIEND, OWN, World, address, outgoing};

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_sent_acknowledged_delivered_and_read() {
    let world = World::new().await;
    let open = world.paired().await;
    let message = outgoing("3EB0A1", "hello");
    open.link.send(&message).await.unwrap();
    let got = world.received(FRIEND, "hello").await;
    assert_eq!(got["whatsapp_id"], message.whatsapp_id);
    open.said
        .fact("the acknowledgement", |fact| match fact {
            LinkFact::ServerAck {
                whatsapp_id,
                error: None,
                ..
            } if *whatsapp_id == message.whatsapp_id => Some(()),
            _ => None,
        })
        .await;
    let receipt = |wanted: MessageStatus| {
        let id = message.whatsapp_id.clone();
        move |fact: &LinkFact| match fact {
            LinkFact::Receipt {
                whatsapp_ids,
                status,
                inbound: false,
                ..
            } if *status == wanted => whatsapp_ids.contains(&id).then_some(()),
            _ => None,
        }
    };
    open.said
        .fact("the delivery", receipt(MessageStatus::Delivered))
        .await;
    let read = json!({"whatsapp_id": message.whatsapp_id});
    world.post(&format!("accounts/{FRIEND}/read"), read).await;
    open.said.fact("the reading", receipt(MessageStatus::Read)).await;
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_device_of_the_account_reads_is_read_here() {
    let world = World::new().await;
    let open = world.paired().await;
    let id = world.friend_sends(json!({"text": "hi"})).await;
    open.said
        .message("the text", |inbound| inbound.whatsapp_id == id)
        .await;
    world.received(OWN, "hi").await;
    let read = json!({"whatsapp_id": id});
    world.post(&format!("accounts/{OWN}/read"), read).await;
    open.said
        .fact("the reading", |fact| match fact {
            LinkFact::Receipt {
                whatsapp_ids,
                status: MessageStatus::Read,
                inbound: true,
                ..
            } => whatsapp_ids.contains(&id).then_some(()),
            _ => None,
        })
        .await;
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_friend_writes_arrives_with_both_names() {
    let world = World::new().await;
    let open = world.paired().await;
    let id = world.friend_sends(json!({"text": "hi"})).await;
    let inbound = open
        .said
        .message("the text", |inbound| inbound.whatsapp_id == id)
        .await;
    assert_eq!(
        inbound.body,
        InboundBody::Message {
            content: Content::text("hi"),
            reply_to: None
        }
    );
    assert!(!inbound.from_me);
    assert_eq!(inbound.chat.id, address(FRIEND));
    assert_eq!(
        inbound.chat.phone_number.as_ref().map(|number| number.digits()),
        Some(FRIEND)
    );
    assert!(inbound.chat.lid.is_some());
    assert_eq!(inbound.sender.id, address(FRIEND));
    assert_eq!(
        inbound.sender.push_name.as_deref(),
        Some(format!("Phone {FRIEND}").as_str())
    );
    let by_lid = world
        .friend_sends(json!({"text": "by lid", "addressing": "lid"}))
        .await;
    let inbound = open
        .said
        .message("the text by LID", |inbound| inbound.whatsapp_id == by_lid)
        .await;
    assert_eq!(inbound.chat.id, address(FRIEND));
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_revocations_and_reactions_name_their_message() {
    let world = World::new().await;
    let open = world.paired().await;
    let id = world.friend_sends(json!({"text": "first"})).await;
    world.friend_sends(json!({"edit_of": id, "text": "second"})).await;
    world.friend_sends(json!({"react_to": id, "emoji": "👍"})).await;
    world.friend_sends(json!({"revoke_of": id})).await;
    let edit = InboundBody::Edit {
        target: id.clone(),
        content: Content::text("second"),
    };
    open.said
        .message("the edit", |inbound| inbound.body == edit)
        .await;
    let reaction = InboundBody::Reaction {
        target: id.clone(),
        emoji: Some("👍".to_owned()),
    };
    open.said
        .message("the reaction", |inbound| inbound.body == reaction)
        .await;
    let revoke = InboundBody::Revoke { target: id.clone() };
    open.said
        .message("the revocation", |inbound| inbound.body == revoke)
        .await;
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_quotes_in_both_directions() {
    let world = World::new().await;
    let open = world.paired().await;
    let id = world.friend_sends(json!({"text": "question"})).await;
    let inbound = open
        .said
        .message("the question", |inbound| inbound.whatsapp_id == id)
        .await;
    let mut answer = outgoing("3EB0A7", "answer");
    answer.reply_to = Some(Quoted {
        message_id: None,
        whatsapp_id: id.clone(),
        sender: Some(inbound.sender.id.clone()),
        text: Some("question".to_owned()),
    });
    open.link.send(&answer).await.unwrap();
    world.received(FRIEND, "answer").await;
    let back = world
        .friend_sends(json!({"text": "thanks", "reply_to": answer.whatsapp_id}))
        .await;
    let inbound = open
        .said
        .message("the reply", |inbound| inbound.whatsapp_id == back)
        .await;
    let InboundBody::Message {
        reply_to: Some(quoted),
        ..
    } = inbound.body
    else {
        panic!("{:?}", inbound.body)
    };
    assert_eq!(quoted.whatsapp_id, answer.whatsapp_id);
    assert_eq!(quoted.sender, None, "the instance itself wrote it");
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_own_phone_writes_is_from_me() {
    let world = World::new().await;
    let open = world.paired().await;
    let sent = world
        .post(
            &format!("accounts/{OWN}/messages"),
            json!({"to": FRIEND, "text": "from my phone"}),
        )
        .await;
    let inbound = open
        .said
        .message("the copy", |inbound| {
            Some(inbound.whatsapp_id.as_str()) == sent["whatsapp_id"].as_str()
        })
        .await;
    assert!(inbound.from_me);
    assert_eq!(inbound.chat.id, address(FRIEND));
    assert_eq!(inbound.sender.id, address(OWN));
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_is_told_to_the_sender() {
    let world = World::new().await;
    let open = world.paired().await;
    let id = world.friend_sends(json!({"text": "read me"})).await;
    let inbound = open
        .said
        .message("the text", |inbound| inbound.whatsapp_id == id)
        .await;
    let read = ReadReceipt {
        chat: inbound.chat.id,
        sender: None,
        whatsapp_ids: vec![id],
    };
    open.link.mark_read(&read).await.unwrap();
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_not_on_whatsapp_is_refused() {
    let world = World::new().await;
    let open = world.paired().await;
    let mut message = outgoing("3EB0A3", "anybody?");
    message.to = address("4915199999999");
    assert_eq!(
        open.link.send(&message).await,
        Err(SendError::RecipientNotOnWhatsapp)
    );
    message.content = Content::Unsupported {
        kind: "image".to_owned(),
    };
    message.to = address(FRIEND);
    assert!(matches!(
        open.link.send(&message).await,
        Err(SendError::Permanent(_))
    ));
    open.link.close().await;
    assert_eq!(
        open.link.send(&outgoing("3EB0A4", "too late")).await,
        Err(SendError::NotConnected)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_sent_again_under_its_id() {
    let world = World::new().await;
    let open = world.paired().await;
    let message = outgoing("3EB0A5", "once");
    open.link.send(&message).await.unwrap();
    world.received(FRIEND, "once").await;
    open.link.close().await;
    let open = world.open(None).await;
    open.connected().await;
    open.link.send(&message).await.unwrap();
    open.said
        .fact("the acknowledgement", |fact| match fact {
            LinkFact::ServerAck {
                whatsapp_id,
                error: None,
                ..
            } if *whatsapp_id == message.whatsapp_id => Some(()),
            _ => None,
        })
        .await;
    open.link.close().await;
}
