//! `POST /v1/instances/{id}/connect`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::InstanceId;
use roost_domain::instance::Instance;
use roost_domain::instance::PairingMethod;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::body::Command;
use crate::http::call::Call;
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::{Answer, Problem};

/// How to pair. Not needed when a phone is paired already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectInstance, example = json!({"method": "qr"}))]
pub struct Connect {
    /// By which kind of code.
    #[schema(inline)]
    method: Option<Method>,
    /// The number of the phone to pair: with `code`, and only then.
    #[schema(pattern = r"^\+?[1-9][0-9]{6,14}$")]
    phone_number: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    Qr,
    Code,
}

/// Connect an instance.
///
/// Wants the instance connected from now on. What comes of it is told by events and by the
/// instance's state.
#[utoipa::path(
    post, path = "/instances/{id}/connect", operation_id = "connect_instance", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance"), Repeatable),
    request_body(
        content = Connect,
        description = "How to pair. None, or `{}`, when a phone is paired already",
    ),
    responses((status = 202, description = "It is to be connected from now on", body = Instance)),
    extensions(
        ("x-scope" = json!("instances:manage")),
        ("x-errors" = json!([ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn connect(
    Allowed { tenant, .. }: Allowed<scope::InstancesManage>,
    State(http): State<Http>,
    call: Call,
    Id(id): Id<InstanceId>,
    _: NoParams,
    command: Command<Connect>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let pairing = command.body.pairing()?;
    once(gateway, tenant, command.repeatable, StatusCode::ACCEPTED, async {
        if pairing.is_none() && !gateway.instances.get(tenant, id).await?.is_paired() {
            return Err(Problem::field(
                "/method",
                "missing",
                "no phone is paired yet: pass qr or code",
            ));
        }
        call.take_session_operation(gateway).await?;
        Ok(gateway.instances.connect(tenant, id, pairing).await?)
    })
    .await
}

impl Connect {
    fn pairing(self) -> Answer<Option<PairingMethod>> {
        match (self.method, self.phone_number) {
            (None, None) => Ok(None),
            (Some(Method::Qr), None) => Ok(Some(PairingMethod::Qr)),
            (Some(Method::Code), Some(text)) => match text.parse() {
                Ok(phone_number) => Ok(Some(PairingMethod::Code { phone_number })),
                Err(error) => Err(Problem::field("/phone_number", "invalid", format!("{error}"))),
            },
            (Some(Method::Code), None) => Err(Problem::field(
                "/phone_number",
                "missing",
                "needed when method is code: the number of the phone to pair",
            )),
            (_, Some(_)) => Err(Problem::field(
                "/phone_number",
                "invalid",
                "only together with \"method\": \"code\"",
            )),
        }
    }
}
