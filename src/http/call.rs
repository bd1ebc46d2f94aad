//! One call of the API: what the layer around `/v1` and the handler know of it together.
//!
//! The layer makes it, says who calls, and looks at it when the answer is there. A handler takes it as an
//! extractor where a write carries the call's place in the audit log, or where what it is about to do is
//! limited by itself.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use roost_domain::store::Stamp;

use super::Http;
use super::audit::row;
use super::auth::Caller;
use super::client_address::ClientAddress;
use super::idempotency::Repeatable;
use super::limit::{Standings, TakenMessage};
use super::problem::{Answer, Problem};
use super::request_id::RequestId;
use super::state::Gateway;

const PREFIX: &str = "/v1";

/// One call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    method: Method,
    route: Option<MatchedPath>,
    uri: Uri,
    request_id: Option<RequestId>,
    address: Option<IpAddr>,
    caller: OnceLock<Caller>,
    notes: Mutex<Notes>,
}

/// What came up on the way.
#[derive(Debug, Default)]
struct Notes {
    standings: Standings,
    /// Whether a write carries the call's audit event.
    stamped: bool,
}

impl Call {
    /// The call that a request is.
    pub fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        Self(Arc::new(Inner {
            method: request.method().clone(),
            route: extensions.get::<MatchedPath>().cloned(),
            uri: request.uri().clone(),
            request_id: extensions.get::<RequestId>().cloned(),
            address: extensions.get::<ClientAddress>().map(|address| address.0),
            caller: OnceLock::new(),
            notes: Mutex::default(),
        }))
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The route that it has taken below `/v1`, with names in the place of what is in its path.
    pub fn route(&self) -> &str {
        let route = self.0.route.as_ref().map_or("", MatchedPath::as_str);
        route.strip_prefix(PREFIX).unwrap_or(route)
    }

    /// Its path below `/v1`: the router has taken that away.
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// Id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_ref().map(RequestId::as_str)
    }

    /// Address of the client.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// Says who calls.
    pub(super) fn identify(&self, caller: Caller) {
        // Authentication is asked once per call.
        let _ = self.0.caller.set(caller);
    }

    /// Who calls, also when something stands against the key.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()
    }

    /// Whether it is of a kind that changes something.
    pub fn changes(&self) -> bool {
        !matches!(self.0.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where a bucket stands.
    pub(super) fn note(&self, key: roost_domain::limit::BucketKey, standing: roost_domain::limit::Standing) {
        self.notes().standings.note(key, standing);
    }

    /// Where the buckets stand that it took from.
    pub(super) fn standings(&self) -> Standings {
        self.notes().standings
    }

    /// Whether a write carries its audit event.
    pub(super) fn is_stamped(&self) -> bool {
        self.notes().stamped
    }

    /// What a write carries of this call that is to be answered with `status`: what makes it repeatable,
    /// and its place in the audit log, which commit with the write.
    pub fn stamp(&self, gateway: &Gateway, repeatable: Option<Repeatable>, status: StatusCode) -> Stamp {
        self.notes().stamped = true;
        Stamp {
            idempotency: repeatable.map(|repeatable| gateway.record(repeatable, status)),
            audit: Some(row::done(gateway, self, status)),
        }
    }

    /// Takes a message from what the tenant may send; for a call that is about to accept one.
    pub async fn take_message(&self, gateway: &Gateway) -> Answer<TakenMessage> {
        gateway.limiter.storage(self).await?;
        gateway.limiter.message(self).await
    }

    /// Takes from what the tenant may do with sessions; for a call that connects or disconnects.
    pub async fn take_session_operation(&self, gateway: &Gateway) -> Answer<()> {
        gateway.limiter.session_operation(self).await
    }
}

impl FromRequestParts<Http> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Http) -> Answer<Self> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| Problem::internal("a route that needs its call lies outside of /v1"))
    }
}
