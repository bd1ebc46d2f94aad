//! What phones show of themselves, whom they block, and who types to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::problem::{Problem, ProblemCode};
use super::{Shared, phone_number};
use crate::server::account::Account;
use crate::server::phone::Heard;
use crate::server::profile::{CATEGORIES, Category};
use crate::server::service::Service;
use crate::server::stanza::profile as stanza;
use crate::server::sync::{lock, now_s};
use crate::wire::node::Node;

const ABOUT_BYTES_MAX: usize = 1_024;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/accounts/{phone}/chat-states", get(chat_states))
        .route("/accounts/{phone}/profile", get(show).patch(change))
}

#[derive(Serialize)]
pub(super) struct ChatStates {
    data: Vec<Heard>,
}

/// What others do in their chats with the phone.
pub(super) async fn chat_states(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<ChatStates>, Problem> {
    let account = super::account(&service, &phone)?;
    Ok(Json(ChatStates {
        data: account.phone.heard(),
    }))
}

/// A profile as its owner sees it.
#[derive(Serialize)]
pub(super) struct ProfileView {
    name: String,
    about: String,
    privacy: BTreeMap<&'static str, String>,
    /// Phone numbers.
    blocked: Vec<String>,
    /// The timer of new chats, in seconds.
    timer_s: u32,
}

impl ProfileView {
    fn of(service: &Service, account: &Account) -> Self {
        let name = account.name();
        let profile = lock(&account.profile).clone();
        let numbers = profile.blocked().filter_map(|(number, _)| {
            let other = service.account_by_number(number)?;
            Some(other.pn.to_string())
        });
        Self {
            name,
            privacy: CATEGORIES
                .iter()
                .map(|category| (category.name, profile.privacy(category).to_owned()))
                .collect(),
            blocked: numbers.collect(),
            timer_s: profile.timer_s,
            about: profile.about,
        }
    }
}

pub(super) async fn show(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<ProfileView>, Problem> {
    let account = super::account(&service, &phone)?;
    Ok(Json(ProfileView::of(&service, &account)))
}

/// What to change of a profile; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileChange {
    about: Option<String>,
    #[serde(default)]
    privacy: BTreeMap<String, String>,
    /// Phone numbers to block.
    #[serde(default)]
    block: Vec<String>,
    /// Phone numbers to block no longer.
    #[serde(default)]
    unblock: Vec<String>,
}

/// Changes a profile from the phone; the companions are told.
pub(super) async fn change(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(body): Body<ProfileChange>,
) -> Result<Json<ProfileView>, Problem> {
    let account = super::account(&service, &phone)?;
    let too_long = |text: &String| text.len() > ABOUT_BYTES_MAX;
    if body.about.as_ref().is_some_and(too_long) {
        let detail = format!("an about text has at most {ABOUT_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemCode::InvalidField, detail).at("/about"));
    }
    let privacy = body.privacy.iter().map(|(name, value)| {
        let category = Category::find(name).filter(|category| category.allows(value));
        category
            .map(|category| (category, value.as_str()))
            .ok_or_else(|| {
                let detail = format!("{name} is no privacy setting that may be {value}");
                Problem::new(ProblemCode::InvalidField, detail).at(format!("/privacy/{name}"))
            })
    });
    let privacy = privacy.collect::<Result<Vec<_>, _>>()?;
    let others = |numbers: &[String], pointer: &'static str| {
        let accounts = numbers.iter().map(|number| other(&service, number, pointer));
        accounts.collect::<Result<Vec<_>, _>>()
    };
    let (block, unblock) = (others(&body.block, "/block")?, others(&body.unblock, "/unblock")?);
    let _unit = service.journal.unit();
    if let Some(about) = &body.about {
        stanza::change_about(&service, &account, about, None);
    }
    for (category, value) in privacy {
        account.change_profile(|profile| profile.set_privacy(category, value));
        let changed = Node::new("category")
            .attr("name", category.name)
            .attr("value", value.to_owned());
        stanza::sync_account(&service, &account, None, Node::new("privacy").child(changed));
    }
    let changes = block.iter().map(|other| (other, true));
    for (other, is_blocked) in changes.chain(unblock.iter().map(|other| (other, false))) {
        stanza::block(&service, &account, None, &[(other.clone(), is_blocked)], now_s());
    }
    Ok(Json(ProfileView::of(&service, &account)))
}

/// Another account, by its number.
fn other(service: &Service, number: &str, pointer: &'static str) -> Result<Arc<Account>, Problem> {
    let digits = phone_number(number, pointer)?;
    service
        .account_by_pn(digits)
        .ok_or_else(|| Problem::new(ProblemCode::AccountNotFound, "this number has no account").at(pointer))
}
