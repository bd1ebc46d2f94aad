//! The demo tenant's keys: kept in the data folder, so that a restart shows the same ones.

use std::fs;

use anyhow::Context;
use roost_domain::api_key::Principal;
use roost_domain::store::{Stamp, Tenants};
use serde::{Deserialize, Serialize};

use crate::access::{KeyText, NewKey};
use crate::cli::ready_file::write_private;
use crate::cli::tenant;
use crate::config::Data;
use crate::system::{OsEntropy, SystemClock};

const FILE: &str = "sandbox-keys.json";

/// Keys of the demo.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) api_key: String,
    pub(super) operator_key: String,
}

/// The keys of the last start when they are still valid, else new ones with a new tenant.
pub(super) async fn load_or_create(
    store: &(impl Tenants + roost_domain::store::Keys),
    data: &Data,
) -> anyhow::Result<Keys> {
    let path = data.path(FILE);
    let kept = fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Keys>(&bytes).ok());
    if let Some(keys) = kept
        && is_valid(store, &keys.api_key).await?
        && is_valid(store, &keys.operator_key).await?
    {
        return Ok(keys);
    }
    let demo = tenant::new("demo");
    store.create_tenant(&demo, None, Stamp::default()).await?;
    let make = |principal| NewKey::new(principal, "sandbox").keep(store, &SystemClock, &OsEntropy);
    let keys = Keys {
        api_key: make(Principal::Tenant(demo.id)).await?.text.reveal().to_owned(),
        operator_key: make(Principal::Operator).await?.text.reveal().to_owned(),
    };
    write_private(&path, &serde_json::to_vec(&keys)?)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(keys)
}

async fn is_valid(store: &impl roost_domain::store::Keys, text: &str) -> anyhow::Result<bool> {
    let Some(key) = KeyText::parse(text) else {
        return Ok(false);
    };
    let found = store.credential(key.prefix()).await?;
    Ok(found.is_some_and(|found| found.secret.hash == store.key_hash(key.reveal())))
}
