//! What stands before the nodes for their clients, as a load balancer would: one node after the other is
//! asked until one does it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{HttpError, LoadError, Result, chain};
use crate::http::{Answer, Call, Client, Endpoint};

/// How long a client waits when no node has done it.
const PAUSE: Duration = Duration::from_millis(50);

/// The nodes as their clients know them.
#[derive(Debug, Default)]
pub struct Front {
    nodes: Mutex<Vec<Arc<Client>>>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Done {
    pub answer: Answer,
    /// How it was refused before, by kind.
    pub repeats: Vec<String>,
    /// From the first attempt to the answer.
    pub took: Duration,
}

impl Front {
    /// Clients ask these nodes from now on.
    pub fn face(&self, nodes: impl IntoIterator<Item = Endpoint>) {
        let clients = nodes.into_iter().map(|node| Arc::new(Client::new(node)));
        // A panic cannot leave a list of clients half changed.
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = clients.collect();
    }

    fn nodes(&self) -> Vec<Arc<Client>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the nodes in turns, from this one on, until one has done it. A call that may be repeated is
    /// repeated for at most `limit`; a refusal that stays the same is an error at once.
    pub async fn call(&self, from: usize, call: &Call, limit: Duration) -> Result<Done> {
        let begun = Instant::now();
        let mut repeats = Vec::new();
        loop {
            let nodes = self.nodes();
            for turn in 0..nodes.len() {
                let answer = nodes[(from + turn) % nodes.len()].call(call).await;
                match verdict(answer) {
                    Verdict::Done(answer) => {
                        let took = begun.elapsed();
                        return Ok(Done {
                            answer,
                            repeats,
                            took,
                        });
                    }
                    Verdict::Repeat(why) => repeats.push(why),
                    Verdict::Refused(answer) => {
                        return Err(LoadError::Refused {
                            call: format!("{} {}", call.method, call.path),
                            status: answer.status,
                            body: String::from_utf8_lossy(&answer.body).into_owned(),
                        });
                    }
                }
            }
            if begun.elapsed() > limit {
                return Err(LoadError::Stuck {
                    phase: format!("{} {}", call.method, call.path),
                    progress: format!("no node does it: {:?}", repeats.last()),
                    limit,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

enum Verdict {
    Done(Answer),
    Repeat(String),
    Refused(Answer),
}

/// What a client makes of an answer: what names itself retryable, and what broke, it repeats.
fn verdict(answer: Result<Answer, HttpError>) -> Verdict {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
        #[serde(default)]
        retryable: bool,
    }
    let answer = match answer {
        Ok(answer) if (200..300).contains(&answer.status) => return Verdict::Done(answer),
        Ok(answer) => answer,
        Err(error @ HttpError::Connect(_)) => return Verdict::Repeat(error.to_string()),
        Err(error) => return Verdict::Repeat(chain(&error)),
    };
    let busy = matches!(answer.status, 429 | 503);
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) if problem.retryable || busy => {
            Verdict::Repeat(format!("{} {}", answer.status, problem.code))
        }
        Err(_) if busy => Verdict::Repeat(answer.status.to_string()),
        _ => Verdict::Refused(answer),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(status: u16, body: &'static str) -> Result<Answer, HttpError> {
        let body = Bytes::from_static(body.as_bytes());
        Ok(Answer { status, body })
    }

    #[test]
    fn what_is_retryable_is_repeated_and_what_is_wrong_is_not() {
        let wrong = r#"{"code":"invalid","retryable":false}"#;
        assert!(matches!(verdict(answer(202, "{}")), Verdict::Done(_)));
        assert!(matches!(verdict(answer(422, wrong)), Verdict::Refused(_)));
        assert!(matches!(verdict(answer(404, "not found")), Verdict::Refused(_)));
        let busy = verdict(answer(503, r#"{"code":"unavailable"}"#));
        assert!(matches!(busy, Verdict::Repeat(why) if why == "503 unavailable"));
        let under_way = verdict(answer(
            409,
            r#"{"code":"idempotency_in_progress","retryable":true}"#,
        ));
        assert!(matches!(under_way, Verdict::Repeat(_)));
        let broken = verdict(Err(HttpError::Timeout(Duration::from_secs(1))));
        assert!(matches!(broken, Verdict::Repeat(_)));
    }

    #[tokio::test]
    async fn a_call_ends_when_no_node_does_it() {
        let front = Front::default();
        let call = Call::get("/v1/instances");
        let stuck = front.call(0, &call, Duration::ZERO).await.unwrap_err();
        assert!(matches!(stuck, LoadError::Stuck { .. }));
        // Nobody listens there.
        front.face([Endpoint::new(([127, 0, 0, 1], 9).into(), None).unwrap()]);
        let error = front.call(0, &call, Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("no node does it"), "{error}");
    }
}
