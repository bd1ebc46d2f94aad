//! Ways to speak WhatsApp, behind the port [`roost_domain::engine::Engine`].
//!
//! [`web`] is the linked-device protocol of WhatsApp Web, on the crate `whatsapp-rust`. Nothing else
//! in Roost knows that library: none of its types leaves this crate.

pub mod web;

pub use web::{ConfigError, WebEngine, WebEngineConfig};
