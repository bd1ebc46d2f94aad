//! Who an account is: its companions, its keys, its numbers, and what changes when a phone is set up
//! again or gets another number.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::account::AccountView;
use super::body::Body;
use super::problem::{Problem, ProblemCode};
use super::{Shared, phone_number};
use crate::server::identity;
use crate::server::service::{CreateError, Service};
use crate::server::stanza;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/accounts/{phone}/devices/{device}", delete(unlink))
        .route("/accounts/{phone}/register-again", post(register_again))
        .route("/accounts/{phone}/change-lid", post(change_lid))
        .route("/accounts/{phone}/change-number", post(change_number))
}

/// Unlinks a companion from the phone.
async fn unlink(
    State(service): Shared,
    Path((phone, device)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let account = super::account(&service, &phone)?;
    let device = device.parse().ok().and_then(|id: u16| account.device(id));
    let Some(device) = device else {
        let detail = "the account has no companion with this number";
        return Err(Problem::new(ProblemCode::DeviceNotFound, detail));
    };
    let _unit = service.journal.unit();
    stanza::unlink(&service, &account, device.id);
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the phone up again: new keys, no companions.
async fn register_again(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<AccountView>, Problem> {
    let account = super::account(&service, &phone)?;
    let _unit = service.journal.unit();
    identity::register_again(&service, &account);
    Ok(Json(AccountView::of(&account)))
}

/// Gives the account another LID.
async fn change_lid(State(service): Shared, Path(phone): Path<String>) -> Result<Json<AccountView>, Problem> {
    let account = super::account(&service, &phone)?;
    let _unit = service.journal.unit();
    identity::change_lid(&service, &account);
    Ok(Json(AccountView::of(&account)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNumber {
    phone_number: String,
}

/// Moves the account to another number.
async fn change_number(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(new): Body<NewNumber>,
) -> Result<(StatusCode, Json<AccountView>), Problem> {
    let account = super::account(&service, &phone)?;
    let number = phone_number(&new.phone_number, "/phone_number")?;
    let _unit = service.journal.unit();
    match identity::change_number(&service, &account, number) {
        Ok(moved) => Ok((StatusCode::CREATED, Json(AccountView::of(&moved)))),
        Err(error @ CreateError::Exists) => {
            Err(Problem::new(ProblemCode::AccountExists, error.to_string()).at("/phone_number"))
        }
        Err(error @ CreateError::TooMany(_)) => {
            Err(Problem::new(ProblemCode::TooManyAccounts, error.to_string()))
        }
    }
}
