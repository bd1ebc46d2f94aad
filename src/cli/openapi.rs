//! `roost openapi` and `roost errors`: what clients can rely on, as files.

use super::{Common, say};
use crate::http::openapi;

/// Prints the document that `/openapi.json` would serve.
pub(super) fn document(common: &Common) -> anyhow::Result<()> {
    let config = common.load()?;
    let document = openapi::document(&config.http, &config.webhooks);
    say(&openapi::text(&document));
    Ok(())
}

/// Prints the list of error codes.
pub(super) fn errors() {
    say(&openapi::reference());
}
