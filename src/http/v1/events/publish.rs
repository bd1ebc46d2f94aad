//! `POST /v1/events`: a tenant's own event in its log.

use crate::http::openapi::param::{AddressText, Repeatable};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use roost_actors::CallError;
use roost_actors::webhook::PublishEvent;
use roost_domain::event::Event;
use roost_domain::event::{CUSTOM_TYPE_CHARS_MAX, CustomType};
use roost_domain::store::Outcome;
use roost_domain::{Address, ErrorCode, InstanceId};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::http::auth::{Allowed, scope};
use crate::http::body::Command;
use crate::http::call::Call;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::{Answer, Problem};
use crate::http::{Http, json_text};

/// What makes an event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PublishEvent, example = json!({"type": "custom.order.paid", "data": {"order": 7}}))]
pub struct Publish {
    /// `custom.` and a name of one's own.
    #[schema(
        max_length = 100,
        pattern = r"^custom(\.[a-z0-9_-]+)+$",
        example = "custom.order.paid"
    )]
    r#type: String,
    /// Any JSON.
    #[schema(value_type = Value, example = json!({"order": 7}))]
    data: Box<RawValue>,
    /// Instance that it is about.
    #[schema(value_type = Option<InstanceId>)]
    instance_id: Option<String>,
    /// Chat that it is about.
    #[schema(value_type = Option<AddressText>)]
    chat: Option<String>,
}

/// Publish an event.
///
/// Appends an event; it is in the log, with its number, when this answers.
#[utoipa::path(
    post, path = "/events", operation_id = "publish_event", tag = "events",
    params(Repeatable),
    request_body(content = Publish, description = "The event"),
    responses((status = 201, description = "In the log", body = Event)),
    extensions(
        ("x-scope" = json!("events:write")),
        ("x-unbound" = json!("without instance_id")),
        ("x-errors" = json!([ErrorCode::LimitReached])),
    )
)]
pub async fn publish(
    Allowed { tenant, caller, .. }: Allowed<scope::EventsWrite>,
    State(http): State<Http>,
    call: Call,
    _: NoParams,
    command: Command<Publish>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let status = StatusCode::CREATED;
    let stamp = call.stamp(gateway, command.repeatable, status);
    let event = command.body.check(http.webhooks().event_data_bytes_max)?;
    match event.instance_id {
        Some(instance) => caller.reaches(instance)?,
        None => caller.unbound()?,
    }
    gateway.limiter.storage(&call).await?;
    let published = gateway.webhooks.publish(tenant, event, stamp).await;
    let published = published.map_err(|error| match error {
        // Nothing else is looked up for it.
        CallError::NotFound => Problem::field("/instance_id", "not_found", "there is no such instance"),
        error => error.into(),
    })?;
    match published {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(event) => Ok((status, Json(event.as_ref())).into_response()),
    }
}

impl Publish {
    fn check(self, data_bytes_max: usize) -> Answer<PublishEvent> {
        let mut faults = Faults::default();
        let kind = CustomType::from_name(&self.r#type).ok_or_else(|| {
            format!(
                "expected custom. and a name of a-z, 0-9, _, - and ., at most {CUSTOM_TYPE_CHARS_MAX} characters"
            )
        });
        let kind = faults.take("/type", kind);
        let instance_id = self
            .instance_id
            .and_then(|text| faults.take("/instance_id", text.parse::<InstanceId>()));
        let chat = self
            .chat
            .and_then(|text| faults.take("/chat", text.parse::<Address>()));
        let data = faults.take("/data", json_text::compact(&self.data));
        if data
            .as_ref()
            .is_some_and(|data| data.get().len() > data_bytes_max)
        {
            let detail = format!("at most {data_bytes_max} bytes");
            faults.add("/data", "too_long", detail);
        }
        match (kind, data) {
            (Some(kind), Some(data)) if faults.is_empty() => Ok(PublishEvent {
                kind,
                instance_id,
                chat,
                data,
            }),
            _ => Err(faults.into_problem()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::body;

    use super::*;

    fn check(text: &str) -> Answer<PublishEvent> {
        body::parse::<Publish>(text.as_bytes())?.check(16)
    }

    #[test]
    fn an_event_keeps_what_it_was_given() {
        let event =
            check(r#"{"type":"custom.order.paid","data": {"a": 1.50},"chat":"+4915550002"}"#).unwrap();
        assert_eq!(event.data.get(), r#"{"a":1.50}"#);
        assert_eq!(event.chat.unwrap().to_string(), "4915550002@s.whatsapp.net");
        assert_eq!(
            check(r#"{"type":"custom.a","data":null}"#).unwrap().data.get(),
            "null"
        );
    }

    #[test]
    fn every_fault_of_an_event_is_pointed_at() {
        for (text, pointers) in [
            (r#"{"type":"message.received","data":1}"#, vec!["/type"]),
            (r#"{"type":"custom.a"}"#, vec!["/data"]),
            (r#"{"type":"custom.a","data":"12345678901234567"}"#, vec!["/data"]),
            (r#"{"type":"custom.a","data":"\ud800"}"#, vec!["/data"]),
            (
                r#"{"type":"a","data":1,"instance_id":"x","chat":"y"}"#,
                vec!["/type", "/instance_id", "/chat"],
            ),
            (r#"{"type":"custom.a","data":1,"seq":1}"#, vec!["/seq"]),
        ] {
            assert_eq!(check(text).unwrap_err().pointers(), pointers, "{text}");
        }
    }
}
