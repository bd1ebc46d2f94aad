//! What a phone refuses to send, with the place in the body.

use super::{Card, Detail, Response};

const NAME_BYTES_MAX: usize = 255;
const TEXT_BYTES_MAX: usize = 65_536;
const OPTIONS: std::ops::RangeInclusive<usize> = 2..=12;
const CARDS_MAX: usize = 100;
const VCARD_BYTES_MAX: usize = 8_192;

/// Why content cannot be sent, and where that is said.
#[derive(Debug)]
pub(in crate::server) struct Unfit {
    pub pointer: &'static str,
    pub detail: &'static str,
}

fn need(is_fit: bool, pointer: &'static str, detail: &'static str) -> Result<(), Unfit> {
    if is_fit {
        Ok(())
    } else {
        Err(Unfit { pointer, detail })
    }
}

fn text(text: &str, max: usize, pointer: &'static str) -> Result<(), Unfit> {
    let is_fit = !text.is_empty() && text.len() <= max;
    need(is_fit, pointer, "the text is empty or too long")
}

fn maybe(value: &Option<String>, pointer: &'static str) -> Result<(), Unfit> {
    value
        .as_ref()
        .map_or(Ok(()), |value| text(value, TEXT_BYTES_MAX, pointer))
}

fn place(latitude: f64, longitude: f64) -> Result<(), Unfit> {
    let is_fit = (-90.0..=90.0).contains(&latitude);
    need(is_fit, "/content/latitude", "a latitude is from -90 to 90")?;
    let is_fit = (-180.0..=180.0).contains(&longitude);
    need(is_fit, "/content/longitude", "a longitude is from -180 to 180")
}

impl Detail {
    pub(in crate::server) fn check(&self) -> Result<(), Unfit> {
        if let Some(target) = self.target() {
            text(target, 128, "/content")?;
        }
        match self {
            Self::Poll {
                name,
                options,
                selectable,
            } => {
                text(name, NAME_BYTES_MAX, "/content/name")?;
                options_fit(options)?;
                let is_fit = *selectable as usize <= options.len();
                need(is_fit, "/content/selectable", "more than there are options")
            }
            Self::Vote { options, .. } => {
                let is_fit = options.len() <= *OPTIONS.end();
                need(is_fit, "/content/options", "a vote has at most 12 options")
            }
            Self::Event {
                name,
                description,
                join_link,
                place,
                ..
            } => {
                text(name, NAME_BYTES_MAX, "/content/name")?;
                maybe(description, "/content/description")?;
                maybe(join_link, "/content/join_link")?;
                maybe(place, "/content/place")
            }
            Self::EventResponse { response, .. } => {
                let is_fit = *response != Response::Unknown;
                need(is_fit, "/content/response", "answer going, not_going or maybe")
            }
            Self::Contacts { contacts } => cards_fit(contacts),
            Self::Location {
                latitude,
                longitude,
                name,
                address,
                url,
            } => {
                place_fits(name, address, url)?;
                place(*latitude, *longitude)
            }
            Self::LiveLocation {
                latitude,
                longitude,
                caption,
                ..
            } => {
                maybe(caption, "/content/caption")?;
                place(*latitude, *longitude)
            }
            Self::Link {
                text: said,
                url,
                title,
                description,
            } => {
                text(said, TEXT_BYTES_MAX, "/content/text")?;
                text(url, TEXT_BYTES_MAX, "/content/url")?;
                need(
                    said.contains(url),
                    "/content/url",
                    "the text has no such link in it",
                )?;
                maybe(title, "/content/title")?;
                maybe(description, "/content/description")
            }
            Self::Comment { text: said, .. } => text(said, TEXT_BYTES_MAX, "/content/text"),
            Self::Pin { .. } | Self::Keep { .. } | Self::Timer { .. } => Ok(()),
            Self::ButtonReply { .. } | Self::ListReply { .. } => need(
                false,
                "/content/type",
                "phones receive these, they do not send them",
            ),
        }
    }
}

fn options_fit(options: &[String]) -> Result<(), Unfit> {
    let is_fit = OPTIONS.contains(&options.len());
    need(is_fit, "/content/options", "a poll has 2 to 12 options")?;
    for option in options {
        text(option, NAME_BYTES_MAX, "/content/options")?;
    }
    let mut names: Vec<_> = options.iter().collect();
    names.sort_unstable();
    names.dedup();
    let is_fit = names.len() == options.len();
    need(is_fit, "/content/options", "the options of a poll differ")
}

fn place_fits(name: &Option<String>, address: &Option<String>, url: &Option<String>) -> Result<(), Unfit> {
    maybe(name, "/content/name")?;
    maybe(address, "/content/address")?;
    maybe(url, "/content/url")
}

fn cards_fit(cards: &[Card]) -> Result<(), Unfit> {
    let is_fit = (1..=CARDS_MAX).contains(&cards.len());
    need(is_fit, "/content/contacts", "send 1 to 100 contact cards")?;
    for card in cards {
        text(&card.name, NAME_BYTES_MAX, "/content/contacts")?;
        let is_made = card.vcard.is_some() || card.phone_number.is_some();
        need(
            is_made,
            "/content/contacts",
            "a card has a phone_number or a vcard",
        )?;
        let is_one_line = |text: &String| !text.contains(['\r', '\n']);
        let is_fit = is_one_line(&card.name) && card.phone_number.iter().all(is_one_line);
        need(is_fit, "/content/contacts", "a name and a number are one line")?;
        if let Some(vcard) = &card.vcard {
            text(vcard, VCARD_BYTES_MAX, "/content/contacts")?;
        }
    }
    Ok(())
}
