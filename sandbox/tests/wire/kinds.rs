//! Kinds of messages, from phones and to phones.

use roost_sandbox::signal::addon::{Answer, AnswerKind};
use roost_sandbox::signal::proto::{
    ButtonsResponseMessage, ContextInfo, EncEventResponseMessage, EventMessage, EventResponseMessage,
    EventResponseType, ExtendedTextMessage, FutureProofMessage, ImageMessage, ListResponseMessage, Message,
    MessageContextInfo, MessageKey, PollCreationMessage, PollEncValue, PollOption, PollUpdateMessage,
    PollVoteMessage, ProtoMessage, ProtocolType, SingleSelectReply,
};
use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Companion, Wire};
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    stage
}

fn is_text(node: &Node) -> bool {
    node.tag == "message" && !node.is("category", "peer")
}

/// Ada's companion, whom Bob's phone writes to.
struct Pair {
    stage: Stage,
    ada: Companion,
    wire: Wire,
}

impl Pair {
    async fn new() -> Self {
        let stage = stage().await;
        let mut ada = Companion::paired(&stage, ADA).await;
        let wire = ada.open(&stage).await;
        Self { stage, ada, wire }
    }

    /// Has Bob's phone send, and reads what arrives.
    async fn receive(&mut self, body: Value) -> (Node, Message) {
        let (id, _) = self.bob_sends(body).await;
        let node = self.wire.expect(|node| is_text(node) && node.is("id", &id)).await;
        // The client keeps its sessions by phone number.
        let mut by_number = node.clone();
        if let Some(number) = node.get("sender_pn") {
            by_number.attrs.retain(|(key, _)| key != "from");
            by_number = by_number.attr("from", number.to_owned());
        }
        let message = self.ada.read(&by_number);
        (node, message)
    }

    async fn bob_sends(&self, mut body: Value) -> (String, Value) {
        body["to"] = json!(ADA);
        let (status, answer) = self.stage.post(&format!("/accounts/{BOB}/messages"), body).await;
        assert_eq!(status, 201, "{answer}");
        (answer["whatsapp_id"].as_str().unwrap().to_owned(), answer)
    }

    /// Sends to Bob, and returns what his phone noted.
    async fn send(&mut self, id: &str, content: &Message) -> Value {
        let message = self
            .ada
            .sealed(&mut self.wire, BOB_JID, &[BOB_JID, ADA_JID], id, content)
            .await;
        self.wire.send(&message).await;
        self.wire.expect_ack(id).await;
        self.noted(BOB, id).await
    }

    async fn noted(&self, number: &str, id: &str) -> Value {
        eventually(|| async {
            let messages = self.stage.phone_has(number, 1).await;
            messages.into_iter().find(|message| message["whatsapp_id"] == id)
        })
        .await
    }

    async fn polls(&self, number: &str) -> Value {
        self.stage.get(&format!("/accounts/{number}/polls")).await.1["data"].clone()
    }
}

fn poll(secret: &[u8], options: &[&str]) -> Message {
    let options = options.iter().map(|option| PollOption {
        option_name: Some((*option).to_owned()),
    });
    Message {
        poll_creation_message: Some(Box::new(PollCreationMessage {
            name: Some("Lunch?".to_owned()),
            options: options.collect(),
            selectable_options_count: Some(0),
            context_info: None,
        })),
        message_context_info: Some(Box::new(MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..MessageContextInfo::default()
        })),
        ..Message::default()
    }
}

fn vote(answer: &Answer<'_>, secret: &[u8], options: &[&str]) -> Message {
    let plain = PollVoteMessage {
        selected_options: options
            .iter()
            .map(|option| Sha256::digest(option).to_vec())
            .collect(),
    };
    let (payload, iv) = answer.seal(secret, &plain.encode_to_vec());
    Message {
        poll_update_message: Some(Box::new(PollUpdateMessage {
            poll_creation_message_key: Some(MessageKey {
                remote_jid: Some(BOB_JID.to_owned()),
                from_me: Some(false),
                id: Some(answer.message_id.to_owned()),
                participant: None,
            }),
            vote: Some(PollEncValue {
                enc_payload: Some(payload),
                enc_iv: Some(iv.to_vec()),
            }),
            sender_timestamp_ms: Some(1),
        })),
        ..Message::default()
    }
}

