//! Whoever calls: a key that was found valid for this request.

use std::sync::Arc;

use roost_domain::api_key::{ApiKey, Principal, Scope};
use roost_domain::event::EventFilter;
use roost_domain::tenant::Tenant;
use roost_domain::webhook::EventPattern;
use roost_domain::{ErrorCode, InstanceId, TenantId};

use super::stream_token::Narrowing;
use crate::access::Found;
use crate::http::problem::{Answer, Problem};

/// The caller of one request, in whose extensions it is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    found: Found,
    /// What a stream token leaves of what the key may see.
    narrowing: Option<Arc<Narrowing>>,
}

impl Caller {
    pub(super) fn new(found: Found, narrowing: Option<Narrowing>) -> Self {
        Self {
            found,
            narrowing: narrowing.map(Arc::new),
        }
    }

    /// The key.
    pub fn key(&self) -> &ApiKey {
        &self.found.credential().key
    }

    /// Public part of the key's text that was used.
    pub fn prefix(&self) -> &str {
        &self.found.credential().secret.prefix
    }

    /// The tenant as it was when the key was looked up, unless it is an operator's key.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.found.credential().tenant.as_ref()
    }

    /// Whom the key speaks for.
    pub fn principal(&self) -> Principal {
        self.key().principal
    }

    /// What the node remembers of the key.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The only instances that the key reaches; empty when it reaches all.
    pub fn instances(&self) -> &[InstanceId] {
        &self.key().instances
    }

    /// Refuses when the key is bound to instances.
    pub fn unbound(&self) -> Answer<()> {
        if self.instances().is_empty() {
            Ok(())
        } else {
            Err(Problem::new(
                ErrorCode::Forbidden,
                "this key is bound to instances, and this belongs to the tenant as a whole",
            ))
        }
    }

    /// Refuses when the key is bound to instances, and the one that the call names is none of them,
    /// whether it exists or not.
    pub fn reaches(&self, instance: InstanceId) -> Answer<()> {
        if self.key().is_closed_to(instance) {
            Err(bound_to_others())
        } else {
            Ok(())
        }
    }

    /// What was found by another id and belongs to an instance that the key does not reach is not
    /// there.
    pub fn finds(&self, instance: InstanceId, what: &str) -> Answer<()> {
        if self.key().is_closed_to(instance) {
            Err(Problem::not_found(what))
        } else {
            Ok(())
        }
    }

    /// Refuses a key without the scope.
    pub fn needs(&self, scope: Scope) -> Answer<()> {
        if self.key().scopes.contains(scope) {
            Ok(())
        } else {
            Err(Problem::new(
                ErrorCode::Forbidden,
                format!("this needs a key with the scope {}", scope.as_str()),
            ))
        }
    }

    /// The tenant that the key speaks for; refuses an operator's key.
    pub(super) fn tenant_id(&self) -> Answer<TenantId> {
        self.principal().tenant().ok_or_else(|| {
            Problem::new(
                ErrorCode::Forbidden,
                "an operator key reaches /v1/operator only; use a tenant's key",
            )
        })
    }

    /// What a stream or a page may show of what was asked for: what is left of the log to a key that is
    /// bound, and to a token that is narrower. Naming what is closed is refused.
    pub fn narrow(&self, wanted: EventFilter) -> Answer<EventFilter> {
        for &instance in &wanted.instances {
            self.reaches(instance)?;
        }
        let mut filter = match &self.narrowing {
            Some(narrowing) => narrowing.apply(wanted)?,
            None => wanted,
        };
        if filter.instances.is_empty() {
            filter.instances = self.instances().to_vec();
            return Ok(filter);
        }
        // The key may have been bound to others after it made the token.
        filter
            .instances
            .retain(|&instance| !self.key().is_closed_to(instance));
        if filter.instances.is_empty() {
            return Err(bound_to_others());
        }
        Ok(filter)
    }
}

fn bound_to_others() -> Problem {
    Problem::new(ErrorCode::Forbidden, "this key is bound to other instances")
}

/// Whether everything that one pattern matches is matched by another.
pub(super) fn covers(wide: &EventPattern, narrow: &EventPattern) -> bool {
    match (wide, narrow) {
        (EventPattern::All, _) => true,
        (EventPattern::Family(family), EventPattern::Family(other)) => family == other,
        (EventPattern::Family(family), EventPattern::Exact(kind)) => kind.family() == family,
        (EventPattern::Exact(kind), EventPattern::Exact(other)) => kind == other,
        (EventPattern::Family(_) | EventPattern::Exact(_), _) => false,
    }
}
