//! What is done on the command line stands in the audit log too.

use roost_domain::audit::{ActorKind, AuditEvent, AuditResult};
use roost_domain::time::{Clock as _, Entropy as _};
use roost_domain::{AuditEventId, TenantId};

use crate::system::{OsEntropy, SystemClock};

/// An act of the operator, for the operator's log, and for the tenant's when it is about one.
pub(super) fn acts(action: &str, tenant: Option<TenantId>, target: &str) -> Vec<AuditEvent> {
    let at = SystemClock.now();
    let unix_ms = u64::try_from(at.unix_ms()).unwrap_or_default();
    let act = |log| AuditEvent {
        id: AuditEventId::from_parts(unix_ms, OsEntropy.bits()),
        tenant_id: log,
        at,
        actor_kind: ActorKind::Operator,
        actor_id: None,
        source: None,
        action: action.to_owned(),
        target: Some(target.to_owned()),
        result: AuditResult::Done,
        status: None,
        code: None,
        request_id: None,
        count: 1,
    };
    let of_tenant = tenant.map(|tenant| act(Some(tenant)));
    std::iter::once(act(None)).chain(of_tenant).collect()
}
