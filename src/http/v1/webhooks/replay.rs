//! `POST /v1/webhooks/{id}/replay`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_actors::webhook::ReplayRequest;
use roost_actors::webhook::ReplayStarted;
use roost_domain::ErrorCode;
use roost_domain::{EventId, Timestamp, WebhookId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

const EVENTS_MAX: usize = 500;

/// What is to be delivered again: one of a range of time, some events, or what has failed since.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayWebhook, example = json!({"failed_since": "2026-11-23T06:00:00Z"}))]
pub struct Replay {
    /// Every event written since then.
    #[schema(value_type = Option<Timestamp>)]
    from: Option<String>,
    /// Together with `from`: and before; now when absent.
    #[schema(value_type = Option<Timestamp>)]
    to: Option<String>,
    /// These events.
    #[schema(value_type = Option<Vec<EventId>>, min_items = 1, max_items = 500)]
    event_ids: Option<Vec<String>>,
    /// Every dead letter whose event was written since then.
    #[schema(value_type = Option<Timestamp>)]
    failed_since: Option<String>,
}

/// Replay events.
///
/// Delivers events again, beside those that come in. Their ids are the same as the first time.
#[utoipa::path(
    post, path = "/webhooks/{id}/replay", operation_id = "replay_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Repeatable),
    request_body(content = Replay, description = "Which events: say it in one of three ways"),
    responses((status = 202, description = "Begun", body = ReplayStarted)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::LimitReached, ErrorCode::WrongState, ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn replay(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Replay>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let request = command.body.check(gateway.clock.now())?;
    once(gateway, tenant, command.repeatable, StatusCode::ACCEPTED, async {
        Ok(gateway.webhooks.replay(tenant, id, request).await?)
    })
    .await
}

impl Replay {
    fn check(self, now: Timestamp) -> Answer<ReplayRequest> {
        let mut faults = Faults::default();
        let range = self.from.is_some() || self.to.is_some();
        let kinds = [range, self.event_ids.is_some(), self.failed_since.is_some()];
        if kinds.iter().filter(|&&given| given).count() != 1 {
            let detail = "say one of: from (and to), event_ids, failed_since";
            faults.add("", "invalid", detail);
        }
        let time = |faults: &mut Faults, pointer: &str, text: Option<String>| {
            text.and_then(|text| faults.take(pointer, text.parse::<Timestamp>()))
        };
        if self.to.is_some() && self.from.is_none() {
            faults.add("/from", "missing", "needed together with to");
        }
        let from = time(&mut faults, "/from", self.from);
        let to = time(&mut faults, "/to", self.to).unwrap_or(now);
        let failed_since = time(&mut faults, "/failed_since", self.failed_since);
        if from.is_some_and(|from| from >= to) {
            faults.add("/to", "out_of_range", "must be later than from");
        }
        let events = self.event_ids.map(|texts| {
            if texts.is_empty() {
                faults.add("/event_ids", "empty", "name at least one event");
            }
            faults.list("/event_ids", EVENTS_MAX, &texts, str::parse::<EventId>)
        });
        faults.finish()?;
        Ok(match (from, events, failed_since) {
            (_, Some(events), _) => ReplayRequest::Events(events),
            (_, None, Some(since)) => ReplayRequest::FailedSince(since),
            // Without any of them there is a fault above.
            (from, None, None) => ReplayRequest::Range {
                from: from.unwrap_or(now),
                to,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::http::body;

    use super::*;

    fn check(text: &str) -> Answer<ReplayRequest> {
        let now = Timestamp::from_unix_ms(1_800_000_000_000);
        body::parse::<Replay>(text.as_bytes())?.check(now)
    }

    #[test]
    fn a_replay_says_what_in_one_way() {
        for good in [
            r#"{"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"}"#,
            r#"{"from":"2026-01-01T00:00:00Z"}"#,
            r#"{"failed_since":"2026-01-01T00:00:00Z"}"#,
            r#"{"event_ids":["evt_01M83J168ECBD4ADBYB5HRS08V"]}"#,
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for (bad, pointers) in [
            ("{}", vec![""]),
            (
                r#"{"event_ids":[],"failed_since":"x"}"#,
                vec!["", "/failed_since", "/event_ids"],
            ),
            (r#"{"to":"2026-01-02T00:00:00Z"}"#, vec!["/from"]),
            (r#"{"from":"soon"}"#, vec!["/from"]),
            (
                r#"{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}"#,
                vec!["/to"],
            ),
            (r#"{"event_ids":["msg_1"]}"#, vec!["/event_ids/0"]),
        ] {
            assert_eq!(check(bad).unwrap_err().pointers(), pointers, "{bad}");
        }
        let many = vec!["x"; EVENTS_MAX + 1];
        let many = serde_json::json!({"event_ids": many}).to_string();
        assert_eq!(check(&many).unwrap_err().pointers(), ["/event_ids"]);
    }
}
