//! An account's profile picture, as its phone sets it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde::Serialize;

use super::Shared;
use super::group;
use super::media;
use super::problem::{Problem, ProblemCode};
use crate::server::config::SandboxConfig;
use crate::server::media::StoreError;
use crate::server::picture::{Picture, PictureError};
use crate::server::service::Service;
use crate::server::stanza::picture::announce;

pub(super) fn routes(config: &SandboxConfig) -> Router<Arc<Service>> {
    let picture = get(show).put(set).delete(remove);
    Router::new().route("/accounts/{phone}/picture", with_room(picture, config))
}

#[derive(Serialize)]
pub(super) struct PictureView {
    id: String,
}

impl PictureView {
    pub(super) fn of(picture: Picture) -> Self {
        Self {
            id: picture.id.to_string(),
        }
    }
}

/// Lets the body of `methods` be as long as a picture.
pub(super) fn with_room(
    methods: MethodRouter<Arc<Service>>,
    config: &SandboxConfig,
) -> MethodRouter<Arc<Service>> {
    let body_bytes_max = config.body_bytes_max.max(config.picture_bytes_max);
    methods.layer(DefaultBodyLimit::max(body_bytes_max))
}

/// The body, which is a picture.
pub(super) fn whole(jpeg: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    jpeg.map_err(|_| Problem::new(ProblemCode::BodyTooLarge, "the body is over the sandbox's limit"))
}

pub(super) fn problem(error: PictureError) -> Problem {
    let code = match &error {
        PictureError::Group(error) => return group::problem(error),
        PictureError::NotJpeg | PictureError::TooLarge(_) => ProblemCode::InvalidBody,
        PictureError::Store(StoreError::Full) => ProblemCode::MediaStoreFull,
        // A phone sets its own picture.
        PictureError::Store(_) | PictureError::NotOwn | PictureError::Hidden => ProblemCode::Internal,
    };
    Problem::new(code, error.to_string())
}

/// Sets the picture to the JPEG in the body.
pub(super) async fn set(
    State(service): Shared,
    Path(phone): Path<String>,
    jpeg: Result<Bytes, BytesRejection>,
) -> Result<Json<PictureView>, Problem> {
    let account = super::account(&service, &phone)?;
    let jpeg = whole(jpeg)?;
    let bytes_max = service.config.picture_bytes_max;
    let picture = media::in_background(&service, move |service| {
        let _unit = service.journal.unit();
        let picture = account
            .picture
            .set(&service.media, account.raw_id, &jpeg, bytes_max)?;
        announce(service, &account, None, Some(picture));
        Ok(picture)
    });
    let picture = picture.await?.map_err(problem)?;
    Ok(Json(PictureView::of(picture)))
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
