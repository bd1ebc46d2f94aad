//! Identifiers: a type prefix and a ULID, so that an id says what it names and sorts by age.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::schema::{self, schema};

/// Why a text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}_<26 characters>")]
pub struct IdError {
    /// Prefix of the kind that was expected, without the underscore.
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// Prefix of this kind of id, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id from the milliseconds since the epoch and 80 random bits.
            pub const fn from_parts(unix_ms: u64, random: u128) -> Self {
                Self(Ulid::from_parts(unix_ms, random))
            }

            /// The 128 bits behind the text.
            pub fn to_u128(self) -> u128 {
                self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let rest = text.strip_prefix(concat!($prefix, "_")).ok_or(error.clone())?;
                let ulid = Ulid::from_string(rest).map_err(|_| error.clone())?;
                // Only the canonical spelling is an id: otherwise one thing would have many names.
                if ulid.to_string() == rest { Ok(Self(ulid)) } else { Err(error) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        schema!(
            $name,
            schema::text(
                concat!($($doc),*).trim(),
                concat!("^", $prefix, "_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
                concat!($prefix, "_01M83J15SSHV9877HVE7NJHCGD"),
            )
        );

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/** A tenant: the unit of isolation and billing. */ TenantId, "ten");
id!(/** A credential of a tenant. */ ApiKeyId, "key");
id!(/** One act in the audit log. */ AuditEventId, "aud");
id!(/** One WhatsApp number. */ InstanceId, "ins");
id!(/** One WhatsApp message, in or out. WhatsApp's own id is kept apart. */ MessageId, "msg");
id!(/** One fact in a tenant's event log. */ EventId, "evt");
id!(/** A tenant's HTTP endpoint that gets events. */ WebhookId, "whk");

#[cfg(test)]
mod tests;
