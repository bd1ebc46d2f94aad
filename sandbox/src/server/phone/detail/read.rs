//! What received content says.

use super::{Card, Detail, Response};
use crate::signal::proto::{
    ContactMessage, EventMessage, LocationMessage, Message, MessageKey, PollCreationMessage, ProtocolType,
};

fn id_of(key: &Option<MessageKey>) -> Option<String> {
    key.as_ref()?.id.clone()
}

impl Detail {
    /// Reads content without wrappers. Votes and answers to events are still sealed.
    pub(in crate::server::phone) fn read(message: &Message) -> Option<Self> {
        answer(message)
            .or_else(|| about_another(message))
            .or_else(|| thing(message))
    }

    /// The poll a message creates.
    pub(in crate::server::phone) fn poll_of(message: &Message) -> Option<&PollCreationMessage> {
        [
            &message.poll_creation_message,
            &message.poll_creation_message_v2,
            &message.poll_creation_message_v3,
        ]
        .into_iter()
        .find_map(|poll| poll.as_deref())
    }
}

fn answer(message: &Message) -> Option<Detail> {
    if let Some(update) = &message.poll_update_message {
        return Some(Detail::Vote {
            poll_id: id_of(&update.poll_creation_message_key)?,
            options: Vec::new(),
            readable: false,
        });
    }
    let response = message.enc_event_response_message.as_ref()?;
    Some(Detail::EventResponse {
        event_id: id_of(&response.event_creation_message_key)?,
        response: Response::Unknown,
        readable: false,
    })
}

fn about_another(message: &Message) -> Option<Detail> {
    if let Some(pin) = &message.pin_in_chat_message {
        let info = message.message_context_info.as_ref();
        return Some(Detail::Pin {
            target_id: id_of(&pin.key)?,
            pinned: pin.r#type == Some(1),
            duration_s: info
                .and_then(|info| info.message_add_on_duration_in_secs)
                .unwrap_or_default(),
        });
    }
    if let Some(keep) = &message.keep_in_chat_message {
        return Some(Detail::Keep {
            target_id: id_of(&keep.key)?,
            kept: keep.keep_type == Some(1),
        });
    }
    if let Some(comment) = &message.comment_message {
        let text = comment.message.as_ref().and_then(|message| message.text());
        return Some(Detail::Comment {
            target_id: id_of(&comment.target_message_key)?,
            text: text.unwrap_or_default().to_owned(),
        });
    }
    let protocol = message.protocol_message.as_ref()?;
    (protocol.r#type == Some(ProtocolType::EphemeralSetting.into())).then(|| Detail::Timer {
        seconds: protocol.ephemeral_expiration.unwrap_or_default(),
    })
}

fn thing(message: &Message) -> Option<Detail> {
    if let Some(poll) = Detail::poll_of(message) {
        return Some(Detail::Poll {
            name: poll.name.clone().unwrap_or_default(),
            options: poll
                .options
                .iter()
                .filter_map(|option| option.option_name.clone())
                .collect(),
            selectable: poll.selectable_options_count.unwrap_or_default(),
        });
    }
    if let Some(event) = &message.event_message {
        return Some(read_event(event));
    }
    if let Some(contact) = &message.contact_message {
        return Some(Detail::Contacts {
            contacts: vec![card(contact)],
        });
    }
    if let Some(array) = &message.contacts_array_message {
        return Some(Detail::Contacts {
            contacts: array.contacts.iter().map(card).collect(),
        });
    }
    if let Some(location) = &message.location_message {
        return Some(read_location(location));
    }
    if let Some(live) = &message.live_location_message {
        return Some(Detail::LiveLocation {
            latitude: live.degrees_latitude.unwrap_or_default(),
            longitude: live.degrees_longitude.unwrap_or_default(),
            accuracy_m: live.accuracy_in_meters,
            caption: live.caption.clone(),
            sequence: live.sequence_number,
        });
    }
    link(message).or_else(|| reply(message))
}

fn read_event(event: &EventMessage) -> Detail {
    Detail::Event {
        name: event.name.clone().unwrap_or_default(),
        description: event.description.clone(),
        start_s: event.start_time.unwrap_or_default(),
        end_s: event.end_time,
        join_link: event.join_link.clone(),
        place: event.location.as_ref().and_then(|location| location.name.clone()),
        canceled: event.is_canceled.unwrap_or_default(),
    }
}

fn read_location(location: &LocationMessage) -> Detail {
    Detail::Location {
        latitude: location.degrees_latitude.unwrap_or_default(),
        longitude: location.degrees_longitude.unwrap_or_default(),
        name: location.name.clone(),
        address: location.address.clone(),
        url: location.url.clone(),
    }
}

fn link(message: &Message) -> Option<Detail> {
    let extended = message.extended_text_message.as_ref()?;
    Some(Detail::Link {
        text: extended.text.clone().unwrap_or_default(),
        url: extended.matched_text.clone().filter(|url| !url.is_empty())?,
        title: extended.title.clone(),
        description: extended.description.clone(),
    })
}

fn reply(message: &Message) -> Option<Detail> {
    if let Some(reply) = &message.buttons_response_message {
        return Some(Detail::ButtonReply {
            button_id: reply.selected_button_id.clone().unwrap_or_default(),
            text: reply.selected_display_text.clone().unwrap_or_default(),
        });
    }
    if let Some(reply) = &message.template_button_reply_message {
        return Some(Detail::ButtonReply {
            button_id: reply.selected_id.clone().unwrap_or_default(),
            text: reply.selected_display_text.clone().unwrap_or_default(),
        });
    }
    let reply = message.list_response_message.as_ref()?;
    let row = reply.single_select_reply.as_ref();
    Some(Detail::ListReply {
        row_id: row
            .and_then(|row| row.selected_row_id.clone())
            .unwrap_or_default(),
        title: reply.title.clone().unwrap_or_default(),
    })
}

fn card(contact: &ContactMessage) -> Card {
    let vcard = contact.vcard.clone();
    // The number a card is for is in the parameter that clients write for each other.
    let number = vcard.as_deref().and_then(|vcard| {
        let (_, rest) = vcard.split_once("waid=")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(digits).filter(|digits| !digits.is_empty())
    });
    Card {
        name: contact.display_name.clone().unwrap_or_default(),
        phone_number: number,
        vcard,
    }
}
