//! Evidence: the devices of an account, when they logged in, and what each connection said.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::account::list_limit;
use super::body::Params;
use super::problem::{Problem, ProblemCode};
use crate::server::account::{Account, DEVICE_ID_MAX};
use crate::server::ledger::{Event, LoginView};
use crate::server::service::Service;

const LEDGER_MAX: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/accounts/{phone}/devices", get(devices))
        .route("/accounts/{phone}/logins", get(logins))
        .route("/accounts/{phone}/ledger", get(ledger))
}

#[derive(Serialize)]
pub(super) struct List<T> {
    data: Vec<T>,
}

#[derive(Serialize)]
pub(super) struct DeviceView {
    id: u16,
    /// What the client says it is.
    platform: Option<String>,
    os: Option<String>,
    /// Unix seconds.
    linked_at: u64,
    connected: bool,
    connection: Option<u64>,
    remote_address: Option<String>,
    /// Stanzas it has not settled.
    queued: usize,
    /// One-time keys it has left.
    prekeys: usize,
    registration_id: u32,
}

/// The companions of an account.
pub(super) async fn devices(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<List<DeviceView>>, Problem> {
    let account = super::account(&service, &phone)?;
    let views = account.devices().into_iter().map(|device| {
        let link = device.link();
        DeviceView {
            id: device.id,
            platform: device.about.platform.clone(),
            os: device.about.os.clone(),
            linked_at: device.about.linked_at_s,
            connected: link.is_some(),
            connection: link.as_ref().map(|link| link.id),
            remote_address: link.and_then(|link| link.remote).map(|remote| remote.to_string()),
            queued: device.queued(),
            prekeys: device.prekey_count(),
            registration_id: device.registration_id,
        }
    });
    Ok(Json(List {
        data: views.collect(),
    }))
}

/// Every login of every companion of an account, those that are unlinked included.
pub(super) async fn logins(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<List<LoginView>>, Problem> {
    let account = super::account(&service, &phone)?;
    let mut data = Vec::new();
    for device in 1..=DEVICE_ID_MAX {
        if let Some(ledger) = service.ledgers.find(&account.pn, device) {
            data.extend(ledger.logins(device));
        }
    }
    data.sort_unstable_by_key(|login| login.order);
    Ok(Json(List { data }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerParams {
    device: u16,
    /// The `order` of the last line of the page before.
    after: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct LedgerView {
    data: Vec<Event>,
    next_cursor: Option<String>,
    /// Lines that were written and are no longer kept.
    forgotten: u64,
    /// Whether frames are written down at all.
    frames: bool,
}

pub(super) async fn ledger(
    State(service): Shared,
    Path(phone): Path<String>,
    Params(params): Params<LedgerParams>,
) -> Result<Json<LedgerView>, Problem> {
    let account = super::account(&service, &phone)?;
    let limit = list_limit(params.limit, LEDGER_MAX)?;
    let frames = service.config.ledger_frames_max > 0;
    let Some(ledger) = service.ledgers.find(&account.pn, params.device) else {
        return never_seen(&account, params.device, frames);
    };
    let page = ledger.read(params.after.unwrap_or(0), limit);
    let next_cursor = page.events.last().filter(|_| page.more);
    Ok(Json(LedgerView {
        next_cursor: next_cursor.map(|event| event.order.to_string()),
        data: page.events,
        forgotten: page.forgotten,
        frames,
    }))
}

/// A device that has not logged in yet has an empty ledger; one that never was has none.
fn never_seen(account: &Arc<Account>, device: u16, frames: bool) -> Result<Json<LedgerView>, Problem> {
    if account.device(device).is_none() {
        let detail = "the account has no device with this number";
        return Err(Problem::new(ProblemCode::DeviceNotFound, detail));
    }
    Ok(Json(LedgerView {
        data: Vec::new(),
        next_cursor: None,
        forgotten: 0,
        frames,
    }))
}
