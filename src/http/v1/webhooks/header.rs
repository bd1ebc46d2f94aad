//! Which headers a tenant may add to the POSTs of its webhook.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

/// Headers as a body has them: a name that comes twice is refused, rather than one of the two taken.
#[derive(Debug, Default)]
pub struct Headers(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if headers.insert(name, value).is_some() {
                        return Err(A::Error::custom("a header is given more than once"));
                    }
                }
                Ok(Headers(headers))
            }
        }

        deserializer.deserialize_map(Names)
    }
}

/// Headers of one webhook.
pub(super) const COUNT_MAX: usize = 20;
const NAME_BYTES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 1024;

/// Headers that say how the POST is sent, or that Roost sets.
const RESERVED: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-hub-signature",
    "x-hub-signature-256",
];
const RESERVED_FAMILIES: &[&str] = &["proxy-", "sec-", "webhook-"];

/// What an answer shows in place of a value.
const HIDDEN: &str = "***";

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderFault {
    #[error("a name has 1 to {NAME_BYTES_MAX} letters, digits, and characters such as - and _")]
    Name,
    #[error("this header is set by Roost, or says how the call is sent")]
    Reserved,
    #[error("a value has 1 to {VALUE_BYTES_MAX} visible ASCII characters, with spaces between them only")]
    Value,
    #[error("this is what is shown in place of a value; send the value itself")]
    Hidden,
}

impl HeaderFault {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Name | Self::Value | Self::Hidden => "invalid",
            Self::Reserved => "reserved",
        }
    }
}

/// The name in lower case, when the header may be added.
pub(super) fn check(name: &str, value: &str) -> Result<String, HeaderFault> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_token) {
        return Err(HeaderFault::Name);
    }
    let name = name.to_ascii_lowercase();
    let reserved =
        RESERVED.contains(&name.as_str()) || RESERVED_FAMILIES.iter().any(|family| name.starts_with(family));
    if reserved {
        return Err(HeaderFault::Reserved);
    }
    if value == HIDDEN {
        return Err(HeaderFault::Hidden);
    }
    let well_formed = (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && value.trim() == value;
    if well_formed {
        Ok(name)
    } else {
        Err(HeaderFault::Value)
    }
}

/// The pointer of the header with this name.
pub(super) fn pointer(name: &str) -> String {
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    format!("/headers/{}", shown.replace('~', "~0").replace('/', "~1"))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_steer_the_call_are_refused() {
        for name in [
            "Host",
            "content-length",
            "Content-Type",
            "Transfer-Encoding",
            "Connection",
            "Webhook-Id",
            "webhook-signature",
            "X-Hub-Signature-256",
            "User-Agent",
            "Proxy-Authorization",
        ] {
            assert_eq!(check(name, "x"), Err(HeaderFault::Reserved), "{name}");
        }
        assert_eq!(
            check("Authorization", "Bearer abc"),
            Ok("authorization".to_owned())
        );
        assert_eq!(check("X-Api-Key", "a b"), Ok("x-api-key".to_owned()));
    }

    #[test]
    fn names_and_values_cannot_break_out() {
        for name in [
            "",
            "a b",
            "a:b",
            "a\r\nb",
            "\u{e4}",
            &"x".repeat(NAME_BYTES_MAX + 1),
        ] {
            assert_eq!(check(name, "x"), Err(HeaderFault::Name), "{name:?}");
        }
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        for value in ["", " a", "a ", "a\r\nb: c", "a\0b", "\u{e4}", "a\tb", &long] {
            assert_eq!(check("x-a", value), Err(HeaderFault::Value), "{value:?}");
        }
        assert_eq!(check("x-a", "***"), Err(HeaderFault::Hidden));
        assert_eq!(pointer("a/b~c"), "/headers/a~1b~0c");
    }
}
