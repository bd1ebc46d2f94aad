//! `POST /v1/api-keys`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::Timestamp;
use roost_domain::api_key::{Principal, Scopes};
use roost_domain::store::Outcome;
use serde::Deserialize;

use super::{MadeBody, spec};
use crate::access::NewKey;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::instances::exist;

/// What makes a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    name: String,
    scopes: Option<Vec<String>>,
    instances: Option<Vec<String>>,
    allowed_networks: Option<Vec<String>>,
    calls_per_minute: Option<u32>,
    expires_at: Option<String>,
}

/// Makes a key. Its text is shown in this answer and never again. It can have no scope that the calling
/// key does not have.
pub async fn create(
    Unbound { tenant, caller, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let stamp = gateway.stamp(command.repeatable, StatusCode::CREATED);
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
