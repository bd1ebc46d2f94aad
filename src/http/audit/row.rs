//! One call as a row of the audit log.

use axum::http::{StatusCode, header};
use axum::response::Response;
use roost_domain::api_key::Principal;
use roost_domain::audit::{ActorKind, AuditEvent, AuditResult};
use roost_domain::time::Entropy;
use roost_domain::{AuditEventId, ErrorCode, TenantId, Timestamp};

use super::operation;
use crate::http::call::Call;
use crate::http::problem::Pending;
use crate::http::state::Gateway;

/// Longer texts in a path are no ids.
const TARGET_BYTES_MAX: usize = 128;
const OPERATOR_TENANTS: &str = "/operator/tenants/{id}";

/// A new id for a row of this moment: lists find rows of a time by their ids.
pub fn new_id(at: Timestamp, entropy: &dyn Entropy) -> AuditEventId {
    let unix_ms = u64::try_from(at.unix_ms()).unwrap_or_default();
    AuditEventId::from_parts(unix_ms, entropy.bits())
}

/// The row of a call that is being done: a write carries it, and names what it made.
pub fn done(gateway: &Gateway, call: &Call, status: StatusCode) -> AuditEvent {
    AuditEvent {
        // The write knows the id of what it makes.
        target: None,
        ..of(gateway, call, AuditResult::Done, Some(status), None)
    }
}

/// The row of a call.
pub fn of(
    gateway: &Gateway,
    call: &Call,
    result: AuditResult,
    status: Option<StatusCode>,
    code: Option<ErrorCode>,
) -> AuditEvent {
    let caller = call.caller();
    let actor_kind = match caller.map(|caller| caller.principal()) {
        Some(Principal::Tenant(_)) => ActorKind::Key,
        Some(Principal::Operator) => ActorKind::Operator,
        None => ActorKind::Anonymous,
    };
    let at = gateway.clock.now();
    AuditEvent {
        id: new_id(at, gateway.entropy.as_ref()),
        tenant_id: caller.and_then(|caller| caller.principal().tenant()),
        at,
        actor_kind,
        actor_id: caller.map(|caller| caller.key().id.to_string()),
        source: call.address().map(|address| address.to_string()),
        action: operation::id(call.method(), call.route()).to_owned(),
        target: named_in_path(call.route(), call.path()),
        result,
        status: status.map(|status| status.as_u16()),
        code,
        request_id: call.request_id().map(str::to_owned),
        count: 1,
    }
}

/// What came of a call.
pub struct Answered {
    /// HTTP status.
    pub status: StatusCode,
    /// Error code, unless it was done.
    pub code: Option<ErrorCode>,
    /// Whether it is the answer to an earlier call with the same idempotency key.
    pub replayed: bool,
    /// Id of what was made.
    pub made: Option<String>,
}

impl Answered {
    /// Reads an answer whose problem is not written yet.
    pub fn of(response: &Response) -> Self {
        let pending = response.extensions().get::<Pending>();
        let headers = response.headers();
        let location = headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        let made = location.and_then(|path| path.rsplit('/').next());
        Self {
            status: response.status(),
            code: pending.map(|pending| pending.problem().code()),
            replayed: headers.contains_key(crate::http::idempotency::REPLAYED),
            made: made.and_then(as_id),
        }
    }

    /// Whether the call was denied, rather than tried in vain.
    fn is_denied(&self) -> bool {
        self.code == Some(ErrorCode::RateLimited)
            || matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// What came of it, in one word.
    pub fn result(&self) -> AuditResult {
        if self.is_denied() {
            AuditResult::Denied
        } else if self.status.is_success() || self.status == StatusCode::SWITCHING_PROTOCOLS {
            AuditResult::Done
        } else {
            AuditResult::Failed
        }
    }
}

/// The tenant that an operator's act concerns: the one that was made, or that the path names.
pub fn concerns(call: &Call, made: Option<&str>) -> Option<TenantId> {
    let route = call.route();
    let rest = route.strip_prefix(OPERATOR_TENANTS);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        let place = OPERATOR_TENANTS.split('/').count() - 1;
        return call.path().split('/').nth(place)?.parse().ok();
    }
    made?.parse().ok()
}

/// An operator's act as it stands in the log of the tenant that it concerns: which of the operator's keys
/// it was, and where the operator sits, is not the tenant's.
pub fn for_tenant(tenant: TenantId, event: &AuditEvent, id: AuditEventId) -> AuditEvent {
    AuditEvent {
        id,
        tenant_id: Some(tenant),
        actor_id: None,
        source: None,
        ..event.clone()
    }
}

/// What stands in the place of the route's last name.
fn named_in_path(route: &str, path: &str) -> Option<String> {
    if let Some((before, _)) = route.split_once("{*") {
        return as_id(path.get(before.len()..)?);
    }
    let named = route.split('/').zip(path.split('/'));
    let last = named.filter(|(name, _)| name.starts_with('{')).last();
    last.and_then(|(_, text)| as_id(text))
}

fn as_id(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@".contains(&byte);
    let holds = (1..=TARGET_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
    holds.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_what_the_path_names_last() {
        let of = named_in_path;
        assert_eq!(of("/instances", "/instances"), None);
        assert_eq!(
            of("/instances/{id}/connect", "/instances/ins_1/connect").unwrap(),
            "ins_1"
        );
        assert_eq!(
            of(
                "/operator/tenants/{id}/api-keys/{key}",
                "/operator/tenants/ten_1/api-keys/key_1"
            )
            .unwrap(),
            "key_1"
        );
        assert_eq!(
            of("/operator/actors/{*path}", "/operator/actors/instance/ins_1/stop").unwrap(),
            "instance/ins_1/stop"
        );
        let long = "x".repeat(TARGET_BYTES_MAX + 1);
        for wrong in ["", "a%20b", "\u{e9}", &long] {
            assert_eq!(of("/instances/{id}", &format!("/instances/{wrong}")), None);
        }
    }
}
