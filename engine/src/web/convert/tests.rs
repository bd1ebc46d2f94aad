use std::collections::HashMap;

use async_trait::async_trait;
use roost_domain::engine::{Outgoing, SendError};
use roost_domain::message::{Content, Inbound, InboundBody, Quoted, TEXT_BYTES_MAX};
use roost_domain::{Address, Timestamp};
use whatsapp_rust::Jid;
use whatsapp_rust::types::message::{EditAttribute, MessageInfo, MessageSource};
use whatsapp_rust::wacore::chrono::DateTime;
use whatsapp_rust::waproto::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use super::address::address_of;
use super::*;

const PHONE: &str = "4915112345678@s.whatsapp.net";
const LID: &str = "100000012345678@lid";
const OWN: &str = "4915100000000@s.whatsapp.net";

/// Knows some names.
#[derive(Default)]
struct Book(HashMap<String, Jid>);

#[async_trait]
impl Names for Book {
    async fn other_name(&self, jid: &Jid) -> anyhow::Result<Option<Jid>> {
        Ok(self.0.get(&jid.to_string()).cloned())
    }

    fn is_own(&self, jid: &Jid) -> bool {
        jid.is_same_chat_as(&self::jid(OWN))
    }
}

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn info(chat: &str, sender: &str) -> MessageInfo {
    MessageInfo {
        id: "3EB0".to_owned(),
        push_name: "Ann".to_owned(),
        timestamp: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        source: MessageSource {
            chat: jid(chat),
            sender: jid(sender),
            ..MessageSource::default()
        },
        ..MessageInfo::default()
    }
}

fn text(text: &str) -> wa::Message {
    wa::Message {
        conversation: Some(text.to_owned()),
        ..wa::Message::default()
    }
}

fn wrapped(message: wa::Message) -> MessageField<wa::message::FutureProofMessage> {
    MessageField::some(wa::message::FutureProofMessage {
        message: MessageField::some(message),
    })
}

fn key(id: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey {
        id: Some(id.to_owned()),
        ..wa::MessageKey::default()
    })
}

fn protocol(protocol: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(protocol),
        ..wa::Message::default()
    }
}

async fn take(message: &wa::Message, info: &MessageInfo) -> Option<Inbound> {
    inbound(&Book::default(), message, info).await.unwrap()
}

async fn body(message: &wa::Message) -> Option<InboundBody> {
    take(message, &info(PHONE, PHONE))
        .await
        .map(|inbound| inbound.body)
}

fn message_of(text: &str) -> InboundBody {
    InboundBody::Message {
        content: Content::text(text),
        reply_to: None,
    }
}

#[tokio::test]
async fn a_text_comes_with_chat_sender_and_time() {
    let inbound = take(&text("hi"), &info(PHONE, "4915112345678:3@s.whatsapp.net"))
        .await
        .unwrap();
    assert_eq!(inbound.body, message_of("hi"));
    assert_eq!(inbound.chat.id, address(PHONE));
    assert_eq!(inbound.sender.id, address(PHONE), "without the device");
    assert_eq!(inbound.sender.push_name.as_deref(), Some("Ann"));
    assert_eq!(inbound.sent_at, Timestamp::from_unix_seconds(1_700_000_000));
    assert!(!inbound.from_me);
}

#[tokio::test]
async fn the_phone_number_is_the_key_wherever_it_is_known() {
    let mut by_stanza = info(LID, LID);
    by_stanza.source.sender_alt = Some(jid(PHONE));
    let from_stanza = take(&text("x"), &by_stanza).await.unwrap();
    let book = Book(HashMap::from([(LID.to_owned(), jid(PHONE))]));
    let from_book = inbound(&book, &text("x"), &info(LID, LID))
        .await
        .unwrap()
        .unwrap();
    for inbound in [from_stanza, from_book] {
        assert_eq!(inbound.chat.id, address(PHONE));
        assert_eq!(inbound.chat.lid, Some(address(LID)));
        assert_eq!(inbound.sender.phone_number.unwrap().digits(), "4915112345678");
    }
    let unknown = take(&text("x"), &info(LID, LID)).await.unwrap();
    assert_eq!((unknown.chat.id, unknown.chat.phone_number), (address(LID), None));
}

#[tokio::test]
async fn a_copy_of_an_own_message_belongs_to_the_recipients_chat() {
    let mut copy = info(LID, OWN);
    copy.source.is_from_me = true;
    copy.source.recipient_alt = Some(jid(PHONE));
    let message = wa::Message {
        device_sent_message: MessageField::some(wa::message::DeviceSentMessage {
            destination_jid: Some(LID.to_owned()),
            message: MessageField::some(text("mine")),
            ..Default::default()
        }),
        ..wa::Message::default()
    };
    let inbound = take(&message, &copy).await.unwrap();
    assert!(inbound.from_me);
    assert_eq!(inbound.chat.id, address(PHONE));
    assert_eq!(inbound.sender.id, address(OWN));
    assert_eq!(inbound.body, message_of("mine"));
}