#[tokio::test]
async fn a_companion_votes_on_a_poll_of_a_phone_and_changes_its_mind() {
    let mut pair = Pair::new().await;
    let poll = json!({"content": {"type": "poll", "name": "Lunch?", "options": ["soup", "rice", "cake"], "selectable": 2}});
    let (node, message) = pair.receive(poll).await;
    assert_eq!(node.get("type"), Some("poll"));
    assert_eq!(node.find("meta").unwrap().get("polltype"), Some("creation"));
    let created = message.poll_creation_message.as_ref().unwrap();
    assert_eq!(
        (created.options.len(), created.selectable_options_count),
        (3, Some(2))
    );
    let secret = message.message_context_info.unwrap().message_secret.unwrap();
    let id = node.get("id").unwrap().to_owned();
    let answer = Answer {
        kind: AnswerKind::PollVote,
        message_id: &id,
        author: BOB_JID,
        answerer: ADA_JID,
    };
    let noted = pair.send("V1", &vote(&answer, &secret, &["soup", "cake"])).await;
    assert_eq!(
        noted["content"],
        json!({"type": "vote", "poll_id": id, "options": ["soup", "cake"], "readable": true})
    );
    pair.send("V2", &vote(&answer, &secret, &["rice"])).await;
    let tallies = &pair.polls(BOB).await[0];
    assert_eq!(
        (&tallies["whatsapp_id"], &tallies["kind"]),
        (&json!(id), &json!("poll"))
    );
    assert_eq!(
        tallies["options"],
        json!([
            {"option": "soup", "votes": 0, "voters": []},
            {"option": "rice", "votes": 1, "voters": [ADA]},
            {"option": "cake", "votes": 0, "voters": []},
        ])
    );
    pair.send("V3", &vote(&answer, &secret, &[])).await;
    assert_eq!(pair.polls(BOB).await[0]["options"][1]["votes"], 0);

    // Sealed for somebody else's poll.
    let wrong = Answer {
        author: ADA_JID,
        ..answer
    };
    let noted = pair.send("V4", &vote(&wrong, &secret, &["rice"])).await;
    assert_eq!(noted["content"]["readable"], false);
    // The companion's own vote is known to its own phone, too.
    pair.send("V5", &vote(&answer, &secret, &["rice"])).await;
    pair.noted(ADA, "V5").await;
}

#[tokio::test]
async fn a_phone_votes_on_a_poll_of_a_companion() {
    let mut pair = Pair::new().await;
    let secret = [5; 32];
    let noted = pair.send("P1", &poll(&secret, &["yes", "no"])).await;
    assert_eq!(
        (&noted["kind"], &noted["content"]),
        (
            &json!("poll"),
            &json!({"type": "poll", "name": "Lunch?", "options": ["yes", "no"], "selectable": 0})
        )
    );
    for (addressing, ours, theirs) in [
        ("pn", ADA_JID.to_owned(), BOB_JID.to_owned()),
        ("lid", lid(&pair, ADA).await, lid(&pair, BOB).await),
    ] {
        let body = json!({"addressing": addressing, "content": {"type": "vote", "poll_id": "P1", "options": ["no"]}});
        let (node, message) = pair.receive(body).await;
        assert_eq!(node.find("meta").unwrap().get("polltype"), Some("vote"));
        assert_eq!(node.find("enc").unwrap().get("decrypt-fail"), Some("hide"));
        let update = message.poll_update_message.unwrap();
        assert_eq!(
            update.poll_creation_message_key.unwrap().id.as_deref(),
            Some("P1")
        );
        let sealed = update.vote.unwrap();
        let answer = Answer {
            kind: AnswerKind::PollVote,
            message_id: "P1",
            author: &ours,
            answerer: &theirs,
        };
        let plain = answer
            .open(&secret, &sealed.enc_payload.unwrap(), &sealed.enc_iv.unwrap())
            .unwrap();
        let vote = PollVoteMessage::decode(plain.as_slice()).unwrap();
        assert_eq!(vote.selected_options, [Sha256::digest("no").to_vec()]);
    }
    let noted = pair.noted(BOB, "P1").await;
    assert_eq!(
        noted["tally"][1],
        json!({"option": "no", "votes": 1, "voters": [BOB]})
    );
    for (content, status, code) in [
        (
            json!({"type": "vote", "poll_id": "P9", "options": ["no"]}),
            404,
            "message_not_found",
        ),
        (
            json!({"type": "vote", "poll_id": "P1", "options": ["maybe"]}),
            422,
            "invalid_field",
        ),
    ] {
        let body = json!({"to": ADA, "content": content});
        let (answered, problem) = pair.stage.post(&format!("/accounts/{BOB}/messages"), body).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)));
    }
}

