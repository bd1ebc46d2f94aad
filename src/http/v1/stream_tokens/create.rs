//! `POST /v1/stream-tokens`

use roost_domain::ErrorCode;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use roost_domain::webhook::EventPattern;
use roost_domain::{InstanceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::stream_token::{Claims, INSTANCES_MAX, Narrowing, StreamToken, TYPES_MAX};
use crate::http::auth::{Allowed, scope};
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::once_keeping;
use crate::http::openapi::param::Repeatable;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::api_keys::NO_STORE;
use crate::http::v1::instances::exist;

/// What a token opens, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateStreamToken)]
pub struct Create {
    /// For how many seconds it opens streams; 300 when absent.
    #[schema(minimum = 1, example = 300)]
    ttl_seconds: Option<u64>,
    /// Only events of these types and families; what the key may see when absent.
    #[schema(value_type = Option<Vec<EventPattern>>, max_items = 20)]
    types: Option<Vec<String>>,
    /// Only events of these instances; what the key may see when absent.
    #[schema(value_type = Option<Vec<InstanceId>>, max_items = 20)]
    instances: Option<Vec<String>>,
}

/// A token. It is shown this once: the answer to a repetition has `null` in its place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamToken)]
struct TokenBody {
    /// It; null in an answer that is given again.
    #[schema(example = "rst_stream_AWpoZ2gzY3dxaDc4…")]
    token: Option<String>,
    /// Until when it opens streams.
    expires_at: Timestamp,
}

/// Create a stream token.
///
/// Makes a token that opens event streams, and nothing else, in the name of the calling key: for
/// `GET /v1/events?token=…` and `GET /v1/events/ws?token=…`, where a browser cannot set a header.
#[utoipa::path(
    post, path = "/stream-tokens", operation_id = "create_stream_token", tag = "stream-tokens",
    params(Repeatable),
    request_body(content = Create, description = "What it opens, and for how long"),
    responses((status = 201, description = "Made; it is in this answer only", body = TokenBody)),
    extensions(("x-scope" = json!("events:read")), ("x-errors" = json!([ErrorCode::IdempotencyInProgress])))
)]
pub async fn create(
    Allowed { tenant, caller, .. }: Allowed<scope::EventsRead>,
    State(http): State<Http>,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let config = gateway.access.config();
    let (ttl, narrowing) = command
        .body
        .check(config.stream_token_ttl, config.stream_token_ttl_max)?;
    for &instance in &narrowing.instances {
        caller.reaches(instance)?;
    }
    exist::check(gateway, tenant, &narrowing.instances).await?;
    let expires_at = gateway.clock.now().plus(ttl);
    let claims = Claims {
        prefix: caller.prefix().to_owned(),
        tenant,
        expires_at,
        narrowing,
    };
    let made = async {
        Ok(TokenBody {
            token: Some(StreamToken::write(&claims, gateway.store.as_ref())),
            expires_at,
        })
    };
    let kept = |_: &TokenBody| {
        Some(TokenBody {
            token: None,
            expires_at,
        })
    };
    let answer = once_keeping(
        gateway,
        tenant,
        command.repeatable,
        StatusCode::CREATED,
        made,
        kept,
    )
    .await?;
    Ok((NO_STORE, answer).into_response())
}

impl Create {
    fn check(self, ttl: Duration, ttl_max: Duration) -> Answer<(Duration, Narrowing)> {
        let mut faults = Faults::default();
        let seconds = self.ttl_seconds.unwrap_or(ttl.as_secs());
        faults.range("/ttl_seconds", 1..=ttl_max.as_secs(), &seconds);
        let types = self.types.unwrap_or_default();
        let types = faults.list("/types", TYPES_MAX, &types, str::parse::<EventPattern>);
        let instances = self.instances.unwrap_or_default();
        let instances = faults.list("/instances", INSTANCES_MAX, &instances, str::parse);
        faults.finish()?;
        Ok((Duration::from_secs(seconds), Narrowing { types, instances }))
    }
}

#[cfg(test)]
mod tests {
    use crate::http::body;

    use super::*;

    fn check(text: &str) -> Answer<(Duration, Narrowing)> {
        let (ttl, ttl_max) = (Duration::from_secs(300), Duration::from_secs(3600));
        body::parse::<Create>(text.as_bytes())?.check(ttl, ttl_max)
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_asked_for_within_limits() {
        assert_eq!(check("{}").unwrap().0.as_secs(), 300);
        assert_eq!(check(r#"{"ttl_seconds":3600}"#).unwrap().0.as_secs(), 3600);
        for text in [r#"{"ttl_seconds":0}"#, r#"{"ttl_seconds":3601}"#] {
            assert_eq!(check(text).unwrap_err().pointers(), ["/ttl_seconds"], "{text}");
        }
    }

    #[test]
    fn every_entry_that_is_wrong_is_pointed_at() {
        let text = r#"{"types":["message.*","x"],"instances":["ins_x"]}"#;
        assert_eq!(check(text).unwrap_err().pointers(), ["/types/1", "/instances/0"]);
        let many = vec!["*"; TYPES_MAX + 1];
        let many = serde_json::json!({"types": many}).to_string();
        assert_eq!(check(&many).unwrap_err().pointers(), ["/types"]);
    }
}
