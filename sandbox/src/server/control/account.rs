//! Accounts: create, list, switch echo, drop connections.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::{Body, Params};
use super::problem::{Problem, ProblemCode};
use super::{Shared, phone_number};
use crate::server::account::Account;
use crate::server::service::{CreateError, Service};

const NAME_BYTES_MAX: usize = 100;
const LIST_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    phone_number: String,
    name: String,
    #[serde(default)]
    echo: bool,
}

/// An account as the API shows it.
#[derive(Serialize)]
pub(super) struct AccountView {
    phone_number: String,
    lid: String,
    name: String,
    echo: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture_id: Option<String>,
    devices: Vec<DeviceView>,
}

#[derive(Serialize)]
struct DeviceView {
    id: u16,
    connected: bool,
    /// Stanzas it has not settled.
    queued: usize,
    prekeys: usize,
}

impl AccountView {
    pub(super) fn of(account: &Arc<Account>) -> Self {
        let devices = account.devices().into_iter().map(|device| DeviceView {
            id: device.id,
            connected: device.link().is_some(),
            queued: device.queued(),
            prekeys: device.prekey_count(),
        });
        Self {
            phone_number: account.pn.to_string(),
            lid: account.lid().to_string(),
            name: account.name(),
            echo: account.phone.echoes(),
            picture_id: account.picture.get().map(|picture| picture.id.to_string()),
            devices: devices.collect(),
        }
    }
}

pub(super) async fn create(
    State(service): Shared,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<AccountView>), Problem> {
    let account = make(&service, &new.phone_number, &new.name, new.echo)?;
    Ok((StatusCode::CREATED, Json(AccountView::of(&account))))
}

/// Creates an account; scenarios come here too.
pub(in crate::server) fn make(
    service: &Service,
    number: &str,
    name: &str,
    echo: bool,
) -> Result<Arc<Account>, Problem> {
    let number = phone_number(number, "/phone_number")?;
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Problem::new(ProblemCode::InvalidField, "a name has 1 to 100 bytes").at("/name"));
    }
    let _unit = service.journal.unit();
    let created = service.create_account(number, name.to_owned(), echo);
    created.map_err(|error| match error {
        CreateError::Exists => {
            Problem::new(ProblemCode::AccountExists, error.to_string()).at("/phone_number")
        }
        CreateError::TooMany(_) => Problem::new(ProblemCode::TooManyAccounts, error.to_string()),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// The last phone number of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Page<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
}

pub(super) async fn list(
    State(service): Shared,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<AccountView>>, Problem> {
    let limit = list_limit(params.limit, LIST_MAX)?;
    let accounts = service.accounts();
    let start = params.after.map_or(0, |after| {
        accounts.partition_point(|account| *account.pn <= *after)
    });
    let rest = &accounts[start..];
    let page = &rest[..limit.min(rest.len())];
    let next_cursor = page
        .last()
        .filter(|_| page.len() < rest.len())
        .map(|account| account.pn.to_string());
    Ok(Json(Page {
        data: page.iter().map(AccountView::of).collect(),
        next_cursor,
    }))
}

pub(super) fn list_limit(limit: Option<usize>, max: usize) -> Result<usize, Problem> {
    match limit.unwrap_or(max) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(Problem::new(
            ProblemCode::InvalidQuery,
            format!("limit is from 1 to {max}"),
        )),
    }
}

pub(super) async fn show(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<AccountView>, Problem> {
    Ok(Json(AccountView::of(&super::account(&service, &phone)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Echo {
    enabled: bool,
}

pub(super) async fn echo(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(echo): Body<Echo>,
) -> Result<Json<AccountView>, Problem> {
    let account = super::account(&service, &phone)?;
    account.phone.set_echo(echo.enabled);
    Ok(Json(AccountView::of(&account)))
}

#[derive(Serialize)]
pub(super) struct Disconnected {
    disconnected: usize,
}

/// Closes the connections of an account's companions; they stay linked.
pub(super) async fn disconnect_devices(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<Disconnected>, Problem> {
    let account = super::account(&service, &phone)?;
    Ok(Json(Disconnected {
        disconnected: disconnect(&account),
    }))
}

/// Returns how many connections are closed.
pub(in crate::server) fn disconnect(account: &Account) -> usize {
    let links: Vec<_> = account
        .devices()
        .iter()
        .filter_map(|device| device.link())
        .collect();
    for link in &links {
        link.because("disconnect-devices");
        link.outbox.finish();
    }
    links.len()
}
