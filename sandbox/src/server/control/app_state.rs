//! App state: what the phone sees, and what it writes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::body::Body;
use super::problem::{Problem, ProblemCode};
use super::{Shared, chat_jid};
use crate::server::phone;
use crate::server::phone::app_state::{self, Action, CollectionView, WriteError};
use crate::server::service::Service;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/accounts/{phone}/app-state", get(show).post(write))
        .route("/accounts/{phone}/app-state/key", post(rotate_key))
}

/// Longest text in an action.
const TEXT_BYTES_MAX: usize = 1_024;

#[derive(Serialize)]
pub(super) struct Collections {
    data: Vec<CollectionView>,
}

pub(super) async fn show(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<Collections>, Problem> {
    let account = super::account(&service, &phone)?;
    Ok(Json(Collections {
        data: app_state::view(&account),
    }))
}

/// Has the phone write an action; its companions are told.
pub(super) async fn write(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(mut action): Body<Action>,
) -> Result<StatusCode, Problem> {
    let account = super::account(&service, &phone)?;
    if let Some(chat) = action.chat_mut() {
        *chat = chat_jid(chat, "/chat")?;
    }
    let is_wrong = |text: &str| text.is_empty() || text.len() > TEXT_BYTES_MAX;
    let wrong = action.texts().into_iter().find(|(_, text)| is_wrong(text));
    if let Some((pointer, _)) = wrong {
        let detail = format!("a text in an action has 1 to {TEXT_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemCode::InvalidField, detail).at(pointer));
    }
    let _unit = service.journal.unit();
    match app_state::write(&service, &account, &action, None) {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error @ (WriteError::Full(_) | WriteError::NoRoom(_))) => {
            Err(Problem::new(ProblemCode::CollectionFull, error.to_string()))
        }
        Err(error) => Err(Problem::new(ProblemCode::CollectionBroken, error.to_string())),
    }
}

#[derive(Serialize)]
pub(super) struct NewKey {
    /// Hexadecimal.
    key_id: String,
}

/// Makes a new app-state key and shares it with the companions.
pub(super) async fn rotate_key(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<(StatusCode, Json<NewKey>), Problem> {
    let account = super::account(&service, &phone)?;
    let _unit = service.journal.unit();
    let id = phone::rotate_app_state_key(&service, &account);
    let key_id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((StatusCode::CREATED, Json(NewKey { key_id })))
}
