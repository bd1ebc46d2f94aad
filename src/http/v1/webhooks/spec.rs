//! What a client says of a webhook, checked: every fault with its pointer.

use std::collections::BTreeMap;

use roost_domain::webhook::{ApiVersion, DeliveryMode, EventPattern};
use roost_domain::{Address, InstanceId};

use super::header;
use crate::http::fault::Faults;

const URL_BYTES_MAX: usize = 2048;
const DESCRIPTION_CHARS_MAX: usize = 200;
const EVENTS_MAX: usize = 50;
const INSTANCES_MAX: usize = 100;
const CHATS_MAX: usize = 100;
const RATE_MAX: u32 = 10_000;

/// The URL's length; where it leads to is checked when the webhook is made.
pub(super) fn url(faults: &mut Faults, url: &str) {
    if url.is_empty() {
        faults.add("/url", "empty", "the URL is empty");
    } else if url.len() > URL_BYTES_MAX {
        faults.add("/url", "too_long", format!("at most {URL_BYTES_MAX} bytes"));
    }
}

pub(super) fn description(faults: &mut Faults, pointer: &str, text: &str) {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        faults.add(
            pointer,
            "too_long",
            format!("at most {DESCRIPTION_CHARS_MAX} characters"),
        );
    } else if text.chars().any(char::is_control) {
        faults.add(pointer, "invalid", "must not contain control characters");
    }
}

pub(super) fn events(faults: &mut Faults, texts: &[String]) -> Vec<EventPattern> {
    if texts.is_empty() {
        let detail = "name at least one event type; [\"*\"] is every type";
        faults.add("/events", "empty", detail);
    }
    faults.list("/events", EVENTS_MAX, texts, str::parse)
}

pub(super) fn instances(faults: &mut Faults, texts: &[String]) -> Vec<InstanceId> {
    faults.list("/instances", INSTANCES_MAX, texts, str::parse)
}

pub(super) fn chats(faults: &mut Faults, texts: &[String]) -> Vec<Address> {
    faults.list("/chats", CHATS_MAX, texts, str::parse)
}

pub(super) fn mode(faults: &mut Faults, text: &str) -> Option<DeliveryMode> {
    let mode = match text {
        "ordered" => Ok(DeliveryMode::Ordered),
        "unordered" => Ok(DeliveryMode::Unordered),
        _ => Err("expected ordered or unordered"),
    };
    faults.take("/mode", mode)
}

pub(super) fn api_version(faults: &mut Faults, text: &str) -> Option<ApiVersion> {
    let version = ApiVersion::from_name(text).ok_or_else(|| {
        let known: Vec<_> = ApiVersion::ALL.iter().map(|version| version.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    });
    faults.take("/api_version", version)
}

pub(super) fn max_concurrency(faults: &mut Faults, most: u16, number: u16) {
    faults.range("/max_concurrency", 1..=most, &number);
}

pub(super) fn rate(faults: &mut Faults, number: u32) {
    faults.range("/rate_per_second", 1..=RATE_MAX, &number);
}

/// Headers by their names in lower case.
pub(super) fn headers(faults: &mut Faults, given: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if given.len() > header::COUNT_MAX {
        let detail = format!("at most {} headers", header::COUNT_MAX);
        faults.add("/headers", "too_many", detail);
        return BTreeMap::new();
    }
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let pointer = header::pointer(&name);
        match header::check(&name, &value) {
            Err(fault) => faults.add(pointer, fault.code(), fault.to_string()),
            Ok(name) => {
                if headers.insert(name, value).is_some() {
                    faults.add(pointer, "duplicate", "given more than once");
                }
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn every_entry_that_is_wrong_is_pointed_at() {
        let mut faults = Faults::default();
        url(&mut faults, "");
        events(&mut faults, &texts(&["message.*", "mess.*", "custom.A"]));
        instances(&mut faults, &texts(&["msg_1"]));
        chats(&mut faults, &texts(&["+4915550002", "me"]));
        mode(&mut faults, "sorted");
        api_version(&mut faults, "2020-01-01");
        rate(&mut faults, 0);
        description(&mut faults, "/description", "a\nb");
        assert_eq!(
            faults.finish().unwrap_err().pointers(),
            [
                "/url",
                "/events/1",
                "/events/2",
                "/instances/0",
                "/chats/1",
                "/mode",
                "/api_version",
                "/rate_per_second",
                "/description"
            ]
        );
    }

    #[test]
    fn lists_and_texts_have_limits() {
        for (pointer, check) in [
            (
                "/url",
                (|faults| url(faults, &"x".repeat(URL_BYTES_MAX + 1))) as fn(&mut Faults),
            ),
            ("/events", |faults| drop(events(faults, &[]))),
            ("/events", |faults| {
                drop(events(faults, &vec!["*".to_owned(); EVENTS_MAX + 1]));
            }),
            ("/instances", |faults| {
                drop(instances(faults, &vec!["x".to_owned(); INSTANCES_MAX + 1]));
            }),
            ("/chats", |faults| {
                drop(chats(faults, &vec!["x".to_owned(); CHATS_MAX + 1]));
            }),
            ("/rate_per_second", |faults| rate(faults, RATE_MAX + 1)),
            ("/description", |faults| {
                description(faults, "/description", &"x".repeat(DESCRIPTION_CHARS_MAX + 1));
            }),
            ("/headers", |faults| {
                let many = (0..=header::COUNT_MAX).map(|n| (format!("x-{n}"), "v".to_owned()));
                drop(headers(faults, many.collect()));
            }),
        ] {
            let mut faults = Faults::default();
            check(&mut faults);
            assert_eq!(faults.finish().unwrap_err().pointers(), [pointer]);
        }
    }

    #[test]
    fn names_of_headers_do_not_tell_cases_apart() {
        let mut faults = Faults::default();
        let given = [("X-Token", "a"), ("x-token", "b"), ("X-Other", "c")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = headers(&mut faults, given.into());
        assert!(headers.contains_key("x-other"));
        assert_eq!(faults.finish().unwrap_err().pointers(), ["/headers/x-token"]);
    }
}
