//! Groups: make them, show them, change them, in the name of any account.

mod member;
mod picture;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use member::{change_participants, decide, join, leave, reset_invite, show_invite};

use super::account::{Page, list_limit};
use super::body::{Body, Params};
use super::problem::{Problem, ProblemCode};
use super::{Shared, phone_number};
use crate::server::account::Account;
use crate::server::config::SandboxConfig;
use crate::server::group::{self, Group, GroupError, MemberAdd, NewGroup, Role, Setting, Target, Toggle};
use crate::server::service::Service;
use crate::wire::jid::Domain;

const LIST_MAX: usize = 1_000;

pub(super) fn routes(config: &SandboxConfig) -> Router<Arc<Service>> {
    Router::new()
        .merge(picture::routes(config))
        .route("/groups", get(list).post(create))
        .route("/groups/join", post(join))
        .route("/groups/{id}", get(show).patch(change_settings))
        .route("/groups/{id}/participants", post(change_participants))
        .route("/groups/{id}/invite", get(show_invite).post(reset_invite))
        .route("/groups/{id}/leave", post(leave))
        .route("/groups/{id}/requests", post(decide))
}

/// Which addresses of its members a group uses.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Addressing {
    #[default]
    Pn,
    Lid,
}

/// A group as the API shows it.
#[derive(Serialize)]
pub(super) struct GroupView {
    group_id: String,
    subject: String,
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture_id: Option<String>,
    addressing: Addressing,
    creator: String,
    created_at: u64,
    announcement: bool,
    locked: bool,
    /// Whether admins decide who joins by the invite link.
    approval: bool,
    ephemeral_s: u32,
    member_add_mode: MemberAdd,
    participants: Vec<ParticipantView>,
    /// Phone numbers of those who asked to join.
    requests: Vec<String>,
}

#[derive(Serialize)]
struct ParticipantView {
    phone_number: String,
    lid: String,
    role: Role,
}

impl GroupView {
    fn of(group: &Group) -> Result<Self, Problem> {
        let state = group.state().map_err(|error| problem(&error))?;
        let participants = state.members.iter().map(|member| ParticipantView {
            phone_number: member.account.pn.to_string(),
            lid: member.account.lid().to_string(),
            role: member.role,
        });
        let description = state.description.as_ref();
        let requests = state.requests.iter();
        Ok(Self {
            group_id: group.jid(),
            subject: state.subject.text.clone(),
            description: description.map(|description| description.body.text.clone()),
            picture_id: state.picture.map(|picture| picture.id.to_string()),
            addressing: match group.addressing {
                Domain::Lid => Addressing::Lid,
                _ => Addressing::Pn,
            },
            creator: group.creator.pn.to_string(),
            created_at: group.created_s,
            announcement: state.is(Toggle::Announcement),
            locked: state.is(Toggle::Locked),
            approval: state.approval,
            ephemeral_s: state.ephemeral_s,
            member_add_mode: state.member_add,
            participants: participants.collect(),
            requests: requests.map(|request| request.account.pn.to_string()).collect(),
        })
    }
}

pub(super) fn problem(error: &GroupError) -> Problem {
    let code = match error {
        GroupError::NotFound => ProblemCode::GroupNotFound,
        GroupError::NotMember | GroupError::NotAdmin | GroupError::NoInvite => ProblemCode::GroupForbidden,
        GroupError::AlreadyMember => ProblemCode::AlreadyMember,
        GroupError::Outdated => ProblemCode::GroupChanged,
        GroupError::UnknownInvite => ProblemCode::UnknownInvite,
        GroupError::FormerInvite => ProblemCode::InviteReset,
        GroupError::Unacceptable(_) => ProblemCode::InvalidField,
        GroupError::Full => ProblemCode::GroupFull,
        GroupError::TooMany => ProblemCode::TooManyGroups,
    };
    Problem::new(code, error.to_string())
}

/// The group in a path or in `to`: its address, or the part before `@g.us`.
pub(super) fn find(service: &Service, id: &str) -> Result<Arc<Group>, Problem> {
    let user = id.strip_suffix("@g.us").unwrap_or(id);
    let group = service.groups.get(user);
    group.ok_or_else(|| problem(&GroupError::NotFound))
}

fn account(service: &Service, number: &str, pointer: &'static str) -> Result<Arc<Account>, Problem> {
    let number = phone_number(number, pointer)?;
    service.account_by_pn(number).ok_or_else(|| {
        Problem::new(ProblemCode::AccountNotFound, "no account has this phone number").at(pointer)
    })
}

/// The account in whose name an act is done: the one named, or who made the group, whatever his
/// number is now.
fn actor(service: &Service, group: &Group, by: Option<&String>) -> Result<Arc<Account>, Problem> {
    match by {
        Some(by) => account(service, by, "/by"),
        None => Ok(group.superadmin().unwrap_or_else(|| group.creator.clone())),
    }
}

