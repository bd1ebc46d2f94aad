//! What was accepted while nodes came and went, and whether all of it arrived, once.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::ground::Cluster;
use crate::api::PhoneMessage;
use crate::error::Result;
use crate::population::Member;
use crate::report::Section;
use crate::scenario::send::repeated_texts;

const RECEIVED: &str = "message.received";
/// How long what was accepted may be on its way after everything is connected.
const LAG_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// What was accepted in both directions, and how calls came out.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By text: the message's id on WhatsApp.
    accepted: HashMap<String, String>,
    /// Texts that the sandbox took from phones.
    arrived: Vec<String>,
    /// Calls that a node has done.
    calls: usize,
    /// How they were refused before, by kind.
    repeats: BTreeMap<String, usize>,
    repeated_calls: usize,
    /// The longest time from a call's first attempt until a node had done it.
    longest: Duration,
}

impl Ledger {
    /// A node accepted a text after these refusals.
    pub fn accept(&mut self, text: String, whatsapp_id: String, repeats: Vec<String>, took: Duration) {
        self.accepted.insert(text, whatsapp_id);
        self.calls += 1;
        self.repeated_calls += usize::from(!repeats.is_empty());
        for why in repeats {
            *self.repeats.entry(why).or_default() += 1;
        }
        self.longest = self.longest.max(took);
    }

    /// The sandbox took a text from a phone.
    pub fn arrive(&mut self, text: String) {
        self.arrived.push(text);
    }

    /// How much came in each direction.
    pub fn counts(&self) -> (usize, usize) {
        (self.accepted.len(), self.arrived.len())
    }

    /// Writes how calls came out into the report.
    pub fn describe(&self, section: &mut Section) {
        section.row("messages sent meanwhile", self.accepted.len() as f64, "");
        section.row("messages received meanwhile", self.arrived.len() as f64, "");
        section.row("calls that had to be repeated", self.repeated_calls as f64, "");
        section.row(
            "longest time until a call was done, repetitions included",
            self.longest.as_secs_f64(),
            "s",
        );
        for (why, count) in &self.repeats {
            section.notes.push(format!("{count} × {why}, repeated"));
        }
    }

    /// Everything must be where it belongs, once; `after` is the log's last event before the first of them.
    pub async fn verify(
        &self,
        cluster: &Cluster<'_>,
        talkers: &[Member],
        after: i64,
        section: &mut Section,
    ) -> Result<()> {
        let deadline = Instant::now() + LAG_MAX;
        let (mut absent, mut twice) = (0, 0);
        for member in talkers {
            loop {
                let messages = cluster.sandbox.phone_messages(&member.peer).await?;
                let missing = self.missing_at(&member.peer, &messages);
                if missing == 0 || Instant::now() >= deadline {
                    absent += missing;
                    twice += repeated_texts(&messages);
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        section.must_be_zero(absent, "accepted messages did not reach the peer's phone");
        section.must_be_zero(twice, "texts reached a phone under more than one WhatsApp id");
        let (mut log, mut after) = (HashMap::new(), after);
        loop {
            let page = cluster.gateway()?.events(RECEIVED, after).await?;
            let at_end = page.next_after <= after;
            after = page.next_after.max(after);
            let texts = page.data.into_iter().filter_map(|event| event.data.message?.text);
            for text in texts {
                *log.entry(text.body).or_insert(0_usize) += 1;
            }
            let missing = self.arrived.iter().filter(|text| !log.contains_key(*text));
            let missing = missing.count();
            if at_end && (missing == 0 || Instant::now() >= deadline) {
                section.must_be_zero(missing, "messages of phones are not in the event log");
                break;
            }
            if at_end {
                tokio::time::sleep(POLL).await;
            }
        }
        let doubled = self
            .arrived
            .iter()
            .filter(|text| log.get(*text).is_some_and(|count| *count > 1));
        section.must_be_zero(
            doubled.count(),
            "messages of phones are in the event log more than once",
        );
        Ok(())
    }

    /// Texts accepted for a phone that it has not, or under another id.
    fn missing_at(&self, phone: &str, messages: &[PhoneMessage]) -> usize {
        let has = |text: &str, id: &str| {
            let mut same = messages
                .iter()
                .filter(|message| message.text.as_deref() == Some(text));
            same.any(|message| message.whatsapp_id == id)
        };
        let for_phone = self
            .accepted
            .iter()
            .filter(|(text, _)| recipient(text) == Some(phone));
        for_phone.filter(|(text, id)| !has(text, id)).count()
    }
}

/// A text that is sent once, to a phone.
pub fn outbound(run: u32, phone: &str, number: u32) -> String {
    format!("out {run} {phone} {number}")
}

/// A text that a phone sends once.
pub fn inbound(run: u32, phone: &str, number: u32) -> String {
    format!("in {run} {phone} {number}")
}

fn recipient(text: &str) -> Option<&str> {
    text.split(' ').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(ledger: &mut Ledger, text: &str, id: &str, repeats: &[&str]) {
        let repeats = repeats.iter().map(|&why| why.to_owned()).collect();
        ledger.accept(text.to_owned(), id.to_owned(), repeats, Duration::from_millis(5));
    }

    fn message(text: &str, id: &str) -> PhoneMessage {
        PhoneMessage {
            whatsapp_id: id.to_owned(),
            text: Some(text.to_owned()),
        }
    }

    #[test]
    fn what_is_not_at_its_phone_under_its_id_is_missing() {
        let mut ledger = Ledger::default();
        let (first, second) = (outbound(1, "9992", 0), outbound(1, "9992", 1));
        accepted(&mut ledger, &first, "A", &[]);
        accepted(&mut ledger, &second, "B", &[]);
        accepted(&mut ledger, &outbound(1, "9993", 0), "C", &[]);
        let there = [message(&first, "A"), message(&second, "B")];
        assert_eq!(ledger.missing_at("9992", &there), 0);
        assert_eq!(ledger.missing_at("9992", &there[..1]), 1);
        assert_eq!(
            ledger.missing_at("9992", &[message(&first, "A"), message(&second, "X")]),
            1
        );
        assert_eq!(ledger.missing_at("9993", &there), 1);
    }

    #[test]
    fn repetitions_are_counted_by_call_and_by_kind() {
        let mut ledger = Ledger::default();
        accepted(&mut ledger, "a", "A", &[]);
        accepted(
            &mut ledger,
            "b",
            "B",
            &["503 unavailable", "503 unavailable", "cannot connect"],
        );
        let mut section = Section::new("test", serde_json::Value::Null);
        ledger.describe(&mut section);
        assert_eq!(section.value("messages sent meanwhile"), 2.0);
        assert_eq!(section.value("calls that had to be repeated"), 1.0);
        assert!(
            section
                .notes
                .contains(&"2 × 503 unavailable, repeated".to_owned())
        );
    }
}
