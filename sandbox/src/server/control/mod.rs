//! The control API: how tests and users create accounts, scan codes and read what phones received.

pub(super) mod account;
mod app_state;
mod body;
mod evidence;
pub(super) mod fault;
mod group;
mod identity;
pub(super) mod media;
pub(super) mod message;
mod pairing;
mod picture;
mod presence;
pub(super) mod problem;
mod profile;
pub(super) mod rule;
mod scenario;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::account::Account;
use super::service::Service;
use super::stats::Stats;
use crate::wire::jid::{Domain, Jid};
use problem::{Problem, ProblemCode};

type Shared = State<Arc<Service>>;

pub(super) fn router(service: Arc<Service>) -> Router {
    let limit = service.config.body_bytes_max;
    let api = Router::new()
        .route("/accounts", get(account::list).post(account::create))
        .route("/accounts/{phone}", get(account::show))
        .route("/accounts/{phone}/scan", post(pairing::scan))
        .route("/accounts/{phone}/link-code", post(pairing::link_code))
        .route("/accounts/{phone}/read", post(message::read))
        .route("/accounts/{phone}/echo", post(account::echo))
        .route(
            "/accounts/{phone}/disconnect-devices",
            post(account::disconnect_devices),
        )
        .route("/accounts/{phone}/polls", get(message::polls))
        .merge(app_state::routes())
        .merge(evidence::routes())
        .merge(fault::routes())
        .merge(group::routes(&service.config))
        .merge(identity::routes())
        .merge(media::routes(&service.config))
        .merge(picture::routes(&service.config))
        .merge(presence::routes())
        .merge(profile::routes())
        .merge(rule::routes())
        .merge(scenario::routes())
        .route("/stats", get(stats))
        .method_not_allowed_fallback(|| async {
            Problem::new(ProblemCode::MethodNotAllowed, "the path has no such method")
        });
    let api = if service.journal.is_durable() {
        api.layer(middleware::from_fn_with_state(service.clone(), settle))
    } else {
        api
    };
    Router::new()
        .nest("/sandbox/v1", api)
        .fallback(|| async {
            let detail = "there is nothing at this path; the control API is below /sandbox/v1 (try \
                          /sandbox/v1/stats), and clients connect to /ws/chat";
            Problem::new(ProblemCode::NotFound, detail)
        })
        .layer(DefaultBodyLimit::max(limit))
        .with_state(service)
}

/// Answers when what the answer says is kept.
async fn settle(State(service): Shared, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    match service.journal.barrier().await {
        Ok(()) => answer,
        Err(lost) => Problem::new(ProblemCode::Internal, lost.to_string()).into_response(),
    }
}

async fn stats(State(service): Shared) -> Json<Stats> {
    Json(service.stats())
}

/// Digits of a phone number: 7 to 15, a leading plus is allowed.
fn phone_number<'a>(text: &'a str, pointer: &'static str) -> Result<&'a str, Problem> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    if is_number {
        return Ok(digits);
    }
    Err(Problem::new(
        ProblemCode::InvalidPhoneNumber,
        "a phone number has 7 to 15 digits, the country code first",
    )
    .at(pointer))
}

/// The account in the path.
fn account(service: &Service, phone: &str) -> Result<Arc<Account>, Problem> {
    let number = phone_number(phone, "")?;
    service.account_by_pn(number).ok_or_else(|| {
        Problem::new(
            ProblemCode::AccountNotFound,
            "no account has this phone number; create it first",
        )
    })
}

/// A chat: the digits of a phone number, or a JID of a user or group.
fn chat_jid(text: &str, pointer: &'static str) -> Result<String, Problem> {
    if !text.contains('@') {
        let number = phone_number(text, pointer)?;
        return Ok(Jid::new(number, 0, Domain::Pn).to_string());
    }
    let is_chat = |jid: &Jid| {
        let has_user = !jid.user.is_empty() && jid.device == 0;
        has_user && matches!(jid.domain, Domain::Pn | Domain::Lid | Domain::Group)
    };
    match Jid::parse(text).filter(is_chat) {
        Some(jid) => Ok(jid.to_string()),
        None => {
            let detail = "a chat is a phone number, or a JID of a user or group";
            Err(Problem::new(ProblemCode::InvalidField, detail).at(pointer))
        }
    }
}
