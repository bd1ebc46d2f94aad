//! `POST /v1/operator/tenants`

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_domain::api_key::Principal;
use roost_domain::limit::Limits;
use roost_domain::store::Outcome;
use roost_domain::tenant::Tenant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::spec;
use crate::access::{Access, NewKey, NewTenant};
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::openapi::param::Repeatable;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::api_keys::{self, NO_STORE};

/// Name of the key that is made with a tenant.
const FIRST_KEY: &str = "first key";

/// What makes a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateTenant, example = json!({"name": "acme", "create_key": true}))]
pub struct Create {
    /// Name for humans.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        example = "acme"
    )]
    name: String,
    /// Name of a plan of the configuration.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z0-9_-]+$", example = "basic")]
    plan: Option<String>,
    /// Limits of its own: each that is there replaces the plan's.
    limits: Option<Limits>,
    /// For how many days its events and messages are kept; as configured when absent.
    #[schema(minimum = 1, maximum = 3650, example = 30)]
    retention_days: Option<u32>,
    /// Whether its first key comes with it.
    create_key: Option<bool>,
}

/// A tenant that was made, with its first key if one was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedTenant)]
struct MadeBody {
    #[serde(flatten)]
    tenant: Tenant,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Its first key, if one was asked for.
    #[schema(nullable = false)]
    api_key: Option<api_keys::MadeBody>,
}

/// Create a tenant.
///
/// Makes a tenant, and with `create_key` its first key, which may do everything in it.
#[utoipa::path(
    post, path = "/operator/tenants", operation_id = "create_tenant", tag = "operator",
    params(Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses(
        (
            status = 201, description = "Made; the text of its key is in this answer only", body = MadeBody,
            headers(("Location" = String, description = "Its path")),
        ),
    )
)]
pub async fn create(
    _: Operator,
    State(http): State<Http>,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let access = &gateway.access;
    let stamp = gateway.stamp(command.repeatable, StatusCode::CREATED);
    let with_key = command.body.create_key == Some(true);
    let tenant = access.make_tenant(command.body.check(access)?);
    let key = with_key.then(|| access.make_key(NewKey::new(Principal::Tenant(tenant.id), FIRST_KEY)));
    match access.create_tenant(tenant, key.clone(), stamp).await? {
        Outcome::Replayed(replay) => Ok(replayed(replay)),
        Outcome::Done(tenant) => {
            let location = format!("/v1/operator/tenants/{}", tenant.id);
            let body = MadeBody {
                tenant,
                api_key: key.map(api_keys::MadeBody::new),
            };
            let headers = [(header::LOCATION, location)];
            Ok((StatusCode::CREATED, NO_STORE, headers, Json(body)).into_response())
        }
    }
}

impl Create {
    fn check(self, access: &Access) -> Answer<NewTenant> {
        let mut faults = Faults::default();
        api_keys::spec::name(&mut faults, &self.name);
        if let Some(plan) = &self.plan {
            spec::plan(&mut faults, access, plan);
        }
        if let Some(days) = self.retention_days {
            spec::retention_days(&mut faults, access, days);
        }
        faults.finish()?;
        Ok(NewTenant {
            name: self.name,
            plan: self.plan,
            limits: self.limits.unwrap_or_default(),
            retention_days: self.retention_days,
        })
    }
}
