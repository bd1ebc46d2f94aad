use roost_domain::message::{
    Chat, Content, Direction, Inbound, InboundBody, InboundKey, MessageStatus, Origin, Quoted, Sender,
};
use roost_domain::store::Messages;

use crate::fixture::{Fixture, chat};

crate::on_both!(
    an_inbound_message_is_recorded_once,
    the_same_message_under_the_other_name_of_its_sender_is_known,
    the_same_id_of_two_senders_is_two_messages,
    an_own_message_from_the_phone_is_outbound,
    the_echo_of_an_api_message_is_passed_over,
    an_author_edits_and_revokes,
    a_stranger_edits_nothing,
    a_message_and_its_edit_may_come_together,
    reactions_are_events,
    an_answer_names_the_message_it_quotes,
    hostile_ids_are_recorded_once,
    what_was_recorded_is_known_under_every_name,
    what_was_not_recorded_is_not_known,
);

async fn an_inbound_message_is_recorded_once(f: Fixture) {
    let owner = f.owner().await;
    let inbound = f.inbound_text("A1", "hello");
    f.store
        .record_inbound(owner, vec![inbound.clone(), inbound.clone()])
        .await
        .unwrap();
    f.store
        .record_inbound(owner, vec![inbound.clone(), f.inbound_text("A2", "more")])
        .await
        .unwrap();
    assert_eq!(
        f.kinds(owner.tenant).await,
        ["instance.created", "message.received", "message.received"]
    );
    let message = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, "A1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (message.direction, message.status),
        (Direction::Inbound, MessageStatus::Received)
    );
    assert_eq!(
        (message.sender, message.chat, message.content),
        (Some(inbound.sender), inbound.chat, Content::text("hello"))
    );
}

async fn the_same_message_under_the_other_name_of_its_sender_is_known(f: Fixture) {
    let owner = f.owner().await;
    let known = f.inbound_text("A1", "hello");
    let lid = known.sender.lid.clone().unwrap();
    let mut unknown = known.clone();
    unknown.chat = Chat::of(lid.clone());
    unknown.sender = Sender {
        id: lid,
        phone_number: None,
        lid: None,
        push_name: None,
    };
    f.store.record_inbound(owner, vec![unknown]).await.unwrap();
    f.store.record_inbound(owner, vec![known]).await.unwrap();
    assert_eq!(f.log(owner.tenant).await.len(), 2);
}

async fn the_same_id_of_two_senders_is_two_messages(f: Fixture) {
    let owner = f.owner().await;
    let mut other = f.inbound_text("A1", "hi");
    other.chat = chat(2);
    other.sender = Sender {
        id: chat(2).id,
        phone_number: None,
        lid: None,
        push_name: None,
    };
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "hello"), other])
        .await
        .unwrap();
    assert_eq!(f.log(owner.tenant).await.len(), 3);
}

async fn an_own_message_from_the_phone_is_outbound(f: Fixture) {
    let owner = f.owner().await;
    let mut own = f.inbound_text("P1", "from the phone");
    own.from_me = true;
    f.store.record_inbound(owner, vec![own.clone()]).await.unwrap();
    f.store.record_inbound(owner, vec![own]).await.unwrap();
    let message = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, "P1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (message.direction, message.origin),
        (Direction::Outbound, Some(Origin::Device))
    );
    assert_eq!((message.status, message.sender), (MessageStatus::Sent, None));
    assert_eq!(f.kinds(owner.tenant).await, ["instance.created", "message.sent"]);
}

async fn the_echo_of_an_api_message_is_passed_over(f: Fixture) {
    let owner = f.owner().await;
    let message = f.accept(owner, "hello").await;
    let mut echo = f.inbound_text(&message.whatsapp_id, "hello");
    echo.from_me = true;
    echo.chat = Chat::of(chat(1).lid.unwrap());
    f.store.record_inbound(owner, vec![echo]).await.unwrap();
    assert_eq!(f.kinds(owner.tenant).await, ["instance.created"]);
    assert_eq!(f.store.message(owner.tenant, message.id).await.unwrap(), message);
}

