//! Linking a client: the phone scans its QR text, or its code is typed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::body::Body;
use super::problem::{Problem, ProblemCode};
use crate::server::registration::{self, Linked, PairingError};
use crate::server::service::Service;
use crate::signal::link_code::LinkCode;
use crate::signal::pairing::PairingQr;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeBody {
    code: String,
}

#[derive(Serialize)]
pub(super) struct LinkedDevice {
    /// The number of the new companion.
    device: u16,
}

/// Scans a QR text. Answers when the client is linked.
pub(super) async fn scan(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(CodeBody { code }): Body<CodeBody>,
) -> Result<Json<LinkedDevice>, Problem> {
    let account = super::account(&service, &phone)?;
    let code = PairingQr::parse(&code)
        .map_err(|error| Problem::new(ProblemCode::InvalidField, error.to_string()).at("/code"))?;
    let linked = registration::scan(&service, &account, &code).map_err(problem)?;
    finish(&service, linked).await
}

/// Types a link code. Answers when the client is linked.
pub(super) async fn link_code(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(CodeBody { code }): Body<CodeBody>,
) -> Result<Json<LinkedDevice>, Problem> {
    let account = super::account(&service, &phone)?;
    let code: LinkCode = code
        .parse()
        .map_err(|error: crate::signal::link_code::LinkCodeError| {
            Problem::new(ProblemCode::InvalidField, error.to_string()).at("/code")
        })?;
    let worker = service.clone();
    let entered =
        tokio::task::spawn_blocking(move || registration::enter_code(&worker, &account, &code)).await;
    let linked = entered
        .map_err(|_| Problem::new(ProblemCode::Internal, "the code could not be worked on"))?
        .map_err(problem)?;
    finish(&service, linked).await
}

async fn finish(service: &Arc<Service>, linked: Linked) -> Result<Json<LinkedDevice>, Problem> {
    match tokio::time::timeout(service.config.pairing_timeout, linked).await {
        Ok(Ok(Ok(device))) => Ok(Json(LinkedDevice { device })),
        Ok(Ok(Err(error))) => Err(problem(error)),
        Ok(Err(_)) => Err(problem(PairingError::Gone)),
        Err(_) => Err(problem(PairingError::TimedOut)),
    }
}

fn problem(error: PairingError) -> Problem {
    let code = match &error {
        PairingError::UnknownCode => ProblemCode::UnknownCode,
        PairingError::KeyMismatch => ProblemCode::KeyMismatch,
        PairingError::TooManyCompanions => ProblemCode::TooManyDevices,
        PairingError::NoCodeRequested => ProblemCode::NoCodeRequested,
        PairingError::WrongCode => ProblemCode::WrongCode,
        PairingError::TimedOut => ProblemCode::PairingTimedOut,
        PairingError::Busy | PairingError::BadKey(_) | PairingError::Gone | PairingError::Rejected => {
            ProblemCode::PairingFailed
        }
    };
    let is_about_code = matches!(
        code,
        ProblemCode::UnknownCode | ProblemCode::WrongCode | ProblemCode::KeyMismatch
    );
    Problem::new(code, error.to_string()).at(if is_about_code { "/code" } else { "" })
}
