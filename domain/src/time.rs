//! Time as Roost stores it: UTC with millisecond precision, from a clock that tests can set.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schema::{self, schema};

/// A point in time, UTC, in whole milliseconds. In JSON: RFC 3339, for example
/// `2026-01-31T12:00:00.250Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The years 1 to 9999: what RFC 3339 can write.
const UNIX_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_207_200_000;

impl Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z, cut to the years 1 to 9999.
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms.clamp(*UNIX_MS.start(), *UNIX_MS.end()))
    }

    /// Seconds since 1970-01-01T00:00:00Z, the unit of WhatsApp's own times.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        Self::from_unix_ms(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// This time and a duration more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_ms(self.0.saturating_add(ms))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-01-31T12:00:00Z")]
pub struct TimestampError;

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self::from_unix_ms(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

schema!(
    Timestamp,
    schema::time("A time in UTC, to the millisecond.", "2026-11-23T06:38:26.105Z")
);

/// Where wall-clock time comes from. Only for times that are stored or shown; waits and deadlines
/// use the runtime's monotonic clock.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// Where randomness comes from, so that tests can be exact.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with random bytes fit for keys.
    fn fill(&self, buffer: &mut [u8]);

    /// 128 random bits.
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rfc_3339_with_milliseconds() {
        let time = Timestamp::from_unix_ms(1_700_000_000_250);
        assert_eq!(
            serde_json::to_string(&time).unwrap(),
            "\"2023-11-14T22:13:20.250Z\""
        );
        let back: Timestamp = serde_json::from_str("\"2023-11-14T22:13:20.25Z\"").unwrap();
        assert_eq!(back, time);
        assert_eq!("2023-11-14T23:13:20.25+01:00".parse(), Ok(time));
        assert_eq!("yesterday".parse::<Timestamp>(), Err(TimestampError));
    }

    #[test]
    fn extremes_are_cut_and_still_print() {
        for ms in [i64::MIN, i64::MAX] {
            let time = Timestamp::from_unix_ms(ms);
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
        }
        assert_eq!(
            Timestamp::from_unix_ms(5).since(Timestamp::from_unix_ms(9)),
            Duration::ZERO
        );
    }
}
