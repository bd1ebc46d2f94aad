//! `POST /v1/operator/api-keys`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::Timestamp;
use roost_domain::api_key::Principal;
use roost_domain::store::Outcome;
use serde::Deserialize;

use crate::access::NewKey;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::api_keys::{MadeBody, spec};

/// What makes an operator's key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    name: String,
    allowed_networks: Option<Vec<String>>,
    calls_per_minute: Option<u32>,
    expires_at: Option<String>,
}

/// Makes an operator's key. Its text is shown in this answer and never again.
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
