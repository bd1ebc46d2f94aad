//! One POST: waits for its turn, signs, posts, and says what the answer means.

use std::sync::Arc;
use std::time::Duration;

use roost_domain::event::Event;
use roost_domain::webhook::client::{CallAnswer, CallFailure, OutgoingCall};
use roost_domain::webhook::{ApiVersion, Attempt, AttemptError, Webhook, WebhookSecret};
use tokio::time::Instant;

use super::hosts::HostGate;
use super::machine::Verdict;
use super::signature::{ID, LEGACY, SIGNATURE, Signer, TIMESTAMP, seconds};
use super::{WebhookNode, payload};

/// Bytes of an answer's body that are kept with its attempt.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Where and how a webhook's events are posted.
pub(super) struct Endpoint {
    url: Arc<str>,
    gate: HostGate,
    headers: Vec<(Arc<str>, String)>,
    signer: Signer,
    version: ApiVersion,
    legacy: bool,
    names: [Arc<str>; 4],
}

impl Endpoint {
    pub fn new(shared: &WebhookNode, webhook: &Webhook, secrets: &[WebhookSecret]) -> Self {
        let url: Arc<str> = webhook.url.as_str().into();
        // A URL that is not allowed any more is refused at its POST.
        let host = shared.client.host(&url).unwrap_or_else(|_| Arc::clone(&url));
        let headers = webhook
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase().into(), value.clone()));
        Self {
            gate: shared.hosts.gate(&host),
            headers: headers.collect(),
            signer: Signer::new(secrets),
            version: webhook.api_version,
            legacy: webhook.legacy_signature,
            names: [ID, TIMESTAMP, SIGNATURE, LEGACY].map(Into::into),
            url,
        }
    }

    fn call(&self, event: &Event, at: roost_domain::Timestamp, timeout: Duration) -> OutgoingCall {
        let body = payload::body(event, self.version);
        let [id, timestamp, signature, legacy] = &self.names;
        let mut headers = Vec::with_capacity(self.headers.len() + self.names.len());
        headers.extend(self.headers.iter().cloned());
        headers.push((Arc::clone(id), event.id.to_string()));
        headers.push((Arc::clone(timestamp), seconds(at).to_string()));
        headers.push((Arc::clone(signature), self.signer.sign(event.id, at, &body)));
        if self.legacy
            && let Some(value) = self.signer.sign_legacy(&body)
        {
            headers.push((Arc::clone(legacy), value));
        }
        OutgoingCall {
            url: Arc::clone(&self.url),
            headers,
            body,
            timeout,
        }
    }
}

/// Posts an event once. `None` when this node may not post any more.
pub(super) async fn post(
    shared: &WebhookNode,
    endpoint: &Endpoint,
    event: &Event,
    number: u32,
) -> Option<(Attempt, Verdict, Duration)> {
    let _turn = endpoint.gate.turn().await?;
    if !shared.node.placement.holds_lease() {
        return None;
    }
    let (at, begun) = (shared.node.clock.now(), Instant::now());
    let call = endpoint.call(event, at, shared.settings.timeout);
    let result = shared.client.post(call).await;
    let took = begun.elapsed();
    let verdict = verdict(&result);
    shared
        .counters
        .attempt(verdict == Verdict::Delivered, result.as_ref().err());
    let mut attempt = Attempt {
        number,
        at,
        duration_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        status: None,
        error: None,
        answer: None,
    };
    match result {
        Ok(answer) => {
            attempt.status = Some(answer.status);
            attempt.answer = text(&answer);
        }
        Err(failure) => {
            attempt.error = Some(AttemptError {
                code: failure.code().to_owned(),
                detail: failure.to_string(),
            });
        }
    }
    Some((attempt, verdict, took))
}

/// Its status alone decides: 2xx is delivered, everything else is not, redirects included.
fn verdict(result: &Result<CallAnswer, CallFailure>) -> Verdict {
    match result {
        Ok(answer) => match (answer.status, answer.retry_after) {
            (200..=299, _) => Verdict::Delivered,
            (410, _) => Verdict::Gone,
            (429 | 503, Some(wait)) => Verdict::Pause(wait),
            _ => Verdict::Failed,
        },
        Err(_) => Verdict::Failed,
    }
}

/// The beginning of a body, as far as it is text.
fn text(answer: &CallAnswer) -> Option<String> {
    let bytes = &answer.body[..answer.body.len().min(ANSWER_BYTES_MAX)];
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    // PostgreSQL's texts have no zero byte.
    (!text.is_empty()).then(|| text.replace('\0', "\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<u64>, body: &[u8]) -> CallAnswer {
        CallAnswer {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body: bytes::Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn the_status_decides() {
        let wait = Duration::from_secs(7);
        for (status, retry_after, expected) in [
            (200, None, Verdict::Delivered),
            (204, Some(7), Verdict::Delivered),
            (299, None, Verdict::Delivered),
            (301, None, Verdict::Failed),
            (304, None, Verdict::Failed),
            (400, Some(7), Verdict::Failed),
            (410, Some(7), Verdict::Gone),
            (429, Some(7), Verdict::Pause(wait)),
            (429, None, Verdict::Failed),
            (500, Some(7), Verdict::Failed),
            (503, Some(7), Verdict::Pause(wait)),
            (503, None, Verdict::Failed),
        ] {
            assert_eq!(
                verdict(&Ok(answer(status, retry_after, b""))),
                expected,
                "{status}"
            );
        }
        assert_eq!(
            verdict(&Err(CallFailure::Timeout(String::new()))),
            Verdict::Failed
        );
    }

    #[test]
    fn of_an_answer_the_text_at_its_beginning_is_kept() {
        assert_eq!(text(&answer(200, None, b"")), None);
        assert_eq!(text(&answer(200, None, b"ok\xff\xfe")), Some("ok".to_owned()));
        assert_eq!(text(&answer(200, None, b"\xff")), None);
        assert_eq!(text(&answer(200, None, b"a\0b")), Some("a\u{fffd}b".to_owned()));
        let long = "\u{e9}".repeat(4096);
        assert_eq!(text(&answer(200, None, long.as_bytes())).unwrap().len(), 4096);
    }
}
