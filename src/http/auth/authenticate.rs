//! From a credential to a caller.
//!
//! In two steps, so that the limit of an address can stand between them: [`is_known`] asks memory only,
//! [`authenticate`] may ask the database.

use std::net::IpAddr;

use axum::http::{HeaderValue, header};
use roost_domain::ErrorCode;
use roost_domain::tenant::TenantState;

use super::caller::Caller;
use super::credential::Shown;
use crate::access::{Found, Lapse};
use crate::http::problem::Problem;
use crate::http::state::Gateway;

/// Why a call has no caller.
#[derive(Debug)]
pub struct Refused {
    /// What is answered.
    pub problem: Problem,
    /// Whose key it is, where the secret was right and something else stands against it.
    pub caller: Option<Caller>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            caller: None,
        }
    }
}

fn boxed(problem: Problem) -> Box<Refused> {
    Box::new(problem.into())
}

/// Whether the credential is right as far as memory tells, however old what it remembers. Asks no
/// database, and says nothing of expiry, networks and the tenant.
pub fn is_known(gateway: &Gateway, shown: &Shown) -> bool {
    match shown {
        Shown::Key(key) => {
            let hash = gateway.store.key_hash(key.reveal());
            let known = gateway.access.remembered(key.prefix());
            known.is_some_and(|known| known.is_opened_by(&hash))
        }
        Shown::Token(token) => token.is_ours(gateway.store.as_ref()),
    }
}

/// Finds the caller behind a credential that comes from `address`. Asks the database when the key was
/// not looked up within the last seconds.
pub async fn authenticate(
    gateway: &Gateway,
    shown: &Shown,
    address: Option<IpAddr>,
) -> Result<Caller, Box<Refused>> {
    let invalid = || {
        boxed(refused(match shown {
            Shown::Key(_) => "the API key is not valid",
            Shown::Token(_) => "the stream token is not valid",
        }))
    };
    let now = gateway.clock.now();
    if let Shown::Token(token) = shown {
        if !token.is_ours(gateway.store.as_ref()) {
            return Err(invalid());
        }
        if token.expires_at() <= now {
            return Err(boxed(refused("the stream token has expired; make a new one")));
        }
    }
    let found = gateway.access.find(shown.prefix()).await;
    let found: Found = found.map_err(|error| boxed(error.into()))?.ok_or_else(invalid)?;
    let caller = match shown {
        Shown::Key(key) => {
            let hash = gateway.store.key_hash(key.reveal());
            if !found.is_opened_by(&hash) {
                return Err(invalid());
            }
            Caller::new(found, None)
        }
        Shown::Token(token) => {
            if found.credential().key.principal.tenant() != Some(token.tenant()) {
                return Err(invalid());
            }
            Caller::new(found, Some(token.narrowing().clone()))
        }
    };
    if let Some(problem) = stands_against(&caller, address, gateway) {
        return Err(Box::new(Refused {
            problem,
            caller: Some(caller),
        }));
    }
    gateway.access.used(caller.found(), now);
    Ok(caller)
}

/// What stands against a call whose secret was right.
fn stands_against(caller: &Caller, address: Option<IpAddr>, gateway: &Gateway) -> Option<Problem> {
    match caller.found().lapse(gateway.clock.now()) {
        None => {}
        Some(Lapse::Expired) => return Some(refused("the API key has expired")),
        Some(Lapse::TenantGone) => return Some(refused("the API key is not valid")),
        Some(Lapse::TenantRests(state)) => {
            let detail = match state {
                TenantState::Deleting => "the tenant is being deleted",
                _ => "the tenant is suspended by the operator of this gateway",
            };
            return Some(Problem::new(ErrorCode::TenantSuspended, detail));
        }
    }
    let key = caller.key();
    // A request whose address nobody knows comes from no network.
    let from_allowed = key.allowed_networks.is_empty() || address.is_some_and(|address| key.allows(address));
    (!from_allowed).then(|| refused("the API key may not be used from this network"))
}

pub(super) fn refused(detail: &str) -> Problem {
    Problem::new(ErrorCode::Unauthorized, detail).header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"roost\""),
    )
}
