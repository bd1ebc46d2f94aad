//! How much a tenant has used, by day in UTC: what bills are made from.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::schema::{self, schema};

const DAY_MS: i64 = 86_400_000;

/// A day in UTC. In JSON: `2026-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of a time.
    pub fn of(at: Timestamp) -> Self {
        Self(at.unix_ms().div_euclid(DAY_MS))
    }

    /// The day with this number, counted from 1970-01-01: how it is stored.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Its number, counted from 1970-01-01.
    pub fn number(self) -> i64 {
        self.0
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.saturating_mul(DAY_MS))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.start().to_string()[..10])
    }
}

/// A text is not a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a day such as 2026-01-31")]
pub struct DayError;

impl std::str::FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        if text.len() != 10 {
            return Err(DayError);
        }
        let start = format!("{text}T00:00:00Z").parse().map_err(|_| DayError)?;
        Ok(Self::of(start))
    }
}

schema!(Day, schema::day("A day in UTC.", "2026-11-23"));

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Amounts, of one day or to be added to one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// API calls with a valid key, whatever came of them.
    pub api_calls: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages accepted for sending.
    pub messages_out: u64,
    /// Deliveries that a webhook's endpoint has taken.
    pub deliveries: u64,
    /// Bytes of media sent and received.
    pub media_bytes: u64,
    /// Seconds for which instances were connected, all together.
    pub instance_seconds: u64,
}

/// What a tenant has used on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageDay {
    /// The day.
    pub day: Day,
    /// How much.
    #[serde(flatten)]
    pub usage: Usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_back_and_begins_at_midnight() {
        for text in ["1969-12-31", "1970-01-01", "2026-02-28", "2028-02-29"] {
            let day: Day = text.parse().unwrap();
            assert_eq!(day.to_string(), text);
            assert_eq!(Day::of(day.start()), day);
            assert_eq!(Day::from_number(day.number()), day);
        }
        for wrong in ["", "2026-2-1", "2026-02-30", "2026-02-01T00:00:00Z", "yesterday!"] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
    }
}
