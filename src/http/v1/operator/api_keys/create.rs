//! `POST /v1/operator/api-keys`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::Timestamp;
use roost_domain::api_key::Principal;
use roost_domain::store::Outcome;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::NewKey;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::openapi::param::Repeatable;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::api_keys::{MadeBody, spec};

/// What makes an operator's key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateOperatorApiKey, example = json!({"name": "on call"}))]
pub struct Create {
    /// Name for humans.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        example = "ci"
    )]
    name: String,
    /// The only networks from which it may be used, or addresses; everywhere when absent or empty.
    #[schema(max_items = 50, example = json!(["203.0.113.0/24"]))]
    allowed_networks: Option<Vec<String>>,
    /// Calls at most per minute.
    #[schema(minimum = 1, maximum = 1_000_000)]
    calls_per_minute: Option<u32>,
    /// From when on it is refused; a time to come.
    #[schema(value_type = Option<Timestamp>)]
    expires_at: Option<String>,
}

/// Create an operator's key.
///
/// Makes an operator's key. Its text is shown in this answer and never again.
#[utoipa::path(
    post, path = "/operator/api-keys", operation_id = "create_operator_api_key", tag = "operator",
    params(Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses(
        (
            status = 201, description = "Made; its text is in this answer only", body = MadeBody,
            headers(("Location" = String, description = "Its path")),
        ),
    ),
    extensions(("x-errors" = json!([ErrorCode::LimitReached])))
)]
pub async fn create(
    _: Operator,
    State(http): State<Http>,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let stamp = gateway.stamp(command.repeatable, StatusCode::CREATED);
    let new = command.body.check(gateway.clock.now())?;
    let made = gateway.access.make_key(new);
    match gateway.access.create_key(None, made, stamp).await? {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(made) => Ok(MadeBody::new(made).into_answer()),
    }
}

impl Create {
    fn check(self, now: Timestamp) -> Answer<NewKey> {
        let mut faults = Faults::default();
        spec::name(&mut faults, &self.name);
        let networks = spec::networks(&mut faults, &self.allowed_networks.unwrap_or_default());
        if let Some(number) = self.calls_per_minute {
            spec::calls_per_minute(&mut faults, number);
        }
        let expires_at = self
            .expires_at
            .and_then(|text| spec::expires_at(&mut faults, &text, now));
        faults.finish()?;
        Ok(NewKey {
            allowed_networks: networks,
            calls_per_minute: self.calls_per_minute,
            expires_at,
            ..NewKey::new(Principal::Operator, self.name)
        })
    }
}
