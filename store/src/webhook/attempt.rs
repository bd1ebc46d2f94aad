//! Attempts as they are kept: one line of JSON each, in the row of their delivery.

use std::fmt::Write as _;

use roost_domain::store::StoreError;
use roost_domain::webhook::{Attempt, AttemptError};
use roost_domain::{Timestamp, WebhookId};
use serde::{Deserialize, Serialize};

use crate::crypto::{Place, TenantKey};

/// Attempts kept per delivery: the last ones.
pub(super) const KEPT_MAX: u32 = 64;
/// Bytes kept of an answer, and of what is said of a failure.
const ANSWER_BYTES_MAX: usize = 4096;
const DETAIL_BYTES_MAX: usize = 512;

/// Nearly every delivery has one of these, so names are short and what is empty is left out.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    n: u32,
    at: i64,
    ms: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    code: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    detail: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    answer: Option<std::borrow::Cow<'a, str>>,
}

/// Adds an attempt's line.
pub(super) fn write(lines: &mut String, attempt: &Attempt) {
    let line = Line {
        n: attempt.number,
        at: attempt.at.unix_ms(),
        ms: attempt.duration_ms,
        status: attempt.status,
        code: attempt.error.as_ref().map(|error| (&*error.code).into()),
        detail: attempt
            .error
            .as_ref()
            .map(|error| cut(&error.detail, DETAIL_BYTES_MAX).into()),
        answer: attempt
            .answer
            .as_ref()
            .filter(|answer| !answer.is_empty())
            .map(|answer| cut(answer, ANSWER_BYTES_MAX).into()),
    };
    // A struct of numbers and texts can always be written; so can a String.
    let json = serde_json::to_string(&line).unwrap_or_default();
    let _ = writeln!(lines, "{json}");
}

/// Whether a line has words in it, an endpoint's or those of a failure, which may repeat what was sent.
pub(crate) fn is_secret(line: &str) -> bool {
    // In a JSON string a quotation mark has a backslash before it: these are names of fields.
    line.contains("\"answer\":") || line.contains("\"detail\":")
}

/// Lines as they are stored: those with words sealed, and all of them where messages are.
pub(super) fn seal(
    lines: &str,
    key: &TenantKey,
    webhook: WebhookId,
    seq: i64,
    all: bool,
) -> Result<String, StoreError> {
    let key = key.deliveries(webhook, seq);
    let mut stored = String::with_capacity(lines.len());
    for line in lines.lines() {
        if all || is_secret(line) {
            stored.push_str(&key.seal_text(Place::Attempt { seq }, line)?);
        } else {
            stored.push_str(line);
        }
        stored.push('\n');
    }
    Ok(stored)
}

/// The last lines, as many as are kept.
pub(super) fn last(lines: &str) -> &str {
    let mut ends = lines.rmatch_indices('\n').map(|(at, _)| at);
    // Each line has its end, so that of the line before the first one kept is one further.
    ends.nth(KEPT_MAX as usize).map_or(lines, |end| &lines[end + 1..])
}

/// Reads lines as they are stored.
pub(super) fn read(
    lines: &str,
    key: &TenantKey,
    webhook: WebhookId,
    seq: i64,
) -> Result<Vec<Attempt>, StoreError> {
    let key = key.deliveries(webhook, seq);
    let open = |line| key.open_text(Place::Attempt { seq }, line);
    last(lines).lines().map(|line| read_one(&open(line)?)).collect()
}

fn read_one(line: &str) -> Result<Attempt, StoreError> {
    let line: Line<'_> = serde_json::from_str(line)
        .map_err(|_| StoreError::Corrupt("a delivery's attempt cannot be read".to_owned()))?;
    let error = line.code.map(|code| AttemptError {
        code: code.into_owned(),
        detail: line.detail.unwrap_or_default().into_owned(),
    });
    Ok(Attempt {
        number: line.n,
        at: Timestamp::from_unix_ms(line.at),
        duration_ms: line.ms,
        status: line.status,
        error,
        answer: line.answer.map(std::borrow::Cow::into_owned),
    })
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roost_domain::TenantId;
    use roost_domain::time::Entropy;

    use super::*;
    use crate::crypto::Keyring;
    use crate::{MasterKey, MasterKeys};

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
        }
    }

    fn key() -> Arc<TenantKey> {
        let keys = MasterKeys::one(MasterKey::from_bytes([1; 32]));
        Keyring::new(&keys, false, Arc::new(Zeros)).tenant(TenantId::from_parts(1, 1), b"salt")
    }

    fn opened(lines: &str) -> Vec<Attempt> {
        read(lines, &key(), WebhookId::from_parts(1, 1), 1).unwrap()
    }

    fn attempt(number: u32) -> Attempt {
        Attempt {
            number,
            at: Timestamp::from_unix_ms(1_700_000_000_000),
            duration_ms: 12,
            status: None,
            error: Some(AttemptError {
                code: "timeout".to_owned(),
                detail: "no answer\nin \"time\"".to_owned(),
            }),
            answer: None,
        }
    }

    #[test]
    fn an_attempt_is_read_as_it_was_written() {
        let answered = Attempt {
            status: Some(503),
            error: None,
            answer: Some("later\u{0}\n\u{2028}".to_owned()),
            ..attempt(2)
        };
        let mut lines = String::new();
        write(&mut lines, &attempt(1));
        write(&mut lines, &answered);
        assert_eq!(opened(&lines), [attempt(1), answered]);
        assert!(opened("").is_empty());
    }

    #[test]
    fn the_last_attempts_are_kept() {
        let mut lines = String::new();
        for number in 1..=KEPT_MAX {
            write(&mut lines, &attempt(number));
        }
        assert_eq!(last(&lines), lines);
        write(&mut lines, &attempt(KEPT_MAX + 1));
        let kept = opened(last(&lines));
        assert_eq!(kept.len(), KEPT_MAX as usize);
        assert_eq!((kept[0].number, kept[63].number), (2, 65));
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let long = Attempt {
            answer: Some("\u{20AC}".repeat(2000)),
            ..attempt(1)
        };
        let mut lines = String::new();
        write(&mut lines, &long);
        let kept = opened(&lines).remove(0).answer.unwrap();
        assert_eq!(kept.len(), 4095);
    }

    #[test]
    fn an_attempt_with_words_is_sealed_and_one_of_numbers_only_where_messages_are() {
        let plain = Attempt {
            status: Some(200),
            error: None,
            ..attempt(1)
        };
        let echo = Attempt {
            status: Some(200),
            error: None,
            answer: Some("x-secret: \"detail\":".to_owned()),
            ..attempt(2)
        };
        let mut lines = String::new();
        for one in [&plain, &echo, &attempt(3)] {
            write(&mut lines, one);
        }
        let hook = WebhookId::from_parts(1, 1);
        let kinds = |all| {
            let stored = seal(&lines, &key(), hook, 1, all).unwrap();
            assert_eq!(opened(&stored), [plain.clone(), echo.clone(), attempt(3)]);
            let sealed: Vec<_> = stored.lines().map(|line| line.starts_with("$1$")).collect();
            sealed
        };
        assert_eq!(kinds(false), [false, true, true]);
        assert_eq!(kinds(true), [true, true, true]);
        let stored = seal(&lines, &key(), hook, 1, true).unwrap();
        assert!(read(&stored, &key(), hook, 2).is_err());
    }
}