fn targets(service: &Service, numbers: &[String]) -> Result<Vec<Target>, Problem> {
    if numbers.len() > service.config.group_members_max {
        let detail = "there are more participants than a group has room for";
        return Err(Problem::new(ProblemCode::InvalidField, detail).at("/participants"));
    }
    let targets = numbers.iter().enumerate().map(|(at, number)| {
        let digits = phone_number(number, "").map_err(|problem| problem.at(format!("/participants/{at}")))?;
        Ok(Target {
            named: digits.to_owned(),
            account: service.account_by_pn(digits),
        })
    });
    targets.collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBody {
    creator: String,
    subject: String,
    #[serde(default)]
    participants: Vec<String>,
    #[serde(default)]
    addressing: Addressing,
    description: Option<String>,
    #[serde(default)]
    announcement: bool,
    #[serde(default)]
    locked: bool,
    #[serde(default)]
    approval: bool,
    #[serde(default)]
    ephemeral_s: u32,
    member_add_mode: Option<MemberAdd>,
}

pub(super) async fn create(
    State(service): Shared,
    Body(body): Body<NewBody>,
) -> Result<(StatusCode, Json<GroupView>), Problem> {
    let creator = account(&service, &body.creator, "/creator")?;
    let targets = targets(&service, &body.participants)?;
    let unknown = targets.iter().position(|target| target.account.is_none());
    if let Some(at) = unknown {
        let detail = "no account has this phone number";
        return Err(Problem::new(ProblemCode::AccountNotFound, detail).at(format!("/participants/{at}")));
    }
    let domain = match body.addressing {
        Addressing::Pn => Domain::Pn,
        Addressing::Lid => Domain::Lid,
    };
    let mut new = NewGroup::new(domain, body.subject);
    new.description = body.description.map(|text| (description_id(), text));
    let toggles = [
        (Toggle::Announcement, body.announcement),
        (Toggle::Locked, body.locked),
    ];
    new.toggles = toggles
        .iter()
        .filter(|toggle| toggle.1)
        .map(|toggle| toggle.0)
        .collect();
    new.ephemeral_s = body.ephemeral_s;
    new.approval = body.approval;
    new.member_add = body.member_add_mode.unwrap_or(new.member_add);
    let _unit = service.journal.unit();
    let (group, _) = group::create(&service, &creator, new, targets).map_err(|error| problem(&error))?;
    Ok((StatusCode::CREATED, Json(GroupView::of(&group)?)))
}

fn description_id() -> String {
    format!("{:08X}", rand::random::<u32>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// The `group_id` of the last one of the page before.
    after: Option<String>,
    limit: Option<usize>,
    /// Only the groups of this account.
    participant: Option<String>,
}

pub(super) async fn list(
    State(service): Shared,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<GroupView>>, Problem> {
    let limit = list_limit(params.limit, LIST_MAX)?;
    let groups = match &params.participant {
        Some(number) => service.groups.of(&*account(&service, number, "")?),
        None => service.groups.all(),
    };
    let after = params.after.unwrap_or_default();
    let after = after.strip_suffix("@g.us").unwrap_or(&after);
    let start = groups.partition_point(|group| &*group.id <= after);
    let page = groups[start..].iter().take(limit);
    // A group that ends meanwhile is left out.
    let data: Vec<_> = page.filter_map(|group| GroupView::of(group).ok()).collect();
    let last = groups
        .get(start + limit - 1)
        .filter(|_| groups.len() > start + limit);
    Ok(Json(Page {
        data,
        next_cursor: last.map(|group| group.jid()),
    }))
}

pub(super) async fn show(State(service): Shared, Path(id): Path<String>) -> Result<Json<GroupView>, Problem> {
    Ok(Json(GroupView::of(&*find(&service, &id)?)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsBody {
    by: Option<String>,
    subject: Option<String>,
    /// An empty text deletes it.
    description: Option<String>,
    announcement: Option<bool>,
    locked: Option<bool>,
    approval: Option<bool>,
    ephemeral_s: Option<u32>,
    member_add_mode: Option<MemberAdd>,
}

impl SettingsBody {
    fn settings(self, group: &Group) -> Result<Vec<Setting>, Problem> {
        let previous = group
            .state()
            .map_err(|error| problem(&error))?
            .description
            .as_ref()
            .map(|description| description.id.clone());
        let description = self.description.map(|text| Setting::Description {
            id: description_id(),
            previous,
            text: Some(text).filter(|text| !text.is_empty()),
        });
        let toggle = |toggle, on: Option<bool>| on.map(|on| Setting::Toggle(toggle, on));
        let settings = [
            self.subject.map(Setting::Subject),
            description,
            toggle(Toggle::Announcement, self.announcement),
            toggle(Toggle::Locked, self.locked),
            self.approval.map(Setting::Approval),
            self.ephemeral_s.map(Setting::Ephemeral),
            self.member_add_mode.map(Setting::MemberAdd),
        ];
        Ok(settings.into_iter().flatten().collect())
    }
}

/// Changes settings one after the other; the first that is refused ends the call.
pub(super) async fn change_settings(
    State(service): Shared,
    Path(id): Path<String>,
    Body(body): Body<SettingsBody>,
) -> Result<Json<GroupView>, Problem> {
    let group = find(&service, &id)?;
    let by = actor(&service, &group, body.by.as_ref())?;
    let _unit = service.journal.unit();
    for setting in body.settings(&group)? {
        group::apply(&service, &group, &by, setting).map_err(|error| problem(&error))?;
    }
    Ok(Json(GroupView::of(&group)?))
}
