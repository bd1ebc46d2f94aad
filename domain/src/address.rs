//! Who a message is from or to, as WhatsApp names it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schema::{self, schema};

/// Digits in a phone number: ITU E.164 allows 15, and no country has subscriber numbers below 7.
pub const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Longest user part of an address that is no phone number.
const USER_BYTES_MAX: usize = 40;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a phone number nor a WhatsApp address.
    #[error(
        "expected a phone number such as +4915112345678 or a WhatsApp address such as 4915112345678@s.whatsapp.net"
    )]
    Form,
    /// A phone number of the wrong length, or one that begins with 0.
    #[error("a phone number has 7 to 15 digits, with the country code and without a leading zero")]
    PhoneNumber,
    /// An address on a server that Roost does not know.
    #[error("unknown server in a WhatsApp address; known are s.whatsapp.net, lid and g.us")]
    Server,
}

/// A phone number in international form: digits only, with the country code. Its text begins with
/// `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(Box<str>);

impl PhoneNumber {
    /// The digits, without `+`.
    pub fn digits(&self) -> &str {
        &self.0
    }

    fn from_digits(digits: &str) -> Result<Self, AddressError> {
        let well_formed = PHONE_DIGITS.contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if well_formed {
            Ok(Self(digits.into()))
        } else {
            Err(AddressError::PhoneNumber)
        }
    }
}

impl FromStr for PhoneNumber {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::from_digits(text.strip_prefix('+').unwrap_or(text))
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

/// Hidden on purpose: debug output reaches logs, and phone numbers do not belong there.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

/// A party or a chat on WhatsApp, without a device. In JSON: its JID, for example
/// `4915112345678@s.whatsapp.net`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A user by phone number.
    Phone(PhoneNumber),
    /// A user by LID, WhatsApp's number-free identity.
    Lid(Box<str>),
    /// A group.
    Group(Box<str>),
}

impl Address {
    /// The phone number, when this is one.
    pub fn phone_number(&self) -> Option<&PhoneNumber> {
        match self {
            Self::Phone(number) => Some(number),
            Self::Lid(_) | Self::Group(_) => None,
        }
    }

    /// Parses a JID without a device; see [`FromStr`] for everything a user may write.
    pub fn from_jid(text: &str) -> Result<Self, AddressError> {
        let (user, server) = text.split_once('@').ok_or(AddressError::Form)?;
        match server {
            "s.whatsapp.net" => PhoneNumber::from_digits(user).map(Self::Phone),
            "lid" => user_part(user, |byte| byte.is_ascii_digit()).map(Self::Lid),
            "g.us" => user_part(user, |byte| byte.is_ascii_digit() || byte == b'-').map(Self::Group),
            _ => Err(AddressError::Server),
        }
    }
}

fn user_part(user: &str, allowed: impl Fn(u8) -> bool) -> Result<Box<str>, AddressError> {
    let well_formed = (1..=USER_BYTES_MAX).contains(&user.len()) && user.bytes().all(allowed);
    if well_formed {
        Ok(user.into())
    } else {
        Err(AddressError::Form)
    }
}

/// Accepts `+` and digits, digits alone, or a JID. Spaces, hyphens and brackets are refused: guessing
/// what a number meant would send to strangers.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains('@') {
            return Self::from_jid(text);
        }
        if !text
            .trim_start_matches('+')
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            || text.is_empty()
        {
            return Err(AddressError::Form);
        }
        text.parse().map(Self::Phone)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(number) => write!(f, "{}@s.whatsapp.net", number.digits()),
            Self::Lid(user) => write!(f, "{user}@lid"),
            Self::Group(user) => write!(f, "{user}@g.us"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phone(_) => "Address::Phone(…)",
            Self::Lid(_) => "Address::Lid(…)",
            Self::Group(_) => "Address::Group(…)",
        })
    }
}

macro_rules! serde_as_text {
    ($name:ident, $parse:path) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(PhoneNumber, str::parse);
serde_as_text!(Address, str::parse);

schema!(
    PhoneNumber,
    schema::text(
        "A phone number in international form.",
        r"^\+[1-9][0-9]{6,14}$",
        "+4915550002",
    )
);
schema!(
    Address,
    schema::text(
        "A party or a chat on WhatsApp: a user by phone number or by LID, or a group.",
        r"^([1-9][0-9]{6,14}@s\.whatsapp\.net|[0-9]{1,40}@lid|[0-9-]{1,40}@g\.us)$",
        "4915550002@s.whatsapp.net",
    )
);

#[cfg(test)]
mod tests;
