//! `/v1`: the folder is the URL word, the file the verb.

mod events;
mod instances;
mod messages;
mod operator;

use axum::Router;
use axum::routing::{get, post};

use super::state::Http;

/// Every route below `/v1`.
pub fn router() -> Router<Http> {
    Router::new()
        .route(
            "/instances",
            get(instances::list::list).post(instances::create::create),
        )
        .route(
            "/instances/{id}",
            get(instances::get::get)
                .patch(instances::patch::patch)
                .delete(instances::delete::delete),
        )
        .route("/instances/{id}/connect", post(instances::connect::connect))
        .route("/instances/{id}/disconnect", post(instances::stop::disconnect))
        .route("/instances/{id}/logout", post(instances::stop::logout))
        .route("/instances/{id}/qr", get(instances::qr::qr))
        .route(
            "/instances/{id}/pairing-code",
            get(instances::pairing_code::pairing_code),
        )
        .route("/instances/{id}/history", get(instances::history::history))
        .route(
            "/instances/{id}/messages",
            get(messages::list::list).post(messages::send::send),
        )
        .route("/messages/{id}", get(messages::get::get))
        .route("/messages/{id}/read", post(messages::read::read))
        .route("/events", get(events::read))
        .route("/events/ws", get(events::ws::ws))
        .route("/operator/actors", get(operator::actors::list))
        .route(
            "/operator/actors/{*path}",
            get(operator::actors::get).post(operator::actors::act),
        )
}
