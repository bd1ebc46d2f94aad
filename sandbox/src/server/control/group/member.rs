//! Who is in a group: adding and removing, invite codes, joining and leaving.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::super::Shared;
use super::super::body::{Body, Params};
use super::super::problem::Problem;
use super::{account, actor, find, problem, targets};
use crate::server::group::{self, Change, Joined, Outcome};
use crate::server::service::Service;
use crate::server::stanza::error::StanzaError;

const INVITE_LINK: &str = "https://chat.whatsapp.com/";

/// What became of each participant; the error is the one clients get.
#[derive(Serialize)]
pub(in crate::server::control) struct Outcomes {
    participants: Vec<OutcomeView>,
}

#[derive(Serialize)]
struct OutcomeView {
    phone_number: String,
    error: Option<u16>,
}

impl Outcomes {
    fn of(outcomes: Vec<Outcome>) -> Json<Self> {
        let participants = outcomes.into_iter().map(|outcome| OutcomeView {
            phone_number: outcome.named,
            error: outcome.error.map(StanzaError::number),
        });
        Json(Self {
            participants: participants.collect(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server::control) struct ParticipantsBody {
    action: Action,
    participants: Vec<String>,
    by: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Add,
    Remove,
    Promote,
    Demote,
}

pub(in crate::server::control) async fn change_participants(
    State(service): Shared,
    Path(id): Path<String>,
    Body(body): Body<ParticipantsBody>,
) -> Result<Json<Outcomes>, Problem> {
    let group = find(&service, &id)?;
    let by = actor(&service, &group, body.by.as_ref())?;
    let targets = targets(&service, &body.participants)?;
    let change = match body.action {
        Action::Add => Change::Add,
        Action::Remove => Change::Remove,
        Action::Promote => Change::Promote,
        Action::Demote => Change::Demote,
    };
    let _unit = service.journal.unit();
    let outcomes = group::change_members(&service, &group, &by, change, targets);
    Ok(Outcomes::of(outcomes.map_err(|error| problem(&error))?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server::control) struct By {
    by: Option<String>,
}

#[derive(Serialize)]
pub(in crate::server::control) struct InviteView {
    code: String,
    link: String,
}

fn invite(service: &Service, id: &str, by: &By, reset: bool) -> Result<Json<InviteView>, Problem> {
    let group = find(service, id)?;
    let by = actor(service, &group, by.by.as_ref())?;
    let _unit = service.journal.unit();
    let code = group::invite_code(service, &group, &by, reset).map_err(|error| problem(&error))?;
    let link = format!("{INVITE_LINK}{code}");
    Ok(Json(InviteView { code, link }))
}

pub(in crate::server::control) async fn show_invite(
    State(service): Shared,
    Path(id): Path<String>,
    Params(by): Params<By>,
) -> Result<Json<InviteView>, Problem> {
    invite(&service, &id, &by, false)
}

pub(in crate::server::control) async fn reset_invite(
    State(service): Shared,
    Path(id): Path<String>,
    Body(by): Body<By>,
) -> Result<Json<InviteView>, Problem> {
    invite(&service, &id, &by, true)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server::control) struct JoinBody {
    phone: String,
    /// The code, or the link with it.
    code: String,
}

#[derive(Serialize)]
pub(in crate::server::control) struct JoinedView {
    group_id: String,
    /// `joined`, or `requested` when an admin has to agree.
    result: &'static str,
}

pub(in crate::server::control) async fn join(
    State(service): Shared,
    Body(body): Body<JoinBody>,
) -> Result<Json<JoinedView>, Problem> {
    let account = account(&service, &body.phone, "/phone")?;
    let code = body.code.strip_prefix(INVITE_LINK).unwrap_or(&body.code);
    let _unit = service.journal.unit();
    let (group, joined) = group::join(&service, &account, code).map_err(|error| problem(&error))?;
    Ok(Json(JoinedView {
        group_id: group.jid(),
        result: match joined {
            Joined::Member => "joined",
            Joined::Asked => "requested",
        },
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server::control) struct LeaveBody {
    phone: String,
}

pub(in crate::server::control) async fn leave(
    State(service): Shared,
    Path(id): Path<String>,
    Body(body): Body<LeaveBody>,
) -> Result<StatusCode, Problem> {
    let group = find(&service, &id)?;
    let account = account(&service, &body.phone, "/phone")?;
    let _unit = service.journal.unit();
    group::leave(&service, &group, &account).map_err(|error| problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server::control) struct DecisionBody {
    action: Decision,
    participants: Vec<String>,
    by: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Approve,
    Reject,
}

/// Lets those in who asked to join, or turns them away.
pub(in crate::server::control) async fn decide(
    State(service): Shared,
    Path(id): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Json<Outcomes>, Problem> {
    let group = find(&service, &id)?;
    let by = actor(&service, &group, body.by.as_ref())?;
    let targets = targets(&service, &body.participants)?;
    let approve = body.action == Decision::Approve;
    let _unit = service.journal.unit();
    let outcomes = group::decide(&service, &group, &by, approve, targets);
    Ok(Outcomes::of(outcomes.map_err(|error| problem(&error))?))
}