async fn an_author_edits_and_revokes(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "helo")])
        .await
        .unwrap();
    let edit = f.inbound(
        "A2",
        InboundBody::Edit {
            target: "A1".to_owned(),
            content: Content::text("hello"),
        },
    );
    f.store.record_inbound(owner, vec![edit.clone()]).await.unwrap();
    f.store.record_inbound(owner, vec![edit]).await.unwrap();
    let revoke = f.inbound(
        "A3",
        InboundBody::Revoke {
            target: "A1".to_owned(),
        },
    );
    f.store
        .record_inbound(owner, vec![revoke.clone(), revoke])
        .await
        .unwrap();
    let message = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, "A1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.content, Content::text("hello"));
    assert_eq!(
        (message.edited_at, message.revoked_at),
        (Some(f.now()), Some(f.now()))
    );
    let log = f.log(owner.tenant).await;
    let kinds: Vec<_> = log.iter().skip(1).map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["message.received", "message.edited", "message.revoked"]);
    let data: serde_json::Value = serde_json::from_str(log[2].data.get()).unwrap();
    assert_eq!(data["message_id"], message.id.to_string());
    assert_eq!(data["content"]["text"]["body"], "hello");
}

async fn a_stranger_edits_nothing(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "hello")])
        .await
        .unwrap();
    let api = f.accept(owner, "ours").await;
    for (n, target) in ["A1", &api.whatsapp_id].into_iter().enumerate() {
        let edit = InboundBody::Edit {
            target: target.to_owned(),
            content: Content::text("forged"),
        };
        let mut forged = f.inbound(&format!("F{n}"), edit);
        forged.sender = Sender {
            id: chat(9).id,
            phone_number: None,
            lid: None,
            push_name: None,
        };
        let revoke = InboundBody::Revoke {
            target: target.to_owned(),
        };
        let mut revoked = f.inbound(&format!("R{n}"), revoke);
        revoked.sender = forged.sender.clone();
        f.store
            .record_inbound(owner, vec![forged, revoked])
            .await
            .unwrap();
    }
    let message = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, "A1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (message.content, message.edited_at, message.revoked_at),
        (Content::text("hello"), None, None)
    );
    assert_eq!(f.store.message(owner.tenant, api.id).await.unwrap(), api);
    let log = f.log(owner.tenant).await;
    for event in &log[2..] {
        let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
        assert_eq!(data["message_id"], serde_json::Value::Null);
    }
    assert_eq!(log.len(), 6);
}

async fn a_message_and_its_edit_may_come_together(f: Fixture) {
    let owner = f.owner().await;
    let edit = f.inbound(
        "A2",
        InboundBody::Edit {
            target: "A1".to_owned(),
            content: Content::text("b"),
        },
    );
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "a"), edit])
        .await
        .unwrap();
    let message = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, "A1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (message.content, message.edited_at),
        (Content::text("b"), Some(f.now()))
    );
    let log = f.log(owner.tenant).await;
    let first: serde_json::Value = serde_json::from_str(log[1].data.get()).unwrap();
    assert_eq!(
        first["message"]["text"]["body"], "a",
        "the event shows the message as it was"
    );
}

async fn reactions_are_events(f: Fixture) {
    let owner = f.owner().await;
    let message = f.accept(owner, "hello").await;
    let react = |id: &str, emoji: Option<&str>, target: &str| {
        f.inbound(
            id,
            InboundBody::Reaction {
                target: target.to_owned(),
                emoji: emoji.map(str::to_owned),
            },
        )
    };
    let thumb = react("E1", Some("👍"), &message.whatsapp_id);
    let batch = vec![
        thumb.clone(),
        thumb,
        react("E2", None, &message.whatsapp_id),
        react("E3", Some("?"), "gone"),
    ];
    f.store.record_inbound(owner, batch).await.unwrap();
    let log = f.log(owner.tenant).await;
    let data: Vec<serde_json::Value> = log[1..]
        .iter()
        .map(|event| serde_json::from_str(event.data.get()).unwrap())
        .collect();
    assert_eq!(data.len(), 3);
    assert_eq!(
        (&data[0]["emoji"], &data[0]["message_id"]),
        (&"👍".into(), &message.id.to_string().into())
    );
    assert_eq!(data[1]["emoji"], serde_json::Value::Null);
    assert_eq!(data[2]["message_id"], serde_json::Value::Null);
}

async fn an_answer_names_the_message_it_quotes(f: Fixture) {
    let owner = f.owner().await;
    let message = f.accept(owner, "hello").await;
    let answer = |id: &str, quoted: &str| {
        f.inbound(
            id,
            InboundBody::Message {
                content: Content::text("hi"),
                reply_to: Some(Quoted {
                    message_id: None,
                    whatsapp_id: quoted.to_owned(),
                    sender: None,
                    text: Some("hello".to_owned()),
                }),
            },
        )
    };
    let known = answer("A1", &message.whatsapp_id);
    let mut elsewhere = answer("A2", &message.whatsapp_id);
    elsewhere.chat = chat(2);
    let gone = answer("A3", "gone\0");
    f.store
        .record_inbound(owner, vec![known, elsewhere, gone])
        .await
        .unwrap();
    let mut quoted = Vec::new();
    for id in ["A1", "A2", "A3"] {
        let answer = f
            .store
            .message_by_whatsapp_id(owner.tenant, owner.instance, id)
            .await
            .unwrap()
            .unwrap();
        quoted.push(answer.reply_to.unwrap().message_id);
    }
    assert_eq!(quoted, [Some(message.id), None, None]);
}