#[tokio::test]
async fn a_group_keeps_its_name_and_its_sender() {
    let mut group = info("120363021033254949@g.us", LID);
    group.source.is_group = true;
    group.source.sender_alt = Some(jid(PHONE));
    let inbound = take(&text("all"), &group).await.unwrap();
    assert_eq!(inbound.chat.id, address("120363021033254949@g.us"));
    assert_eq!((inbound.chat.phone_number, inbound.chat.lid), (None, None));
    assert_eq!(inbound.sender.id, address(PHONE));
}

#[tokio::test]
async fn broadcasts_newsletters_and_protocol_business_are_not_for_people() {
    for chat in ["status@broadcast", "123@newsletter", "123@bot"] {
        assert!(take(&text("x"), &info(chat, PHONE)).await.is_none(), "{chat}");
    }
    use wa::message::protocol_message::Type;
    for kind in [
        Type::APP_STATE_SYNC_KEY_SHARE,
        Type::HISTORY_SYNC_NOTIFICATION,
        Type::EPHEMERAL_SETTING,
    ] {
        let message = protocol(wa::message::ProtocolMessage {
            r#type: Some(kind),
            ..Default::default()
        });
        assert_eq!(body(&message).await, None);
    }
    assert_eq!(body(&wa::Message::default()).await, None);
    assert_eq!(body(&text("")).await, None);
}

#[tokio::test]
async fn wrappers_are_opened_and_nesting_has_an_end() {
    let ephemeral = wa::Message {
        ephemeral_message: wrapped(wa::Message {
            view_once_message_v2: wrapped(text("inside")),
            ..wa::Message::default()
        }),
        ..wa::Message::default()
    };
    assert_eq!(body(&ephemeral).await, Some(message_of("inside")));
    let mut nested = text("deep");
    for _ in 0..100 {
        nested = wa::Message {
            ephemeral_message: wrapped(nested),
            ..wa::Message::default()
        };
    }
    assert_eq!(body(&nested).await, None);
}

#[tokio::test]
async fn edits_are_understood_in_every_form() {
    use wa::message::protocol_message::Type;
    let edit = || {
        protocol(wa::message::ProtocolMessage {
            r#type: Some(Type::MESSAGE_EDIT),
            key: key("T"),
            edited_message: MessageField::some(text("new")),
            ..Default::default()
        })
    };
    let wanted = Some(InboundBody::Edit {
        target: "T".to_owned(),
        content: Content::text("new"),
    });
    assert_eq!(body(&edit()).await, wanted);
    let message = wa::Message {
        edited_message: wrapped(edit()),
        ..wa::Message::default()
    };
    assert_eq!(body(&message).await, wanted);
    let mut bare = info(PHONE, PHONE);
    bare.edit = EditAttribute::MessageEdit;
    bare.meta_info.target_id = Some("T".to_owned());
    assert_eq!(
        take(&text("new"), &bare).await.map(|inbound| inbound.body),
        wanted
    );
    let aimless = protocol(wa::message::ProtocolMessage {
        r#type: Some(Type::MESSAGE_EDIT),
        edited_message: MessageField::some(text("new")),
        ..Default::default()
    });
    assert_eq!(body(&aimless).await, None);
}

#[tokio::test]
async fn revocations_and_reactions_name_their_message() {
    let revoke = protocol(wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::REVOKE),
        key: key("T"),
        ..Default::default()
    });
    assert_eq!(
        body(&revoke).await,
        Some(InboundBody::Revoke {
            target: "T".to_owned()
        })
    );
    for (emoji, wanted) in [
        (Some("👍"), Some("👍".to_owned())),
        (Some(""), None),
        (None, None),
    ] {
        let message = wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: key("T"),
                text: emoji.map(str::to_owned),
                ..Default::default()
            }),
            ..wa::Message::default()
        };
        let reaction = InboundBody::Reaction {
            target: "T".to_owned(),
            emoji: wanted,
        };
        assert_eq!(body(&message).await, Some(reaction));
    }
}

