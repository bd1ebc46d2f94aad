//! What a phone shows of itself: typing in a chat, and whether it is there.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;

use super::Shared;
use super::body::Body;
use super::problem::{Problem, ProblemCode};
use crate::server::service::Service;
use crate::server::stanza::presence::{ChatState, phone_types, refresh};

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/accounts/{phone}/typing", post(typing))
        .route("/accounts/{phone}/presence", post(presence))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typing {
    pub to: String,
    pub state: ChatState,
}

pub(super) async fn typing(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(typing): Body<Typing>,
) -> Result<StatusCode, Problem> {
    let account = super::account(&service, &phone)?;
    if phone_types(&service, &account, &typing.to, typing.state) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(ProblemCode::AccountNotFound, "there is no such chat").at("/to"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresenceBody {
    pub available: bool,
}

pub(super) async fn presence(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(presence): Body<PresenceBody>,
) -> Result<StatusCode, Problem> {
    let account = super::account(&service, &phone)?;
    account.phone.set_available(presence.available);
    refresh(&service, &account);
    Ok(StatusCode::NO_CONTENT)
}
