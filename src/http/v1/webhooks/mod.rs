//! `/v1/webhooks`: a tenant's endpoints, what became of their deliveries, and what can be done about
//! those that failed.

pub mod create;
pub mod dead_letters;
pub mod delete;
pub mod deliveries;
pub mod get;
mod header;
pub mod list;
pub mod patch;
pub mod pause;
pub mod replay;
pub mod secret;
mod secret_text;
mod spec;
pub mod stats;
pub mod test;

use axum::Json;
use roost_domain::webhook::Webhook;

type WebhookBody = Json<Webhook>;
