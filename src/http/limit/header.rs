//! What an answer says about the limits that its call has passed.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use roost_domain::ErrorCode;
use roost_domain::limit::{BucketKey, Standing};

use crate::http::problem::Problem;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Where the buckets that a call took from stand; of these the tightest is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standings(Option<(BucketKey, Standing)>);

impl Standings {
    /// Notes one. The one with the least left stays, of equals the one that takes longest to fill.
    pub fn note(&mut self, key: BucketKey, standing: Standing) {
        let order = |standing: &Standing| (standing.remaining, std::cmp::Reverse(standing.full_in));
        if self
            .0
            .as_ref()
            .is_none_or(|(_, tightest)| order(&standing) < order(tightest))
        {
            self.0 = Some((key, standing));
        }
    }

    /// Writes the tightest into the head of an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Some((key, standing)) = &self.0 else { return };
        headers.insert(LIMIT, HeaderValue::from(standing.quota.count.get()));
        headers.insert(REMAINING, HeaderValue::from(standing.remaining));
        headers.insert(RESET, HeaderValue::from(whole_seconds(standing.full_in)));
        let policy = format!(
            "{};w={};name=\"{}\"",
            standing.quota.count,
            whole_seconds(standing.quota.per),
            key.limit_name()
        );
        // Digits, letters, underscores and quotes: always a header's value.
        if let Ok(value) = HeaderValue::try_from(policy) {
            headers.insert(POLICY, value);
        }
    }
}

/// The answer to a call that a bucket has refused: which limit, and when to come back.
pub fn refused(key: BucketKey, standing: &Standing, retry_after: Duration) -> Problem {
    let seconds = whole_seconds(retry_after).max(1);
    let what = match key {
        BucketKey::Address(_) => "calls from this address",
        BucketKey::OtherAddresses => "calls from addresses like this one",
        BucketKey::Key(_) => "calls with this key",
        BucketKey::Calls(_) => "calls of this tenant",
        BucketKey::Messages(_) => "messages of this tenant",
        BucketKey::SessionOperations(_) => "calls of this tenant that connect, disconnect or log out",
    };
    let detail = format!(
        "the limit {} is reached ({} {what} per {}); try again in {seconds} s",
        key.limit_name(),
        standing.quota.count,
        words(standing.quota.per),
    );
    Problem::new(ErrorCode::RateLimited, detail).retry_after(seconds)
}

/// Rounded up, so that a client that waits as long as it is told has waited long enough.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn words(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (3600, 0) => "hour".into(),
        (60, 0) => "minute".into(),
        (1, 0) => "second".into(),
        (seconds, 0) if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        (seconds, 0) => format!("{seconds} seconds"),
        _ => format!("{} ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use roost_domain::TenantId;
    use roost_domain::limit::Quota;

    use super::*;

    fn standing(count: u32, per_secs: u64, remaining: u32, full_in_ms: u64) -> Standing {
        Standing {
            quota: Quota {
                count: NonZeroU32::new(count).unwrap(),
                per: Duration::from_secs(per_secs),
            },
            remaining,
            full_in: Duration::from_millis(full_in_ms),
        }
    }

    #[test]
    fn the_tightest_bucket_is_told() {
        let tenant = TenantId::from_parts(1, 2);
        let calls = (BucketKey::Calls(tenant), standing(1000, 3600, 98, 1500));
        let messages = (BucketKey::Messages(tenant), standing(100, 3600, 98, 72_000));
        let key = (
            BucketKey::Key(roost_domain::ApiKeyId::from_parts(1, 2)),
            standing(500, 60, 499, 120),
        );
        for order in [
            [calls, messages, key],
            [key, calls, messages],
            [messages, key, calls],
        ] {
            let mut standings = Standings::default();
            for (key, standing) in order {
                standings.note(key, standing);
            }
            let mut headers = HeaderMap::new();
            standings.write(&mut headers);
            assert_eq!(headers["ratelimit-limit"], "100");
            assert_eq!(headers["ratelimit-remaining"], "98");
            assert_eq!(headers["ratelimit-reset"], "72");
            assert_eq!(
                headers["ratelimit-policy"],
                "100;w=3600;name=\"messages_per_hour\""
            );
        }
        let mut headers = HeaderMap::new();
        Standings::default().write(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_refusal_names_the_limit_and_when_to_come_back() {
        let tenant = TenantId::from_parts(1, 2);
        let problem = refused(
            BucketKey::Messages(tenant),
            &standing(100, 3600, 0, 3_600_000),
            Duration::from_millis(35_001),
        );
        assert_eq!(
            problem.detail(),
            "the limit messages_per_hour is reached (100 messages of this tenant per hour); try again in 36 s"
        );
        let response = problem.render("req");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "36");
        let address = BucketKey::of_address("203.0.113.9".parse().unwrap());
        let problem = refused(address, &standing(1000, 900, 0, 1), Duration::ZERO);
        assert!(
            problem.detail().ends_with("per 15 minutes); try again in 1 s"),
            "{}",
            problem.detail()
        );
    }
}
