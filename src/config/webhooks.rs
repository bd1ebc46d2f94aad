//! `[webhooks]`. `config/default.toml` says what each key means.

use serde::{Deserialize, Serialize};

use super::WebhookClient;

/// `[webhooks]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// How endpoints are reached.
    pub client: WebhookClient,
}
