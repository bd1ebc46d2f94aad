//! Typed values of the configuration: durations, sizes and secrets.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Durations, written as `30s`, `5m`, `1h 30m`, `30d` or `250ms`.
pub mod duration {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serializer};

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        read(&String::deserialize(deserializer)?)
    }

    /// Writes a duration.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        match jiff::SignedDuration::try_from(*duration) {
            Ok(signed) => serializer.collect_str(&format_args!("{signed:#}")),
            Err(error) => Err(serde::ser::Error::custom(error)),
        }
    }

    /// Reads one text.
    pub(super) fn read<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| {
            E::custom(format_args!(
                "expected a duration with its unit, such as \"30s\", \"5m\" or \"250ms\", not {text:?}"
            ))
        })
    }

    fn parse(text: &str) -> Option<Duration> {
        let span: jiff::Span = text.parse().ok()?;
        // A day in a configuration is 24 hours: no calendar decides how long a time-out is.
        let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(signed).ok()
    }
}

/// Lists of durations.
pub mod durations {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serialize, Serializer, duration};

    #[derive(Serialize)]
    #[serde(transparent)]
    struct Shown(#[serde(serialize_with = "duration::serialize")] Duration);

    /// Reads a list.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| duration::read(text)).collect()
    }

    /// Writes a list.
    pub fn serialize<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(durations.iter().map(|&duration| Shown(duration)))
    }
}

/// Sizes in bytes, written as `64KiB`, `4MiB` or a plain number.
pub mod size {
    use bytesize::ByteSize;

    use super::{Deserialize, Deserializer, Serializer};

    /// Reads a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size: ByteSize = text.parse().map_err(|_| {
            serde::de::Error::custom(format_args!(
                "expected a size such as \"64KiB\" or \"4MiB\", not {text:?}"
            ))
        })?;
        usize::try_from(size.as_u64()).map_err(serde::de::Error::custom)
    }

    /// Writes a size.
    pub fn serialize<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        let size = ByteSize::b(*bytes as u64);
        if bytes.is_multiple_of(1024) {
            serializer.collect_str(&format_args!("{}KiB", bytes / 1024))
        } else {
            serializer.collect_str(&format_args!("{}B", size.as_u64()))
        }
    }
}

/// Networks, written as `10.0.0.0/8`, a single address as `10.0.0.1/32`.
pub mod networks {
    use ipnet::IpNet;

    use super::{Deserialize, Deserializer, Serialize, Serializer};

    /// Reads a list.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        let parse = |text: String| {
            text.parse().map_err(|_| {
                serde::de::Error::custom(format_args!(
                    "expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", not {text:?}"
                ))
            })
        };
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.into_iter().map(parse).collect()
    }

    /// Writes a list.
    pub fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        networks.serialize(serializer)
    }
}

/// Texts that may be left empty to mean "none".
pub mod optional {
    use std::str::FromStr;

    use super::{Deserialize, Deserializer, Serialize, Serializer, fmt};

    /// Reads a value; an empty text is none.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }

    /// Writes a value; none is an empty text.
    pub fn serialize<S: Serializer, T: Serialize>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself; for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

/// A URL that may hold a password; it is shown without one.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(url::Url);

impl SecretUrl {
    /// The whole URL; for the one place that needs it.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }

    /// Its scheme.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }
}

impl std::str::FromStr for SecretUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The text stays out of the message: it may hold a password.
        url::Url::parse(text)
            .map(Self)
            .map_err(|error| format!("not a URL: {error}"))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        if shown.password().is_some() {
            // Fails only for URLs that cannot have a password at all.
            let _ = shown.set_password(Some("hidden"));
        }
        if shown.query().is_some() {
            shown.set_query(Some("hidden"));
        }
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
