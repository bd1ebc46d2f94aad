//! An account's profile picture, as its phone sets it.

use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Shared;
use super::media;
use super::problem::{Problem, ProblemCode};
use crate::server::config::SandboxConfig;
use crate::server::media::StoreError;
use crate::server::picture::PictureError;
use crate::server::service::Service;
use crate::server::stanza::picture::announce;

pub(super) fn routes(config: &SandboxConfig) -> Router<Arc<Service>> {
    let body_bytes_max = config.body_bytes_max.max(config.picture_bytes_max);
    let picture = get(show).put(set).delete(remove);
    Router::new().route(
        "/accounts/{phone}/picture",
        picture.layer(DefaultBodyLimit::max(body_bytes_max)),
    )
}

#[derive(Serialize)]
pub(super) struct PictureView {
    id: String,
}

/// Sets the picture to the JPEG in the body.
pub(super) async fn set(
    State(service): Shared,
    Path(phone): Path<String>,
    jpeg: Result<Bytes, BytesRejection>,
) -> Result<Json<PictureView>, Problem> {
    let account = super::account(&service, &phone)?;
    let jpeg =
        jpeg.map_err(|_| Problem::new(ProblemCode::BodyTooLarge, "the body is over the sandbox's limit"))?;
    let bytes_max = service.config.picture_bytes_max;
    let picture = media::in_background(&service, move |service| {
        let _unit = service.journal.unit();
        let picture = account
            .picture
            .set(&service.media, account.raw_id, &jpeg, bytes_max)?;
        announce(service, &account, None, Some(picture));
        Ok(picture)
    });
    let picture = picture.await?.map_err(|error: PictureError| {
        let code = match &error {
            PictureError::NotJpeg | PictureError::TooLarge(_) => ProblemCode::InvalidBody,
            PictureError::Store(StoreError::Full) => ProblemCode::MediaStoreFull,
            // A phone sets its own picture.
            PictureError::Store(_) | PictureError::NotOwn | PictureError::Hidden | PictureError::Group(_) => {
                ProblemCode::Internal
            }
        };
        Problem::new(code, error.to_string())
    })?;
    Ok(Json(PictureView {
        id: picture.id.to_string(),
    }))
}

/// The picture as a JPEG.
pub(super) async fn show(State(service): Shared, Path(phone): Path<String>) -> Result<Response, Problem> {
    let account = super::account(&service, &phone)?;
    let bytes = media::in_background(&service, move |service| {
        account.picture.get()?.bytes(&service.media)
    });
    match bytes.await? {
        Some(bytes) => Ok(media::file(bytes, Some("image/jpeg"))),
        None => Err(Problem::new(
            ProblemCode::MediaNotFound,
            "the account has no picture",
        )),
    }
}

pub(super) async fn remove(State(service): Shared, Path(phone): Path<String>) -> Result<StatusCode, Problem> {
    let account = super::account(&service, &phone)?;
    let _unit = service.journal.unit();
    if account.picture.remove() {
        announce(&service, &account, None, None);
    }
    Ok(StatusCode::NO_CONTENT)
}
