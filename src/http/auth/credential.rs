//! What a request shows to say who it is: an API key in a header, or, to open a stream, a token in the
//! URL.

use axum::extract::MatchedPath;
use axum::http::{Extensions, HeaderMap, HeaderName, Method, Uri, header};

use super::authenticate::refused;
use super::stream_token::StreamToken;
use crate::api_key::KeyText;
use crate::http::problem::Answer;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Routes that take a stream token. Browsers cannot set a header where they open these.
const STREAMS: [&str; 2] = ["/v1/events", "/v1/events/ws"];
/// Parameter that holds a stream token.
pub const TOKEN: &str = "token";

/// A credential of the right form.
pub enum Shown {
    /// An API key.
    Key(KeyText),
    /// A stream token.
    Token(StreamToken),
}

impl Shown {
    /// Reads the credential of a request.
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> Answer<Self> {
        let takes_token = *method == Method::GET
            && extensions
                .get::<MatchedPath>()
                .is_some_and(|path| STREAMS.contains(&path.as_str()));
        let token = takes_token.then(|| token(uri)).flatten();
        let bearer = headers.get_all(header::AUTHORIZATION);
        let plain = headers.get_all(X_API_KEY);
        let mut given = bearer.iter().chain(plain.iter());
        let Some(value) = given.next() else {
            return match token {
                Some(text) => StreamToken::parse(&text)
                    .map(Self::Token)
                    .ok_or_else(|| refused("this is not a stream token; POST /v1/stream-tokens makes one")),
                None => Err(refused(
                    "send an API key as Authorization: Bearer <key> or X-API-Key: <key>",
                )),
            };
        };
        if given.next().is_some() || token.is_some() {
            return Err(refused(
                "send one credential: Authorization, X-API-Key or a stream token",
            ));
        }
        let text = value.to_str().unwrap_or_default();
        let text = if headers.contains_key(header::AUTHORIZATION) {
            match text.split_once(' ') {
                Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
                _ => return Err(refused("send Authorization: Bearer <API key>")),
            }
        } else {
            text
        };
        KeyText::parse(text)
            .map(Self::Key)
            .ok_or_else(|| refused("this is not an API key; keys begin with rst_"))
    }

    /// Public part of the key's text by which its row is found.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Key(key) => key.prefix(),
            Self::Token(token) => token.prefix(),
        }
    }
}

/// The first one; the handler refuses a second as it refuses every parameter that is given twice.
fn token(uri: &Uri) -> Option<String> {
    url::form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(name, _)| name == TOKEN)
        .map(|(_, value)| value.into_owned())
}
