//! The picture of a group, as the phone of a member sets it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::super::body::Params;
use super::super::picture::{PictureView, problem, whole, with_room};
use super::super::problem::{Problem, ProblemCode};
use super::super::{Shared, media};
use super::{actor, find};
use crate::server::config::SandboxConfig;
use crate::server::group;
use crate::server::picture::Picture;
use crate::server::service::Service;

pub(super) fn routes(config: &SandboxConfig) -> Router<Arc<Service>> {
    let picture = get(show).put(set).delete(remove);
    Router::new().route("/groups/{id}/picture", with_room(picture, config))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByParams {
    /// Who acts; without it, who made the group.
    by: Option<String>,
}

/// Sets the picture to the JPEG in the body.
async fn set(
    State(service): Shared,
    Path(id): Path<String>,
    Params(params): Params<ByParams>,
    jpeg: Result<Bytes, BytesRejection>,
) -> Result<Json<PictureView>, Problem> {
    let jpeg = whole(jpeg)?;
    let picture = change(&service, &id, params.by.as_ref(), Some(jpeg)).await?;
    let picture = picture.ok_or_else(|| Problem::new(ProblemCode::Internal, "the picture was not set"))?;
    Ok(Json(PictureView::of(picture)))
}

async fn remove(
    State(service): Shared,
    Path(id): Path<String>,
    Params(params): Params<ByParams>,
) -> Result<StatusCode, Problem> {
    change(&service, &id, params.by.as_ref(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change(
    service: &Arc<Service>,
    id: &str,
    by: Option<&String>,
    jpeg: Option<Bytes>,
) -> Result<Option<Picture>, Problem> {
    let group = find(service, id)?;
    let by = actor(service, &group, by)?;
    let changed = media::in_background(service, move |service| {
        let _unit = service.journal.unit();
        // A phone acts: all companions of the account are told.
        group::set_picture(service, &group, &by, 0, jpeg.as_deref())
    });
    changed.await?.map_err(problem)
}

/// The picture as a JPEG.
async fn show(State(service): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let group = find(&service, &id)?;
    let picture = group.state().map_err(|error| super::problem(&error))?.picture;
    let bytes = media::in_background(&service, move |service| picture?.bytes(&service.media));
    match bytes.await? {
        Some(bytes) => Ok(media::file(bytes, Some("image/jpeg"))),
        None => Err(Problem::new(
            ProblemCode::MediaNotFound,
            "the group has no picture",
        )),
    }
}