#[tokio::test]
async fn what_cannot_be_shown_is_named() {
    let image = wa::Message {
        image_message: MessageField::some(wa::message::ImageMessage::default()),
        ..wa::Message::default()
    };
    let poll = wa::Message {
        poll_creation_message_v3: MessageField::some(wa::message::PollCreationMessage::default()),
        ..wa::Message::default()
    };
    for (message, kind) in [(image, "image"), (poll, "poll")] {
        let content = Content::Unsupported {
            kind: kind.to_owned(),
        };
        assert_eq!(
            body(&message).await,
            Some(InboundBody::Message {
                content,
                reply_to: None
            })
        );
    }
}

fn reply(participant: &str) -> wa::Message {
    wa::Message {
        extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
            text: Some("yes".to_owned()),
            context_info: MessageField::some(wa::ContextInfo {
                stanza_id: Some("Q".to_owned()),
                participant: Some(participant.to_owned()),
                quoted_message: MessageField::some(text("sure?")),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..wa::Message::default()
    }
}

#[tokio::test]
async fn a_reply_says_what_it_answers_and_whose_that_was() {
    for (participant, sender) in [(PHONE, Some(address(PHONE))), (OWN, None), ("nonsense", None)] {
        let quoted = Quoted {
            message_id: None,
            whatsapp_id: "Q".to_owned(),
            sender,
            text: Some("sure?".to_owned()),
        };
        let wanted = InboundBody::Message {
            content: Content::text("yes"),
            reply_to: Some(quoted),
        };
        assert_eq!(body(&reply(participant)).await, Some(wanted), "{participant}");
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_at_a_character() {
    let long = "ä".repeat(TEXT_BYTES_MAX);
    let Some(InboundBody::Message {
        content: Content::Text { text: cut },
        ..
    }) = body(&text(&long)).await
    else {
        panic!("no text");
    };
    assert_eq!(cut.body.len(), TEXT_BYTES_MAX);
    let odd = format!("x{long}");
    let Some(InboundBody::Message {
        content: Content::Text { text: cut },
        ..
    }) = body(&text(&odd)).await
    else {
        panic!("no text");
    };
    assert_eq!(cut.body.len(), TEXT_BYTES_MAX - 1);
}

#[test]
fn addresses_and_jids_are_each_others_inverse() {
    for text in [
        PHONE,
        LID,
        "120363021033254949@g.us",
        "4915112345678-1600000000@g.us",
    ] {
        assert_eq!(address_of(&jid(text)), Some(address(text)));
        assert_eq!(jid_of(&address(text)).to_string(), text);
    }
    assert_eq!(
        address_of(&jid("4915112345678:12@s.whatsapp.net")),
        Some(address(PHONE))
    );
    assert_eq!(address_of(&jid("status@broadcast")), None);
}

#[test]
fn an_account_needs_a_number() {
    let account = super::account(Some(&jid("4915100000000:5@s.whatsapp.net")), Some(&jid(LID)), "").unwrap();
    assert_eq!(account.phone_number.digits(), "4915100000000");
    assert_eq!((account.lid, account.push_name), (Some(address(LID)), None));
    assert_eq!(super::account(None, Some(&jid(LID)), "Ann"), None);
}

#[test]
fn a_reply_is_written_as_clients_do() {
    let mut outgoing = Outgoing {
        whatsapp_id: "3EB0".to_owned(),
        to: address(PHONE),
        content: Content::text("yes"),
        reply_to: None,
    };
    let plain = message(&outgoing, &jid(OWN)).unwrap();
    assert_eq!(plain.conversation.as_deref(), Some("yes"));
    for (sender, participant) in [(Some(address(PHONE)), PHONE), (None, OWN)] {
        outgoing.reply_to = Some(Quoted {
            message_id: None,
            whatsapp_id: "Q".to_owned(),
            sender,
            text: Some("sure?".to_owned()),
        });
        let message = message(&outgoing, &jid("4915100000000:5@s.whatsapp.net")).unwrap();
        let extended = message.extended_text_message.as_option().unwrap();
        let context = extended.context_info.as_option().unwrap();
        assert_eq!(extended.text.as_deref(), Some("yes"));
        assert_eq!(context.stanza_id.as_deref(), Some("Q"));
        assert_eq!(context.participant.as_deref(), Some(participant));
        assert_eq!(
            context
                .quoted_message
                .as_option()
                .unwrap()
                .conversation
                .as_deref(),
            Some("sure?")
        );
    }
}

#[test]
fn only_text_can_be_sent() {
    let outgoing = Outgoing {
        whatsapp_id: "3EB0".to_owned(),
        to: address(PHONE),
        content: Content::Unsupported {
            kind: "image".to_owned(),
        },
        reply_to: None,
    };
    assert!(matches!(
        message(&outgoing, &jid(OWN)),
        Err(SendError::Permanent(_))
    ));
}
