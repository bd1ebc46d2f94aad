//! `POST /v1/api-keys`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::api_key::{Principal, Scopes};
use roost_domain::store::Outcome;
use roost_domain::{InstanceId, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{MadeBody, spec};
use crate::access::NewKey;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::call::Call;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::openapi::param::Repeatable;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::instances::exist;

/// What makes a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateApiKey, example = json!({"name": "ci", "scopes": ["messages:send"]}))]
pub struct Create {
    /// Name for humans.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        example = "ci"
    )]
    name: String,
    /// What it may do; `*` is everything.
    #[schema(value_type = Option<Scopes>)]
    scopes: Option<Vec<String>>,
    /// The only instances that it reaches; all when absent or empty.
    #[schema(value_type = Option<Vec<InstanceId>>, max_items = 100)]
    instances: Option<Vec<String>>,
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

/// Create an API key.
///
/// Makes a key. Its text is shown in this answer and never again. It can have no scope that the calling
/// key does not have.
#[utoipa::path(
    post, path = "/api-keys", operation_id = "create_api_key", tag = "api-keys",
    params(Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses(
        (
            status = 201, description = "Made; its text is in this answer only", body = MadeBody,
            headers(("Location" = String, description = "Its path")),
        ),
    ),
    extensions(
        ("x-scope" = json!("keys:manage")),
        ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::LimitReached])),
    )
)]
pub async fn create(
    Unbound { tenant, caller, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    call: Call,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let stamp = call.stamp(gateway, command.repeatable, StatusCode::CREATED);
    let new = command
        .body
        .check(Principal::Tenant(tenant), None, gateway.clock.now())?;
    exist::check(gateway, tenant, &new.instances).await?;
    let made = gateway.access.make_key(new);
    match gateway.access.create_key(Some(caller.key()), made, stamp).await? {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(made) => Ok(MadeBody::new(made).into_answer()),
    }
}

impl Create {
    /// Without scopes a key has the default ones; where there are none, they have to be said.
    pub(in crate::http::v1) fn check(
        self,
        principal: Principal,
        default: Option<Scopes>,
        now: Timestamp,
    ) -> Answer<NewKey> {
        let mut faults = Faults::default();
        spec::name(&mut faults, &self.name);
        let scopes = match (self.scopes, default) {
            (Some(texts), _) => spec::scopes(&mut faults, &texts),
            (None, Some(default)) => default,
            (None, None) => {
                faults.add(
                    "/scopes",
                    "missing",
                    "say what the key may do; [\"*\"] is everything",
                );
                Scopes::All
            }
        };
        let instances = spec::instances(&mut faults, &self.instances.unwrap_or_default());
        let networks = spec::networks(&mut faults, &self.allowed_networks.unwrap_or_default());
        if let Some(number) = self.calls_per_minute {
            spec::calls_per_minute(&mut faults, number);
        }
        let expires_at = self
            .expires_at
            .and_then(|text| spec::expires_at(&mut faults, &text, now));
        faults.finish()?;
        Ok(NewKey {
            scopes,
            instances,
            allowed_networks: networks,
            calls_per_minute: self.calls_per_minute,
            expires_at,
            ..NewKey::new(principal, self.name)
        })
    }
}
