//! `POST /v1/instances`

use crate::http::openapi::param::Repeatable;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::instance::CreateInstance;
use roost_domain::ErrorCode;
use roost_domain::api_key::{Principal, Scope, Scopes};
use roost_domain::instance::Instance;
use roost_domain::store::Outcome;
use roost_domain::tenant::NAME_CHARS_MAX;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_proxy;
use super::pacing::{PacingBody, PolicyBody};
use crate::access::NewKey;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::call::Call;
use crate::http::fault::Faults;
use crate::http::idempotency::replayed;
use crate::http::params::NoParams;
use crate::http::problem::Answer;
use crate::http::v1::api_keys::{self, NO_STORE};

/// What a key may do that is made with an instance.
const KEY_SCOPES: &[Scope] = &[
    Scope::InstancesRead,
    Scope::InstancesManage,
    Scope::MessagesRead,
    Scope::MessagesSend,
    Scope::EventsRead,
    Scope::MediaRead,
];

/// What makes an instance.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateInstance, example = json!({"name": "demo"}))]
pub struct Create {
    /// Name for humans.
    #[schema(max_length = 100, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", example = "demo")]
    name: String,
    /// Proxy through which it connects: `socks5://` or `http://`, with a host and a port.
    #[schema(max_length = 1024, example = "socks5://user:password@127.0.0.1:1080")]
    proxy: Option<String>,
    /// How fast it sends; as fast as it can when absent. Without other values `jitter_percent` is 0 and
    /// `typing` false.
    pacing: Option<PacingBody>,
    /// What it may not do.
    policy: Option<PolicyBody>,
    /// Whether a key comes with it that is bound to it.
    create_key: Option<bool>,
}

/// An instance that was made, with a key of its own if one was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedInstance)]
struct MadeBody {
    #[serde(flatten)]
    instance: Instance,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The key that is bound to it, if one was asked for.
    #[schema(nullable = false)]
    api_key: Option<api_keys::MadeBody>,
}

/// Create an instance.
///
/// Makes an instance; it is not connected yet. With `create_key` a key comes with it that is bound to it
/// and may run it, send and read; whoever asks for it needs `keys:manage` too, and every scope that the key
/// gets. The key's text is shown in this answer and never again.
#[utoipa::path(
    post, path = "/instances", operation_id = "create_instance", tag = "instances",
    params(Repeatable),
    request_body(content = Create, description = "What makes it"),
    responses(
        (
            status = 201, description = "Made", body = MadeBody,
            headers(("Location" = String, description = "Its path")),
        ),
    ),
    extensions(
        ("x-scope" = json!("instances:manage")),
        ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::LimitReached])),
    )
)]
pub async fn create(
    Unbound { tenant, caller, .. }: Unbound<scope::InstancesManage>,
    State(http): State<Http>,
    call: Call,
    _: NoParams,
    command: Command<Create>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let stamp = call.stamp(gateway, command.repeatable, StatusCode::CREATED);
    let wants_key = command.body.create_key == Some(true);
    let create = command.body.check()?;
    let key = if wants_key {
        caller.needs(Scope::KeysManage)?;
        let new = NewKey {
            scopes: Scopes::these(KEY_SCOPES.to_vec()),
            ..NewKey::new(Principal::Tenant(tenant), key_name(&create.name))
        };
        Some(gateway.access.make_key(new))
    } else {
        None
    };
    gateway.limiter.storage(&call).await?;
    let create = CreateInstance {
        instances_max: gateway.limiter.instances_max(&call),
        ..create
    };
    let (instance, key) = match key {
        Some(key) => {
            let made = gateway
                .access
                .create_instance(caller.key(), tenant, create, key, stamp);
            match made.await? {
                Outcome::Replayed(replay) => return Ok(replayed(replay)),
                Outcome::Done((instance, key)) => (instance, Some(api_keys::MadeBody::new(key))),
            }
        }
        None => match gateway.instances.create(tenant, create, None, stamp).await? {
            Outcome::Replayed(replay) => return Ok(replayed(replay)),
            Outcome::Done(instance) => (instance, None),
        },
    };
    let location = format!("/v1/instances/{}", instance.id);
    let body = MadeBody {
        instance,
        api_key: key,
    };
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::CREATED, NO_STORE, headers, Json(body)).into_response())
}

/// The key's name is the instance's, as far as it fits.
fn key_name(instance: &str) -> String {
    instance.chars().take(NAME_CHARS_MAX).collect()
}

impl Create {
    fn check(self) -> Answer<CreateInstance> {
        check_proxy(self.proxy.as_deref())?;
        let mut faults = Faults::default();
        let pacing = self.pacing.and_then(|pacing| pacing.check_new(&mut faults));
        let policy = self.policy.and_then(|policy| policy.check(&mut faults));
        faults.finish()?;
        Ok(CreateInstance {
            name: self.name,
            proxy: self.proxy,
            pacing,
            policy: policy.unwrap_or_default(),
            ..CreateInstance::default()
        })
    }
}
