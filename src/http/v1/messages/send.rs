//! `POST /v1/instances/{id}/messages`

use crate::http::openapi::param::{AddressText, Repeatable};
use roost_domain::ErrorCode;
use roost_domain::message::Message;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::CallError;
use roost_actors::instance::{ReplyTo, SendRequest};
use roost_domain::message::{Content, TEXT_BYTES_MAX, TextBody};
use roost_domain::store::Outcome;
use roost_domain::{Address, InstanceId, MessageId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::body::Command;
use crate::http::call::Call;
use crate::http::idempotency::replayed;
use crate::http::params::{Id, Params};
use crate::http::problem::{Answer, FieldError, Problem};

const WHATSAPP_ID_BYTES_MAX: usize = 128;
const WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    as = SendMessage,
    example = json!({"to": "+4915550002", "type": "text", "text": {"body": "Hello"}})
)]
pub struct Send {
    /// Who gets it.
    #[schema(value_type = AddressText)]
    to: String,
    /// What kind of message it is.
    #[schema(pattern = "^text$", example = "text")]
    r#type: String,
    /// The text; needed when `type` is `text`.
    #[schema(value_type = TextBody)]
    text: Option<TextBody>,
    /// The message that it answers: its id here or on WhatsApp.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[!-~]+$",
        example = "3EB09F97A468E24DE056C6"
    )]
    reply_to: Option<String>,
}

/// How long to wait.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct Wait {
    /// `server_ack`: the answer waits for WhatsApp's server.
    #[param(pattern = "^server_ack$", example = "server_ack")]
    wait: Option<String>,
    /// For how long, in milliseconds; only together with `wait`.
    #[param(minimum = 1, default = 10_000)]
    timeout_ms: Option<u64>,
}

/// Send a message.
///
/// Makes a message durable and answers; it is sent after that. With `wait=server_ack` the answer
/// waits for WhatsApp's server, and comes without it when the time is over.
#[utoipa::path(
    post, path = "/instances/{id}/messages", operation_id = "send_message", tag = "messages",
    params(("id" = InstanceId, Path, description = "The instance"), Wait, Repeatable),
    request_body(content = Send, description = "The message"),
    responses(
        (
            status = 202, description = "Durable; with `wait=server_ack` as it was when the wait ended",
            body = Message, headers(("Location" = String, description = "Its path")),
        ),
    ),
    extensions(
        ("x-scope" = json!("messages:send")),
        ("x-errors" = json!([
            ErrorCode::WrongState,
            ErrorCode::UnsupportedRecipient,
            ErrorCode::PolicyViolation,
            ErrorCode::LimitReached
        ])),
    )
)]
pub async fn send(
    Allowed { tenant, .. }: Allowed<scope::MessagesSend>,
    State(http): State<Http>,
    call: Call,
    Id(id): Id<InstanceId>,
    mut params: Params,
    command: Command<Send>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let wait = wait(&mut params, http.config().wait_max)?;
    let (to, content, reply_to) = command.body.check()?;
    let status = StatusCode::ACCEPTED;
    let stamp = call.stamp(gateway, command.repeatable, status);
    let taken = call.take_message(gateway).await?;
    let request = SendRequest {
        to,
        content,
        reply_to,
        wait,
    };
    let sent = gateway.instances.send(tenant, id, request, stamp).await;
    // What was not accepted now does not count; after a time-out nobody knows.
    if !matches!(sent, Ok(Outcome::Done(_)) | Err(CallError::Timeout)) {
        gateway.limiter.return_message(taken);
    }
    match sent? {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(message) => {
            let location = format!("/v1/messages/{}", message.id);
            Ok((status, [(header::LOCATION, location)], Json(message)).into_response())
        }
    }
}

fn wait(params: &mut Params, most: Duration) -> Answer<Option<Duration>> {
    let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let wanted = params.parsed("wait", |name| {
        if name == "server_ack" {
            Ok(())
        } else {
            Err("expected server_ack")
        }
    });
    let timeout_ms = params.number("timeout_ms", 1..=most_ms);
    if timeout_ms.is_some() && wanted.is_none() {
        params.fault("timeout_ms", "invalid", "only together with wait=server_ack");
    }
    params.finish()?;
    Ok(wanted.map(|()| timeout_ms.map_or(WAIT_DEFAULT.min(most), Duration::from_millis)))
}

impl Send {
    /// Everything that is wrong with it is reported at once.
    fn check(self) -> Answer<(Address, Content, Option<ReplyTo>)> {
        let mut errors = Vec::new();
        let mut fault = |pointer: &str, code: &'static str, detail: String| {
            errors.push(FieldError {
                pointer: pointer.to_owned(),
                detail,
                code,
            });
        };
        let to = self
            .to
            .parse::<Address>()
            .map_err(|error| fault("/to", "invalid", error.to_string()))
            .ok();
        if self.r#type != "text" {
            fault("/type", "unsupported", "expected text".into());
        }
        match &self.text {
            None => fault("/text", "missing", "needed when type is text".into()),
            Some(text) if text.body.is_empty() => fault("/text/body", "empty", "the text is empty".into()),
            Some(text) if text.body.len() > TEXT_BYTES_MAX => {
                fault(
                    "/text/body",
                    "too_long",
                    format!("at most {TEXT_BYTES_MAX} bytes of UTF-8"),
                );
            }
            Some(_) => {}
        }
        let reply_to = self
            .reply_to
            .map(|text| reply_to(text).map_err(|detail| fault("/reply_to", "invalid", detail)));
        let reply_to = reply_to.and_then(Result::ok);
        match (to, self.text) {
            (Some(to), Some(text)) if errors.is_empty() => Ok((to, Content::Text { text }, reply_to)),
            _ => Err(Problem::fields(errors)),
        }
    }
}

/// A message's id here, or its id on WhatsApp.
fn reply_to(text: String) -> Result<ReplyTo, String> {
    if text.starts_with(MessageId::PREFIX) && text.as_bytes().get(MessageId::PREFIX.len()) == Some(&b'_') {
        return text
            .parse()
            .map(ReplyTo::Message)
            .map_err(|error: roost_domain::id::IdError| error.to_string());
    }
    if (1..=WHATSAPP_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(ReplyTo::WhatsappId(text))
    } else {
        Err("expected the id of a message (msg_…), or its id on WhatsApp".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        to: &str,
        kind: &str,
        body: Option<&str>,
        reply_to: Option<&str>,
    ) -> Answer<(Address, Content, Option<ReplyTo>)> {
        Send {
            to: to.into(),
            r#type: kind.into(),
            text: body.map(|body| TextBody { body: body.into() }),
            reply_to: reply_to.map(Into::into),
        }
        .check()
    }

    #[test]
    fn every_fault_of_a_message_is_pointed_at() {
        assert!(check("+4915112345678", "text", Some("hi"), Some("3EB0AA")).is_ok());
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for (problem, pointers) in [
            (
                check("me", "image", None, Some("a b")),
                vec!["/to", "/type", "/text", "/reply_to"],
            ),
            (
                check("+4915112345678", "text", Some(""), None),
                vec!["/text/body"],
            ),
            (
                check("+4915112345678", "text", Some(&long), None),
                vec!["/text/body"],
            ),
            (
                check("+4915112345678", "text", Some("hi"), Some("msg_x")),
                vec!["/reply_to"],
            ),
            (
                check("+4915112345678", "text", Some("hi"), Some("")),
                vec!["/reply_to"],
            ),
        ] {
            assert_eq!(problem.unwrap_err().pointers(), pointers);
        }
    }
}
