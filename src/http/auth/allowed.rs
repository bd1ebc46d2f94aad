//! The extractors that check what a caller may do. Each is the first parameter of its handler.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use roost_domain::api_key::Principal;
use roost_domain::{ErrorCode, TenantId};

use super::caller::Caller;
use super::scope::Needs;
use crate::http::Http;
use crate::http::problem::{Answer, Problem};

/// A tenant's key with a scope.
pub struct Allowed<S> {
    /// The tenant that it speaks for.
    pub tenant: TenantId,
    /// The caller.
    pub caller: Caller,
    scope: PhantomData<fn() -> S>,
}

/// A tenant's key with a scope that is not bound to instances: for what belongs to the tenant as a whole.
pub struct Unbound<S> {
    /// The tenant that it speaks for.
    pub tenant: TenantId,
    /// The caller.
    pub caller: Caller,
    scope: PhantomData<fn() -> S>,
}

/// An operator's key.
pub struct Operator;

fn caller(parts: &Parts) -> Answer<Caller> {
    let caller = parts.extensions.get::<Caller>().cloned();
    // Authentication lies around every route that asks for a caller.
    caller.ok_or_else(|| Problem::internal("a route that needs a caller lies outside of authentication"))
}

impl<S: Needs> FromRequestParts<Http> for Allowed<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Http) -> Answer<Self> {
        let caller = caller(parts)?;
        let tenant = caller.tenant_id()?;
        caller.needs(S::SCOPE)?;
        Ok(Self {
            tenant,
            caller,
            scope: PhantomData,
        })
    }
}

impl<S: Needs> FromRequestParts<Http> for Unbound<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Answer<Self> {
        let Allowed {
            tenant,
            caller,
            scope,
        } = Allowed::<S>::from_request_parts(parts, http).await?;
        caller.unbound()?;
        Ok(Self {
            tenant,
            caller,
            scope,
        })
    }
}

impl FromRequestParts<Http> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Http) -> Answer<Self> {
        let caller = caller(parts)?;
        match caller.principal() {
            Principal::Operator => Ok(Self),
            Principal::Tenant(_) => Err(Problem::new(ErrorCode::Forbidden, "this needs an operator key")),
        }
    }
}