async fn lid(pair: &Pair, number: &str) -> String {
    let (_, account) = pair.stage.get(&format!("/accounts/{number}")).await;
    format!("{}@lid", account["lid"].as_str().unwrap())
}

#[tokio::test]
async fn events_are_answered_both_ways() {
    let mut pair = Pair::new().await;
    let event =
        json!({"content": {"type": "event", "name": "Party", "start_s": 1_900_000_000, "place": "Here"}});
    let (node, message) = pair.receive(event).await;
    assert_eq!(
        (node.get("type"), node.find("meta").unwrap().get("event_type")),
        (Some("event"), Some("creation"))
    );
    let created = message.event_message.as_ref().unwrap();
    assert_eq!(created.location.as_ref().unwrap().name.as_deref(), Some("Here"));
    let secret = message.message_context_info.unwrap().message_secret.unwrap();
    let id = node.get("id").unwrap().to_owned();
    let answer = Answer {
        kind: AnswerKind::EventResponse,
        message_id: &id,
        author: BOB_JID,
        answerer: ADA_JID,
    };
    let plain = EventResponseMessage {
        response: Some(EventResponseType::Going.into()),
        timestamp_ms: Some(1),
    };
    let (payload, iv) = answer.seal(&secret, &plain.encode_to_vec());
    let response = Message {
        enc_event_response_message: Some(Box::new(EncEventResponseMessage {
            event_creation_message_key: Some(MessageKey {
                id: Some(id.clone()),
                ..MessageKey::default()
            }),
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        })),
        ..Message::default()
    };
    let noted = pair.send("R1", &response).await;
    assert_eq!(noted["content"]["response"], "going");
    assert_eq!(pair.polls(BOB).await[0]["options"][0]["voters"], json!([ADA]));

    let event = Message {
        event_message: Some(Box::new(EventMessage {
            name: Some("Walk".to_owned()),
            start_time: Some(1_900_000_000),
            ..EventMessage::default()
        })),
        message_context_info: Some(Box::new(MessageContextInfo {
            message_secret: Some(vec![6; 32]),
            ..MessageContextInfo::default()
        })),
        ..Message::default()
    };
    pair.send("E1", &event).await;
    let body = json!({"content": {"type": "event_response", "event_id": "E1", "response": "maybe"}});
    let (_, message) = pair.receive(body).await;
    let sealed = message.enc_event_response_message.unwrap();
    let answer = Answer {
        message_id: "E1",
        author: ADA_JID,
        answerer: BOB_JID,
        ..answer
    };
    let plain = answer
        .open(&[6; 32], &sealed.enc_payload.unwrap(), &sealed.enc_iv.unwrap())
        .unwrap();
    let response = EventResponseMessage::decode(plain.as_slice()).unwrap();
    assert_eq!(response.response, Some(EventResponseType::Maybe.into()));
}

#[tokio::test]
async fn every_kind_a_phone_sends_is_what_another_phone_reads() {
    let pair = Pair::new().await;
    let (target, _) = pair.bob_sends(json!({"text": "first"})).await;
    let contents = [
        json!({"type": "contacts", "contacts": [{"name": "Eve", "phone_number": "15550000009"}]}),
        json!({"type": "contacts", "contacts": [
            {"name": "Eve", "phone_number": "15550000009"},
            {"name": "Mallory", "vcard": "BEGIN:VCARD\nVERSION:3.0\nFN:Mallory\nEND:VCARD"},
        ]}),
        json!({"type": "location", "latitude": 52.5, "longitude": 13.25, "name": "Zoo", "address": null, "url": null}),
        json!({"type": "live_location", "latitude": -33.5, "longitude": 151.0, "accuracy_m": 5,
            "caption": "on my way", "sequence": 1}),
        json!({"type": "sticker", "mimetype": "image/webp", "direct_path": "/v/t62", "bytes": 512}),
        json!({"type": "link", "text": "see https://example.org/a", "url": "https://example.org/a",
            "title": "A", "description": "about a"}),
        json!({"type": "pin", "target_id": target, "pinned": true, "duration_s": 86_400}),
        json!({"type": "keep", "target_id": target, "kept": true}),
        json!({"type": "timer", "seconds": 604_800}),
        json!({"type": "comment", "target_id": target, "text": "indeed"}),
        json!({"type": "event", "name": "Party", "description": null, "start_s": 1_900_000_000,
            "end_s": null, "join_link": null, "place": "Here", "canceled": false}),
    ];
    let kinds = [
        "contacts",
        "contacts",
        "location",
        "live_location",
        "media",
        "text",
        "pin",
        "keep",
        "timer",
        "comment",
        "event",
    ];
    for (content, kind) in contents.into_iter().zip(kinds) {
        let (id, _) = pair.bob_sends(json!({ "content": content })).await;
        let noted = pair.noted(ADA, &id).await;
        assert_eq!(noted["kind"], kind, "{noted}");
        let mut read = noted["content"].clone();
        // A card comes back with the vCard that was made for it.
        if let Some(cards) = read.get_mut("contacts").and_then(Value::as_array_mut) {
            for (card, sent) in cards.iter_mut().zip(content["contacts"].as_array().unwrap()) {
                assert_eq!(card["name"], sent["name"]);
                if let Some(number) = sent["phone_number"].as_str() {
                    assert_eq!(card["phone_number"], number);
                    assert!(card["vcard"].as_str().unwrap().contains(number));
                } else {
                    assert_eq!(card["vcard"], sent["vcard"]);
                }
            }
        } else {
            assert_eq!(read.take(), content);
        }
        if content.get("target_id").is_some() {
            assert_eq!(noted["target_id"], target);
        }
    }
}

