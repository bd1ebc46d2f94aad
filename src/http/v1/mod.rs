//! `/v1`: the folder is the URL word, the file the verb.

mod deliveries;
mod events;
mod instances;
mod messages;
mod operator;
mod webhooks;

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
        .route("/events", get(events::read).post(events::publish::publish))
        .route("/events/ws", get(events::ws::ws))
        .merge(webhook_routes())
        .route("/operator/actors", get(operator::actors::list))
        .route(
            "/operator/actors/{*path}",
            get(operator::actors::get).post(operator::actors::act),
        )
}

fn webhook_routes() -> Router<Http> {
    Router::new()
        .route(
            "/webhooks",
            get(webhooks::list::list).post(webhooks::create::create),
        )
        .route(
            "/webhooks/{id}",
            get(webhooks::get::get)
                .patch(webhooks::patch::patch)
                .delete(webhooks::delete::delete),
        )
        .route("/webhooks/{id}/pause", post(webhooks::pause::pause))
        .route("/webhooks/{id}/resume", post(webhooks::pause::resume))
        .route("/webhooks/{id}/secret", get(webhooks::secret::reveal))
        .route("/webhooks/{id}/rotate-secret", post(webhooks::secret::rotate))
        .route("/webhooks/{id}/test", post(webhooks::test::test))
        .route("/webhooks/{id}/stats", get(webhooks::stats::stats))
        .route("/webhooks/{id}/replay", post(webhooks::replay::replay))
        .route("/webhooks/{id}/deliveries", get(webhooks::deliveries::deliveries))
        .route("/webhooks/{id}/dead-letters", get(webhooks::dead_letters::list))
        .route(
            "/webhooks/{id}/dead-letters/redrive",
            post(webhooks::dead_letters::redrive),
        )
        .route("/deliveries/{id}", get(deliveries::get::get))
        .route("/deliveries/{id}/retry", post(deliveries::retry::retry))
}
