//! Faults: make, list, look at and take away.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;

use super::body::Body;
use super::problem::{Problem, ProblemCode};
use super::{Shared, phone_number};
use crate::server::fault::{FaultView, NewFault, TooManyFaults};
use crate::server::link::Link;
use crate::server::service::Service;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/faults", get(list).post(create).delete(clear))
        .route("/faults/{id}", get(show).delete(remove))
}

pub(super) async fn create(
    State(service): Shared,
    Body(body): Body<Value>,
) -> Result<(StatusCode, Json<FaultView>), Problem> {
    let fault = parse(&service, body)?;
    let number = add(&service, fault)?;
    let view = service.faults.view(number).ok_or_else(not_found)?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Reads a fault, and checks that whom it names is there.
pub(in crate::server) fn parse(service: &Service, body: Value) -> Result<NewFault, Problem> {
    let fault = NewFault::parse(body);
    let mut fault =
        fault.map_err(|(pointer, detail)| Problem::new(ProblemCode::InvalidField, detail).at(pointer))?;
    if let Some(account) = &mut fault.terms.account {
        let number = phone_number(account, "/account")?.to_owned();
        if service.account_by_pn(&number).is_none() {
            let detail = "no account has this phone number; create it first";
            return Err(Problem::new(ProblemCode::AccountNotFound, detail).at("/account"));
        }
        *account = number;
    }
    Ok(fault)
}

/// Adds a fault. One that strikes at once has struck when this returns.
pub(in crate::server) fn add(service: &Service, fault: NewFault) -> Result<u64, Problem> {
    let number = service.faults.add(fault).map_err(|TooManyFaults| {
        Problem::new(
            ProblemCode::TooManyFaults,
            "the sandbox holds its limit of faults; take some away",
        )
    })?;
    service.faults.strike_live(number, &live(service));
    Ok(number)
}

/// The connections of all companions.
fn live(service: &Service) -> Vec<(Arc<str>, u16, Arc<Link>)> {
    let mut live = Vec::new();
    for account in service.accounts() {
        for device in account.devices() {
            live.extend(device.link().map(|link| (account.pn.clone(), device.id, link)));
        }
    }
    live
}

#[derive(Serialize)]
pub(super) struct Faults {
    data: Vec<FaultView>,
}

pub(super) async fn list(State(service): Shared) -> Json<Faults> {
    Json(Faults {
        data: service.faults.list(),
    })
}

pub(super) async fn show(State(service): Shared, Path(id): Path<String>) -> Result<Json<FaultView>, Problem> {
    let view = service.faults.find(&id).ok_or_else(not_found)?;
    Ok(Json(view))
}

pub(super) async fn remove(State(service): Shared, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if service.faults.remove(&id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_found())
    }
}

#[derive(Serialize)]
pub(super) struct Cleared {
    removed: usize,
}

pub(super) async fn clear(State(service): Shared) -> Json<Cleared> {
    Json(Cleared {
        removed: service.faults.remove_if(|_| true),
    })
}

fn not_found() -> Problem {
    Problem::new(ProblemCode::FaultNotFound, "there is no fault with this id")
}