#[tokio::test]
async fn stanzas_tell_their_kind() {
    let mut pair = Pair::new().await;
    let (target, _) = pair.bob_sends(json!({"text": "first"})).await;
    for (content, kind, media, edit) in [
        (
            json!({"type": "contacts", "contacts": [{"name": "E", "phone_number": "15550000009"}]}),
            "media",
            Some("vcard"),
            None,
        ),
        (
            json!({"type": "location", "latitude": 1.0, "longitude": 2.0}),
            "media",
            Some("location"),
            None,
        ),
        (
            json!({"type": "link", "text": "https://a.example", "url": "https://a.example"}),
            "media",
            Some("url"),
            None,
        ),
        (
            json!({"type": "pin", "target_id": target}),
            "text",
            None,
            Some("2"),
        ),
        (json!({"type": "timer", "seconds": 0}), "text", None, None),
    ] {
        let (node, message) = pair.receive(json!({ "content": content })).await;
        assert_eq!(
            (
                node.get("type"),
                node.find("enc").unwrap().get("mediatype"),
                node.get("edit")
            ),
            (Some(kind), media, edit),
            "{content}"
        );
        if kind == "text" && edit.is_none() {
            let protocol = message.protocol_message.unwrap();
            assert_eq!(protocol.r#type, Some(ProtocolType::EphemeralSetting.into()));
            assert_eq!(protocol.ephemeral_expiration, Some(0));
        }
    }
}

#[tokio::test]
async fn mentions_forwards_one_look_and_timers_are_around_the_content() {
    let mut pair = Pair::new().await;
    let (_, message) = pair
        .receive(json!({"text": "hi @15550000001", "mentions": [ADA], "forward_score": 7}))
        .await;
    let context = message.extended_text_message.unwrap().context_info.unwrap();
    assert_eq!(context.mentioned_jid, [ADA_JID]);
    assert_eq!(
        (context.is_forwarded, context.forwarding_score),
        (Some(true), Some(7))
    );

    let (_, message) = pair
        .receive(json!({"text": "gone soon", "timer_s": 86_400}))
        .await;
    let inner = message.ephemeral_message.unwrap().message.unwrap();
    let extended = inner.extended_text_message.unwrap();
    assert_eq!(extended.context_info.unwrap().expiration, Some(86_400));

    let (id, _) = pair
        .bob_sends(json!({"text": "both", "view_once": true, "timer_s": 60, "mentions": [BOB]}))
        .await;
    let noted = pair.noted(ADA, &id).await;
    assert_eq!(noted["text"], "both");
    assert_eq!(
        noted["frame"],
        json!({"mentions": [BOB_JID], "forwarded": false, "forward_score": 0, "view_once": true, "timer_s": 60})
    );
}

#[tokio::test]
async fn what_companions_send_is_noted_with_its_frame() {
    let mut pair = Pair::new().await;
    let image = Message {
        image_message: Some(Box::new(ImageMessage {
            caption: Some("look".to_owned()),
            ..ImageMessage::default()
        })),
        ..Message::default()
    };
    let once = Message {
        view_once_message_v2: Some(Box::new(FutureProofMessage {
            message: Some(Box::new(image)),
        })),
        ..Message::default()
    };
    let noted = pair.send("M1", &once).await;
    assert_eq!(
        (&noted["kind"], &noted["text"], &noted["frame"]["view_once"]),
        (&json!("media"), &json!("look"), &json!(true))
    );
    let quoting = Message {
        extended_text_message: Some(Box::new(ExtendedTextMessage {
            text: Some("an answer".to_owned()),
            context_info: Some(Box::new(ContextInfo {
                stanza_id: Some("Q1".to_owned()),
                is_forwarded: Some(true),
                forwarding_score: Some(2),
                ..ContextInfo::default()
            })),
            ..ExtendedTextMessage::default()
        })),
        ..Message::default()
    };
    let noted = pair.send("M2", &quoting).await;
    assert_eq!(
        (&noted["quoted_id"], &noted["frame"]["forward_score"]),
        (&json!("Q1"), &json!(2))
    );
    let button = Message {
        buttons_response_message: Some(Box::new(ButtonsResponseMessage {
            selected_button_id: Some("b1".to_owned()),
            selected_display_text: Some("Yes".to_owned()),
            context_info: None,
        })),
        ..Message::default()
    };
    let noted = pair.send("M3", &button).await;
    assert_eq!(
        noted["content"],
        json!({"type": "button_reply", "button_id": "b1", "text": "Yes"})
    );
    let list = Message {
        list_response_message: Some(Box::new(ListResponseMessage {
            title: Some("Tea".to_owned()),
            single_select_reply: Some(SingleSelectReply {
                selected_row_id: Some("r2".to_owned()),
            }),
            context_info: None,
        })),
        ..Message::default()
    };
    let noted = pair.send("M4", &list).await;
    assert_eq!(
        noted["content"],
        json!({"type": "list_reply", "row_id": "r2", "title": "Tea"})
    );
    // An unknown kind is noted, too.
    let noted = pair.send("M5", &Message::default()).await;
    assert_eq!(noted["kind"], "other");
}

#[tokio::test]
async fn content_that_cannot_be_is_refused_with_its_place() {
    let stage = stage().await;
    let path = format!("/accounts/{BOB}/messages");
    for (body, pointer) in [
        (
            json!({"content": {"type": "poll", "name": "?", "options": ["a"]}}),
            "/content/options",
        ),
        (
            json!({"content": {"type": "poll", "name": "?", "options": ["a", "a"]}}),
            "/content/options",
        ),
        (
            json!({"content": {"type": "poll", "name": "?", "options": ["a", "b"], "selectable": 3}}),
            "/content/selectable",
        ),
        (
            json!({"content": {"type": "location", "latitude": 91.0, "longitude": 0.0}}),
            "/content/latitude",
        ),
        (
            json!({"content": {"type": "contacts", "contacts": []}}),
            "/content/contacts",
        ),
        (
            json!({"content": {"type": "contacts", "contacts": [{"name": "a\nTEL:1", "phone_number": "1"}]}}),
            "/content/contacts",
        ),
        (
            json!({"content": {"type": "list_reply", "row_id": "1", "title": "x"}}),
            "/content/type",
        ),
        (
            json!({"content": {"type": "timer", "seconds": 5}, "text": "x"}),
            "/content",
        ),
        (json!({"content": {"type": "hologram"}}), "/content"),
        (json!({"text": "x", "mentions": ["nobody"]}), "/mentions"),
        (
            json!({"content": {"type": "link", "text": "no link", "url": "https://a.example"}}),
            "/content/url",
        ),
    ] {
        let mut body = body;
        body["to"] = json!(ADA);
        let (status, problem) = stage.post(&path, body.clone()).await;
        assert_eq!(status, 422, "{body} {problem}");
        let place = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert!(place.starts_with(pointer), "{body}: {place}");
    }
}

#[tokio::test]
async fn polls_and_their_votes_survive_a_kill() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let send = async |stage: &Stage, from: &str, to: &str, content: Value| {
        let body = json!({"to": to, "content": content});
        let (status, sent) = stage.post(&format!("/accounts/{from}/messages"), body).await;
        assert_eq!(status, 201, "{sent}");
        sent["whatsapp_id"].as_str().unwrap().to_owned()
    };
    let poll = json!({"type": "poll", "name": "?", "options": ["a", "b"]});
    let id = send(&stage, ADA, BOB, poll).await;
    stage.phone_has(BOB, 1).await;
    stage.kill();
    stage.restart();
    let vote = json!({"type": "vote", "poll_id": id, "options": ["b"]});
    send(&stage, BOB, ADA, vote).await;
    stage.phone_has(ADA, 1).await;
    stage.kill();
    stage.restart();
    for number in [ADA, BOB] {
        let (_, polls) = stage.get(&format!("/accounts/{number}/polls")).await;
        assert_eq!(polls["data"][0]["options"][1]["voters"], json!([BOB]));
    }
}
