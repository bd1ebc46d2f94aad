//! `POST /v1/events` as an operation of the generator.

use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;

use crate::http::{Answer, Call};
use crate::pace::Ticket;
use crate::scenario::traffic::Operation;
use crate::sink::Mark;

/// Publishes events of one run.
#[derive(Debug, Clone, Copy)]
pub struct Publish {
    /// Run that the events name.
    pub run: u32,
    /// Number of the first event.
    pub first: u64,
    /// Types that take turns; one is `custom.load` alone.
    pub kinds: u32,
    /// Chats that take turns; 0 is events of no chat.
    pub chats: u32,
    /// Length of what an event carries.
    pub data_bytes: usize,
}

/// An event that was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// Its number within the run.
    pub index: u64,
    /// When the answer was read.
    pub answered: Instant,
}

/// The type of events for the webhook with this number among `kinds`.
pub fn kind(kinds: u32, number: u64) -> String {
    if kinds <= 1 {
        "custom.load".to_owned()
    } else {
        format!("custom.load.{number}")
    }
}

impl Publish {
    fn body(&self, index: u64) -> String {
        let kind = kind(self.kinds, index % u64::from(self.kinds.max(1)));
        let chat = index % u64::from(self.chats.max(1));
        let load = format!("{:x<1$}", Mark::text(self.run, index, chat), self.data_bytes);
        // Written by hand: every part is a number or a constant, and this is done thousands of times a
        // second.
        if self.chats == 0 {
            return format!("{{\"type\":\"{kind}\",\"data\":{{\"load\":\"{load}\"}}}}");
        }
        // Numbers under a country code that nobody has.
        format!(
            "{{\"type\":\"{kind}\",\"chat\":\"99940{chat:08}@s.whatsapp.net\",\"data\":{{\"load\":\"{load}\"}}}}"
        )
    }
}

impl Operation for Publish {
    type Kept = Accepted;

    fn call(&self, ticket: Ticket) -> Call {
        Call {
            method: Method::POST,
            path: "/v1/events".to_owned(),
            body: Bytes::from(self.body(self.first + ticket.index)),
            ..Call::default()
        }
    }

    fn keep(&self, ticket: Ticket, answer: &Answer) -> Result<Accepted, serde_json::Error> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "seq")]
            _seq: i64,
        }
        let answered = Instant::now();
        serde_json::from_slice::<Event>(&answer.body)?;
        Ok(Accepted {
            index: self.first + ticket.index,
            answered,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_json_of_the_asked_length_and_says_who_it_is() {
        let publish = Publish {
            run: 7,
            first: 1_000,
            kinds: 10,
            chats: 4,
            data_bytes: 100,
        };
        let ticket = Ticket {
            index: 23,
            intended: Instant::now(),
        };
        let body: serde_json::Value = serde_json::from_slice(&publish.call(ticket).body).unwrap();
        assert_eq!(body["type"], "custom.load.3");
        assert_eq!(body["chat"], "9994000000003@s.whatsapp.net");
        let load = body["data"]["load"].as_str().unwrap();
        assert!(load.starts_with("7 1023 3 x") && load.len() == 100, "{load}");
        let alone = Publish {
            kinds: 1,
            chats: 0,
            ..publish
        };
        let body: serde_json::Value = serde_json::from_slice(&alone.call(ticket).body).unwrap();
        assert_eq!(
            (&body["type"], &body["chat"]),
            (&"custom.load".into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn an_answer_without_a_place_in_the_log_is_not_a_success() {
        let publish = Publish {
            run: 1,
            first: 0,
            kinds: 1,
            chats: 0,
            data_bytes: 10,
        };
        let ticket = Ticket {
            index: 0,
            intended: Instant::now(),
        };
        let answer = |body: &'static str| Answer {
            status: 201,
            body: Bytes::from_static(body.as_bytes()),
        };
        assert!(publish.keep(ticket, &answer("{\"seq\":5}")).is_ok());
        assert!(publish.keep(ticket, &answer("{}")).is_err());
    }
}
