//! Request bodies: JSON of a known shape, at most so long, every fault with its pointer.

use std::pin::pin;
use std::task::Poll;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use roost_domain::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::idempotency::Repeatable;
use super::place::Place;
use super::problem::{Answer, Problem};
use super::server::TooSlow;
use super::state::Http;
use super::strict::Strict;

/// The body of a call that says nothing but its path. `{}` and an empty body are the same.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A JSON body, refused when it has fields that are not known.
pub struct Body<T>(pub T);

/// A POST: its JSON body, and what makes it repeatable when it has an `Idempotency-Key`.
pub struct Command<T> {
    /// The body.
    pub body: T,
    /// The client's key with the request's fingerprint.
    pub repeatable: Option<Repeatable>,
}

impl<T: DeserializeOwned> FromRequest<Http> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, http: &Http) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts, body, http.config().body_bytes_max).await?;
        check_media_type(&parts.headers, &bytes)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Http> for Command<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, http: &Http) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let key = Repeatable::key(&parts.headers)?;
        let bytes = read(&parts, body, http.config().body_bytes_max).await?;
        check_media_type(&parts.headers, &bytes)?;
        let repeatable = key.map(|key| Repeatable::new(key, &parts.method, parts.uri.path(), &bytes));
        Ok(Self {
            body: parse(&bytes)?,
            repeatable,
        })
    }
}

async fn read(parts: &Parts, body: axum::body::Body, bytes_max: usize) -> Answer<Bytes> {
    let mut arriving = pin!(Limited::new(body, bytes_max).collect());
    let arrived = match (futures::poll!(arriving.as_mut()), parts.extensions.get::<Place>()) {
        // Most bodies come together with their head.
        (Poll::Ready(arrived), _) => arrived,
        (Poll::Pending, Some(place)) => place.while_waiting(arriving).await?,
        (Poll::Pending, None) => arriving.await,
    };
    arrived.map(Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            let detail = format!("the body may have at most {bytes_max} bytes");
            Problem::new(ErrorCode::PayloadTooLarge, detail)
        } else if is_too_slow(error.as_ref()) {
            Problem::new(ErrorCode::BodyTimeout, "the body arrived too slowly")
        } else {
            Problem::new(ErrorCode::InvalidBody, "the body broke off").because(error.to_string())
        }
    })
}

fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<TooSlow>())
}

fn check_media_type(headers: &HeaderMap, body: &[u8]) -> Answer<()> {
    let unsupported = |detail: &str| Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return unsupported("send the body without Content-Encoding");
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return if body.is_empty() {
            Ok(())
        } else {
            unsupported("send Content-Type: application/json")
        };
    };
    let text = value.to_str().unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let other_charset = parameters
        .to_ascii_lowercase()
        .split(';')
        .filter_map(|parameter| {
            parameter
                .trim()
                .strip_prefix("charset=")
                .map(|name| name.trim_matches('"') != "utf-8")
        })
        .any(|other| other);
    if essence.trim().eq_ignore_ascii_case("application/json") && !other_charset {
        Ok(())
    } else {
        unsupported("send Content-Type: application/json, in UTF-8")
    }
}

/// Reads JSON; an empty body is an empty object.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    // Enums with a tag would take an array too, and nothing can hand them what is strict.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let detail = "invalid type: sequence, expected an object";
        return Err(Problem::new(ErrorCode::InvalidBody, detail).at("", "invalid"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Strict(&mut reader)).map_err(|error| {
        let pointer = pointer(error.path(), error.inner());
        fault(error.inner(), &pointer)
    })?;
    reader.end().map_err(|error| fault(&error, ""))?;
    Ok(value)
}

fn fault(error: &serde_json::Error, pointer: &str) -> Problem {
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Data => {
            // The position is of no use to somebody who has the pointer.
            let what = text.split(" at line ").next().unwrap_or(&text).to_owned();
            let code = if what.starts_with("missing field") {
                "missing"
            } else if what.starts_with("unknown field") {
                "unknown_field"
            } else {
                "invalid"
            };
            Problem::new(ErrorCode::InvalidBody, what).at(pointer, code)
        }
        _ => Problem::new(ErrorCode::InvalidBody, format!("not well-formed JSON: {text}"))
            .at(pointer, "syntax"),
    }
}

/// The JSON pointer of the value that is at fault. For a field that is missing or unknown serde
/// reports its parent, and names the field in the message only.
fn pointer(path: &serde_path_to_error::Path, error: &serde_json::Error) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.clone(),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    let text = error.to_string();
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|start| text.strip_prefix(start));
    if let Some(name) = named.and_then(|rest| rest.split('`').next()) {
        let name = name.replace('~', "~0").replace('/', "~1");
        if !pointer.ends_with(&format!("/{name}")) {
            pointer.push('/');
            pointer.push_str(&name);
        }
    }
    pointer
}

/// `None` when a field is absent, `Some(None)` when it is null: a PATCH tells the two apart.
pub fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code, reason = "only its reading is tested")]
        name: String,
        #[allow(dead_code, reason = "only its reading is tested")]
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code, reason = "only its reading is tested")]
        size: u8,
    }

    #[test]
    fn every_fault_has_its_pointer() {
        for (text, pointer) in [
            ("{\"name\": 5}", "/name"),
            ("{}", "/name"),
            ("", "/name"),
            ("{\"name\":\"x\",\"nmae\":1}", "/nmae"),
            (
                "{\"name\":\"x\",\"inner\":[{\"size\":1},{\"size\":300}]}",
                "/inner/1/size",
            ),
            ("{\"name\":\"x\",\"inner\":[{}]}", "/inner/0/size"),
            ("[\"x\", null]", ""),
            ("{\"name\":\"x\",\"inner\":[[1]]}", "/inner/0"),
            (
                "{\"name\":\"x\",\"inner\":[{\"size\":1,\"a/b\":2}]}",
                "/inner/0/a~1b",
            ),
        ] {
            let problem = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.pointers(), [pointer], "{text}");
            assert_eq!(problem.code(), ErrorCode::InvalidBody);
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "{",
            "nonsense",
            "{\"name\":\"x\"} x",
            "[[[[",
            "\u{0}",
            "{\"name\":\"\\ud800\"}",
        ] {
            assert_eq!(
                parse::<Outer>(text.as_bytes()).unwrap_err().code(),
                ErrorCode::InvalidBody,
                "{text}"
            );
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            parse::<Outer>(deep.as_bytes()).unwrap_err().code(),
            ErrorCode::InvalidBody
        );
    }
}
