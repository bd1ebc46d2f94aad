//! `GET /v1/messages/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::MessageId;
use roost_domain::message::Message;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// One message as it is now.
pub async fn get(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<MessageId>,
    _: NoParams,
) -> Answer<Json<Message>> {
    Ok(Json(http.gateway()?.instances.message(tenant, id).await?))
}
