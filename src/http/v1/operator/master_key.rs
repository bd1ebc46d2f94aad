//! `/v1/operator/master-key/rotate`: everything encrypted at rest is encrypted anew, while the gateway
//! works.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use roost_domain::ErrorCode;
use roost_domain::rotation::Rotation;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::{Command, Nothing};
use crate::http::openapi::param::Repeatable;
use crate::http::params::NoParams;
use crate::http::problem::Answer;

/// The last rotation of the master key, if there was one.
#[derive(Debug, Serialize, ToSchema)]
pub struct MasterKeyRotation {
    rotation: Option<Rotation>,
}

/// Rotate the master key.
///
/// Encrypts everything at rest anew, in the background, while the gateway works. With a key file a new key
/// is made and the file rewritten; keys from the configuration are changed there, and this is called then.
/// What was plain text before `store.encrypt_messages` was turned on is encrypted too. While a rotation is
/// under way this changes nothing.
#[utoipa::path(
    post, path = "/operator/master-key/rotate", operation_id = "rotate_master_key", tag = "operator",
    params(Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 202, description = "It has begun, or is under way", body = MasterKeyRotation)),
    extensions(("x-errors" = json!([ErrorCode::WrongState])))
)]
pub async fn rotate(
    State(http): State<Http>,
    _: Operator,
    _: NoParams,
    _: Command<Nothing>,
) -> Answer<(StatusCode, Json<MasterKeyRotation>)> {
    let rotation = http.gateway()?.store.rotate_master_key().await?;
    let rotation = Some(rotation);
    Ok((StatusCode::ACCEPTED, Json(MasterKeyRotation { rotation })))
}

/// Get the rotation of the master key.
///
/// The last one, and how far it is.
#[utoipa::path(
    get, path = "/operator/master-key/rotate", operation_id = "get_master_key_rotation", tag = "operator",
    responses((status = 200, description = "The last rotation, or null", body = MasterKeyRotation))
)]
pub async fn rotation(State(http): State<Http>, _: Operator, _: NoParams) -> Answer<Json<MasterKeyRotation>> {
    let rotation = http.gateway()?.store.rotation().await?;
    Ok(Json(MasterKeyRotation { rotation }))
}
