//! `/v1/instances`: WhatsApp numbers, and what can be done with their sessions.

pub mod connect;
pub mod create;
pub mod delete;
pub mod disconnect;
pub mod get;
pub mod history;
pub mod list;
pub mod logout;
pub mod pairing_code;
pub mod patch;
pub mod qr;

use axum::Json;
use roost_domain::Timestamp;
use roost_domain::instance::Instance;
use serde::Serialize;

/// A code to be shown to the person with the phone.
#[derive(Debug, Serialize)]
pub struct CodeBody {
    code: String,
    expires_at: Timestamp,
}

type InstanceBody = Json<Instance>;