async fn hostile_ids_are_recorded_once(f: Fixture) {
    let owner = f.owner().await;
    for id in ["nul\0nul", "\"quote\\", "😀\u{202e}", ""] {
        let mut inbound = f.inbound_text(id, "text with \0 inside");
        inbound.sender.push_name = Some("na\0me".to_owned());
        f.store
            .record_inbound(owner, vec![inbound.clone()])
            .await
            .unwrap();
        f.store.record_inbound(owner, vec![inbound]).await.unwrap();
    }
    assert_eq!(f.log(owner.tenant).await.len(), 5);
}

fn key_of(inbound: &Inbound) -> InboundKey {
    InboundKey {
        chat: inbound.chat.clone(),
        sender: inbound.sender.clone(),
        from_me: inbound.from_me,
        whatsapp_id: inbound.whatsapp_id.clone(),
    }
}

async fn what_was_recorded_is_known_under_every_name(f: Fixture) {
    let owner = f.owner().await;
    let amend = |id: &str, body: InboundBody| f.inbound(id, body);
    let target = || "A1".to_owned();
    let edit = InboundBody::Edit {
        target: target(),
        content: Content::text("b"),
    };
    let reaction = InboundBody::Reaction {
        target: target(),
        emoji: None,
    };
    let mut own = f.inbound_text("P1", "from the phone");
    own.from_me = true;
    let batch = vec![
        f.inbound_text("A1", "a"),
        amend("A2", edit),
        amend("A3", reaction),
        amend("A4", InboundBody::Revoke { target: target() }),
        f.inbound_text("nul\0nul", "hostile"),
        own.clone(),
    ];
    f.store.record_inbound(owner, batch.clone()).await.unwrap();
    for inbound in &batch {
        let key = key_of(inbound);
        assert!(f.store.has_inbound(owner, &key).await.unwrap(), "{key:?}");
        if inbound.from_me {
            continue;
        }
        // Recorded under the number, and looked for when both names are known or only that.
        let mut by_number = key.clone();
        by_number.chat = Chat::of(key.chat.id.clone());
        by_number.sender.lid = None;
        assert!(
            f.store.has_inbound(owner, &by_number).await.unwrap(),
            "{by_number:?}"
        );
    }
    // By LID first, and looked for when the number became known too.
    let both = f.inbound_text("L1", "by lid");
    let lid = both.sender.lid.clone().unwrap();
    let mut by_lid = both.clone();
    by_lid.chat = Chat::of(lid.clone());
    by_lid.sender = Sender {
        id: lid,
        phone_number: None,
        lid: None,
        push_name: None,
    };
    f.store.record_inbound(owner, vec![by_lid]).await.unwrap();
    assert!(f.store.has_inbound(owner, &key_of(&both)).await.unwrap());
    // The echo of a message that was sent through the API, whatever its chat is called.
    let sent = f.accept(owner, "hello").await;
    let mut echo = own;
    echo.whatsapp_id = sent.whatsapp_id;
    echo.chat = chat(2);
    assert!(f.store.has_inbound(owner, &key_of(&echo)).await.unwrap());
}

async fn what_was_not_recorded_is_not_known(f: Fixture) {
    let owner = f.owner().await;
    let known = f.inbound_text("A1", "hello");
    f.store.record_inbound(owner, vec![known.clone()]).await.unwrap();
    let key = key_of(&known);
    let mut other_id = key.clone();
    other_id.whatsapp_id = "A2".to_owned();
    let mut other_chat = key.clone();
    other_chat.chat = chat(2);
    let mut other_sender = key.clone();
    other_sender.sender = Sender {
        id: chat(2).id,
        phone_number: None,
        lid: None,
        push_name: None,
    };
    let mut own = key.clone();
    own.from_me = true;
    for unknown in [other_id, other_chat, other_sender, own] {
        assert!(
            !f.store.has_inbound(owner, &unknown).await.unwrap(),
            "{unknown:?}"
        );
    }
    let stranger = f.owner().await;
    assert!(!f.store.has_inbound(stranger, &key).await.unwrap());
}
