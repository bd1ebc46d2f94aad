//! `/v1`: the folder is the URL word, the file the verb.

mod api_keys;
mod audit_events;
mod deliveries;
mod events;
mod instances;
mod messages;
mod operator;
mod stream_tokens;
mod usage;
mod webhooks;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::Http;

/// Every route below `/v1`. They are registered with their descriptions, so that none is without.
pub fn routes() -> OpenApiRouter<Http> {
    OpenApiRouter::default()
        .routes(routes!(instances::list::list, instances::create::create))
        .routes(routes!(
            instances::get::get,
            instances::patch::patch,
            instances::delete::delete
        ))
        .routes(routes!(instances::connect::connect))
        .routes(routes!(instances::stop::disconnect))
        .routes(routes!(instances::stop::logout))
        .routes(routes!(instances::qr::qr))
        .routes(routes!(instances::pairing_code::pairing_code))
        .routes(routes!(instances::history::history))
        .routes(routes!(messages::list::list, messages::send::send))
        .routes(routes!(messages::get::get))
        .routes(routes!(messages::read::read))
        .routes(routes!(events::read, events::publish::publish))
        .routes(routes!(events::ws::ws))
        .merge(webhook_routes())
        .merge(key_routes())
        .merge(operator_routes())
}

fn key_routes() -> OpenApiRouter<Http> {
    OpenApiRouter::default()
        .routes(routes!(api_keys::list::list, api_keys::create::create))
        .routes(routes!(
            api_keys::get::get,
            api_keys::patch::patch,
            api_keys::delete::delete
        ))
        .routes(routes!(api_keys::rotate::rotate))
        .routes(routes!(stream_tokens::create::create))
        .routes(routes!(audit_events::list::list))
        .routes(routes!(usage::get::get))
}

fn operator_routes() -> OpenApiRouter<Http> {
    OpenApiRouter::default()
        .routes(routes!(operator::actors::list))
        .routes(routes!(operator::actors::get, operator::actors::act))
        .routes(routes!(operator::nodes::list))
        .routes(routes!(operator::nodes::drain, operator::nodes::undrain))
        .routes(routes!(operator::slots::list))
        .routes(routes!(
            operator::tenants::list::list,
            operator::tenants::create::create
        ))
        .routes(routes!(
            operator::tenants::get::get,
            operator::tenants::patch::patch,
            operator::tenants::delete::delete
        ))
        .routes(routes!(operator::tenants::api_keys::create))
        .routes(routes!(operator::usage::get))
        .routes(routes!(operator::audit_events::list))
        .routes(routes!(
            operator::api_keys::list::list,
            operator::api_keys::create::create
        ))
        .routes(routes!(operator::api_keys::delete::delete))
        .routes(routes!(
            operator::master_key::rotation,
            operator::master_key::rotate
        ))
}

fn webhook_routes() -> OpenApiRouter<Http> {
    OpenApiRouter::default()
        .routes(routes!(webhooks::list::list, webhooks::create::create))
        .routes(routes!(
            webhooks::get::get,
            webhooks::patch::patch,
            webhooks::delete::delete
        ))
        .routes(routes!(webhooks::pause::pause))
        .routes(routes!(webhooks::pause::resume))
        .routes(routes!(webhooks::secret::reveal))
        .routes(routes!(webhooks::secret::rotate))
        .routes(routes!(webhooks::test::test))
        .routes(routes!(webhooks::stats::stats))
        .routes(routes!(webhooks::replay::replay))
        .routes(routes!(webhooks::deliveries::deliveries))
        .routes(routes!(webhooks::dead_letters::list))
        .routes(routes!(webhooks::dead_letters::redrive))
        .routes(routes!(deliveries::get::get))
        .routes(routes!(deliveries::retry::retry))
}
