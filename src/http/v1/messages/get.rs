//! `GET /v1/messages/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::MessageId;
use roost_domain::message::Message;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::params::{Id, Params};
use crate::http::problem::Answer;

/// One message as it is now.
pub async fn get(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<MessageId>,
    mut params: Params,
) -> Answer<Json<Message>> {
    params.finish()?;
    Ok(Json(http.gateway()?.instances.message(tenant, id).await?))
}
