//! The layer around `/v1`: who calls, within which limits, and what is written down about it.
//!
//! Address, authentication, key and tenant come before the handler, in this order; the cheapest way to
//! refuse comes first, and nothing is looked up in the database for a call whose address has used up its
//! share. After the handler the answer gets its `RateLimit-*` headers and the audit log its row.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use roost_domain::ErrorCode;

use super::Http;
use super::audit::Answered;
use super::auth::{self, Shown};
use super::call::Call;
use super::problem::{Answer, Pending};
use super::state::Gateway;

/// The layer.
pub async fn layer(State(http): State<Http>, mut request: Request, next: Next) -> Response {
    let gateway = match http.gateway() {
        Ok(gateway) => gateway,
        Err(problem) => return problem.into_response(),
    };
    let call = Call::of(&request);
    let shown = Shown::of(
        request.method(),
        request.uri(),
        request.headers(),
        request.extensions(),
    );
    let mut unanswered = Unanswered {
        gateway,
        call: Some(&call),
    };
    let mut response = match admit(gateway, &call, shown).await {
        Ok(()) => {
            if let Some(caller) = call.caller() {
                request.extensions_mut().insert(caller.clone());
            }
            request.extensions_mut().insert(call.clone());
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    unanswered.call = None;
    write_standings(&call, &mut response);
    let answered = Answered::of(&response);
    gateway.audit.answered(gateway, &call, answered).await;
    response
}

/// Notes a call whose work is dropped before there is an answer.
struct Unanswered<'a> {
    gateway: &'a Gateway,
    call: Option<&'a Call>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.gateway.audit.broken_off(self.gateway, call);
        }
    }
}

async fn admit(gateway: &Gateway, call: &Call, shown: Answer<Shown>) -> Answer<()> {
    let limiter = &gateway.limiter;
    let key_is_known = shown.as_ref().is_ok_and(|shown| auth::is_known(gateway, shown));
    let share = limiter.address(call, key_is_known).await?;
    let authenticated = match shown {
        Ok(shown) => auth::authenticate(gateway, &shown, call.address()).await,
        Err(problem) => Err(Box::new(problem.into())),
    };
    let caller = match authenticated {
        Ok(caller) => caller,
        Err(refused) => {
            if let Some(caller) = refused.caller {
                call.identify(caller);
            }
            match refused.problem.code() {
                ErrorCode::Unauthorized => limiter.keep(call, share).await,
                // The database did not answer, or the tenant rests: nobody has guessed.
                _ => limiter.give_back(share),
            }
            return Err(refused.problem);
        }
    };
    limiter.give_back(share);
    let tenant = caller.principal().tenant();
    call.identify(caller);
    if let Some(tenant) = tenant {
        gateway.calls.call(tenant, gateway.clock.now());
    }
    limiter.call(call).await
}

fn write_standings(call: &Call, response: &mut Response) {
    let mut headers = HeaderMap::new();
    call.standings().write(&mut headers);
    match response.extensions_mut().get_mut::<Pending>() {
        // Its answer is written anew by the outermost layer.
        Some(pending) => pending.add_headers(headers),
        None => response.headers_mut().extend(headers),
    }
}
