//! Queries about groups (`w:g2`): what clients ask, and the answers they expect.

use std::sync::Arc;

use super::error::StanzaError;
use super::{iq_error, iq_result};
use crate::server::account::Account;
use crate::server::group::{
    self, Group, GroupError, MemberAdd, MemberLink, NewGroup, Setting, Target, Toggle,
};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

/// Groups one query may ask for.
const QUERIED_MAX: usize = 10_000;
/// Longest id of a description.
const DESCRIPTION_ID_BYTES_MAX: usize = 64;

/// Why a query gets an error.
enum Failure {
    Group(GroupError),
    Malformed,
    Unsupported,
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        Self::Group(error)
    }
}

impl Failure {
    fn answer(&self, id: &str) -> Node {
        let error = match self {
            Self::Malformed => StanzaError::BadRequest,
            Self::Unsupported => StanzaError::NotImplemented,
            Self::Group(error) => match error {
                GroupError::AlreadyMember => StanzaError::AlreadyExists,
                GroupError::NoInvite => StanzaError::NotAuthorized,
                GroupError::NotMember | GroupError::NotAdmin => StanzaError::Forbidden,
                GroupError::NotFound => StanzaError::NotFound,
                GroupError::Unacceptable(_) | GroupError::UnknownInvite => StanzaError::NotAcceptable,
                GroupError::Outdated => StanzaError::Conflict,
                GroupError::FormerInvite => StanzaError::Gone,
                GroupError::Full => StanzaError::GroupFull,
                GroupError::TooMany => StanzaError::TooManyGroups,
            },
        };
        iq_error(id, error)
    }
}

pub(super) fn answer(service: &Arc<Service>, session: &Session, id: &str, node: &Node) -> Node {
    let asked = node.get("to").and_then(Jid::parse);
    let child = node.children().first();
    let answered = match (asked, child) {
        (Some(to), Some(child)) if to.domain == Domain::Group => {
            let call = Call {
                service,
                account: &session.account,
                is_set: node.is("type", "set"),
                child,
            };
            if to.user.is_empty() {
                call.to_all()
            } else {
                call.to_one(&to.user)
            }
        }
        _ => Err(Failure::Malformed),
    };
    match answered {
        Ok(answer) => {
            let mut result = iq_result(id).child_opt(answer);
            if let Some((_, from)) = result.attrs.iter_mut().find(|(key, _)| key == "from") {
                *from = node.get("to").unwrap_or("g.us").to_owned().into();
            }
            result
        }
        Err(failure) => failure.answer(id),
    }
}

/// One query, in the name of an account.
struct Call<'a> {
    service: &'a Arc<Service>,
    account: &'a Arc<Account>,
    is_set: bool,
    child: &'a Node,
}

/// The child of a result, if it has one.
type Answer = Result<Option<Node>, Failure>;

impl Call<'_> {
    /// To `g.us`: what is not about a group whose id the client has.
    fn to_all(&self) -> Answer {
        match (self.child.tag.as_ref(), self.is_set) {
            ("create", true) => self.create(),
            ("participating", false) => Ok(Some(self.participating())),
            ("leave", true) => self.leave(),
            ("invite", false) => {
                let group = group::invited(self.service, self.code()?)?;
                let state = group.state()?;
                Ok(Some(group::invite_node(&group, &state)))
            }
            ("invite", true) => {
                let (group, joined) = group::join(self.service, self.account, self.code()?)?;
                let tag = match joined {
                    group::Joined::Member => "group",
                    group::Joined::Asked => "membership_approval_request",
                };
                Ok(Some(Node::new(tag).attr("jid", group.jid())))
            }
            ("query", false) => self.query_many(),
            // Groups have no pictures in this namespace.
            ("pictures", false) => Ok(Some(Node::new("pictures"))),
            _ => Err(Failure::Unsupported),
        }
    }

    fn to_one(&self, id: &str) -> Answer {
        let group = self.service.groups.get(id).ok_or(GroupError::NotFound)?;
        match (self.child.tag.as_ref(), self.is_set) {
            ("query", false) => {
                let state = group.state()?;
                state.role(self.account)?;
                Ok(Some(group::group_node(&group, &state)))
            }
            ("add" | "remove" | "promote" | "demote", true) => self.change_members(&group),
            ("invite", is_set) => {
                let code = group::invite_code(self.service, &group, self.account, is_set)?;
                Ok(Some(Node::new("invite").attr("code", code)))
            }
            ("membership_approval_requests", false) => self.requests(&group),
            ("membership_requests_action", true) => self.decide(&group),
            ("cancel_membership_requests", true) => {
                group::withdraw(self.service, &group, self.account)?;
                Ok(Some(self.child.clone()))
            }
            ("ack", true) => Ok(None),
            (_, true) => {
                let setting = self.setting()?;
                group::apply(self.service, &group, self.account, setting)?;
                Ok(None)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    fn create(&self) -> Answer {
        let child = self.child;
        let subject = child.get("subject").ok_or(Failure::Malformed)?;
        if child.find("parent").is_some() || child.find("linked_parent").is_some() {
            return Err(Failure::Unsupported);
        }
        let targets = self.targets(child)?;
        // The addressing the client chose for the others is the group's.
        let is_lid = |target: &Target| target.named.ends_with("@lid");
        let by_lid = child.is("addressing_mode", "lid") || targets.iter().any(is_lid);
        let addressing = if by_lid { Domain::Lid } else { Domain::Pn };
        let mut new = NewGroup::new(addressing, subject.to_owned());
        for part in child.children() {
            match setting(part) {
                Ok(Setting::Toggle(toggle, true)) => {
                    new.toggles.insert(toggle);
                }
                Ok(Setting::Ephemeral(seconds)) => new.ephemeral_s = seconds,
                Ok(Setting::MemberAdd(mode)) => new.member_add = mode,
                Ok(Setting::MemberLink(mode)) => new.member_link = mode,
                Ok(Setting::Approval(on)) => new.approval = on,
                Ok(Setting::Description {
                    id, text: Some(text), ..
                }) => new.description = Some((id, text)),
                _ if part.tag == "participant" => {}
                Ok(_) | Err(_) => return Err(Failure::Malformed),
            }
        }
        let (group, outcomes) = group::create(self.service, self.account, new, targets)?;
        let state = group.state()?;
        let refused = outcomes.into_iter().filter(|outcome| outcome.error.is_some());
        let refused = refused.map(|outcome| outcome_node(&group, outcome));
        let node = group::group_node(&group, &state);
        Ok(Some(refused.fold(node, Node::child)))
    }

    fn participating(&self) -> Node {
        let wants = |tag: &str| self.child.find(tag).is_some();
        let (members, description) = (wants("participants"), wants("description"));
        let groups = self.service.groups.of(self.account);
        let nodes = groups.iter().filter_map(|group| {
            let state = group.state().ok()?;
            let mut node = group::group_node(group, &state);
            let kept = node.children().iter().filter(|child| match child.tag.as_ref() {
                "participant" => members,
                "description" => description,
                _ => true,
            });
            node = node.clone().with_children(kept.cloned().collect());
            Some(node)
        });
        Node::new("groups").with_children(nodes.collect())
    }

    fn query_many(&self) -> Answer {
        let asked = self.child.children();
        if asked.len() > QUERIED_MAX {
            return Err(Failure::Malformed);
        }
        let nodes = asked.iter().map(|asked| {
            let jid = asked
                .get("jid")
                .and_then(Jid::parse)
                .filter(|jid| jid.domain == Domain::Group)
                .ok_or(Failure::Malformed)?;
            let failed = |error: StanzaError| {
                Ok(Node::new("group")
                    .attr("id", jid.user.clone())
                    .attr("error", error.code()))
            };
            let Some(group) = self.service.groups.get(&jid.user) else {
                return failed(StanzaError::NotFound);
            };
            match group.state() {
                Err(_) => failed(StanzaError::NotFound),
                Ok(state) if state.role(self.account).is_err() => failed(StanzaError::Forbidden),
                Ok(state) => Ok(group::group_node(&group, &state)),
            }
        });
        let nodes = nodes.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Some(Node::new("groups").with_children(nodes)))
    }

    fn leave(&self) -> Answer {
        let left = self.child.find_all("group").map(|named| {
            // Some clients write the whole address, some only the id.
            let id = named.get("id").ok_or(Failure::Malformed)?;
            let user = id.strip_suffix("@g.us").unwrap_or(id);
            let group = self.service.groups.get(user).ok_or(GroupError::NotFound);
            let left = group.and_then(|group| group::leave(self.service, &group, self.account));
            let answer = Node::new("group").attr("id", id.to_owned());
            Ok(match left {
                Ok(()) => answer,
                Err(GroupError::NotFound) => answer.attr("error", StanzaError::NotFound.code()),
                Err(_) => answer.attr("error", StanzaError::Forbidden.code()),
            })
        });
        let left = left.collect::<Result<Vec<_>, Failure>>()?;
        match left.as_slice() {
            [] => Err(Failure::Malformed),
            [one] if one.is("error", StanzaError::NotFound.code()) => Err(GroupError::NotFound.into()),
            [one] if one.is("error", StanzaError::Forbidden.code()) => Err(GroupError::NotMember.into()),
            _ => Ok(Some(Node::new("leave").with_children(left))),
        }
    }

    fn change_members(&self, group: &Group) -> Answer {
        let change = group::Change::parse(&self.child.tag).ok_or(Failure::Malformed)?;
        let targets = self.targets(self.child)?;
        if targets.is_empty() {
            return Err(Failure::Malformed);
        }
        let outcomes = group::change_members(self.service, group, self.account, change, targets)?;
        let nodes = outcomes.into_iter().map(|outcome| outcome_node(group, outcome));
        Ok(Some(Node::new(change.name()).with_children(nodes.collect())))
    }

    fn requests(&self, group: &Group) -> Answer {
        let requests = group::requests(group, self.account)?;
        let nodes = requests.iter().map(|request| {
            let mut node = group::member_node(group, &request.account);
            node.tag = "membership_approval_request".into();
            node.attr("request_time", request.asked_s.to_string())
                .attr("request_method", "invite_link")
        });
        let tag = self.child.tag.clone();
        Ok(Some(Node::new(tag).with_children(nodes.collect())))
    }

    fn decide(&self, group: &Group) -> Answer {
        let mut answer = Node::new(self.child.tag.clone());
        if self.child.children().is_empty() {
            return Err(Failure::Malformed);
        }
        for action in self.child.children() {
            let approve = match action.tag.as_ref() {
                "approve" => true,
                "reject" => false,
                _ => return Err(Failure::Malformed),
            };
            let targets = self.targets(action)?;
            let outcomes = group::decide(self.service, group, self.account, approve, targets)?;
            let nodes = outcomes.into_iter().map(|outcome| outcome_node(group, outcome));
            answer = answer.child(Node::new(action.tag.clone()).with_children(nodes.collect()));
        }
        Ok(Some(answer))
    }

    fn setting(&self) -> Result<Setting, Failure> {
        setting(self.child)
    }

    fn code(&self) -> Result<&str, Failure> {
        self.child.get("code").ok_or(Failure::Malformed)
    }

    fn targets(&self, node: &Node) -> Result<Vec<Target>, Failure> {
        let named = node.find_all("participant").map(|participant| {
            let jid = participant.get("jid").ok_or(Failure::Malformed)?;
            let account = self.service.account(&Jid::parse(jid).ok_or(Failure::Malformed)?);
            Ok(Target {
                named: jid.to_owned(),
                account,
            })
        });
        let targets = named.collect::<Result<Vec<_>, Failure>>()?;
        if targets.len() > self.service.config.group_members_max {
            return Err(Failure::Malformed);
        }
        Ok(targets)
    }
}

/// What became of a participant, under the name the client used.
fn outcome_node(group: &Group, outcome: group::Outcome) -> Node {
    let node = match &outcome.account {
        Some(account) => {
            let mut node = group::member_node(group, account);
            node.attrs.retain(|(key, _)| key != "jid");
            node
        }
        None => Node::new("participant"),
    };
    let code = outcome.error.map(StanzaError::code);
    node.attr("jid", outcome.named).attr_opt("error", code)
}

fn text_of(node: &Node) -> Result<String, Failure> {
    let bytes = node.data().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).map_err(|_| Failure::Malformed)
}

/// Reads the setting that a node changes.
fn setting(node: &Node) -> Result<Setting, Failure> {
    if let Some((toggle, on)) = Toggle::parse(&node.tag) {
        return Ok(Setting::Toggle(toggle, on));
    }
    match node.tag.as_ref() {
        "subject" => Ok(Setting::Subject(text_of(node)?)),
        "description" => description(node),
        "ephemeral" => {
            let seconds = node.get("expiration").and_then(|text| text.parse().ok());
            seconds.map(Setting::Ephemeral).ok_or(Failure::Malformed)
        }
        "not_ephemeral" => Ok(Setting::Ephemeral(0)),
        "member_add_mode" => {
            let mode = MemberAdd::parse(&text_of(node)?);
            mode.map(Setting::MemberAdd).ok_or(Failure::Malformed)
        }
        "member_link_mode" => {
            let mode = MemberLink::parse(&text_of(node)?);
            mode.map(Setting::MemberLink).ok_or(Failure::Malformed)
        }
        "membership_approval_mode" => match node.find("group_join").and_then(|join| join.get("state")) {
            Some("on") => Ok(Setting::Approval(true)),
            Some("off") => Ok(Setting::Approval(false)),
            _ => Err(Failure::Malformed),
        },
        _ => Err(Failure::Unsupported),
    }
}

fn description(node: &Node) -> Result<Setting, Failure> {
    let id = node.get("id").unwrap_or_default();
    let previous = node.get("prev").filter(|previous| *previous != "none");
    let text = match node.find("body") {
        Some(body) if !node.is("delete", "true") => Some(text_of(body)?),
        None if node.is("delete", "true") => None,
        _ => return Err(Failure::Malformed),
    };
    if id.len() > DESCRIPTION_ID_BYTES_MAX || (id.is_empty() && text.is_some()) {
        return Err(Failure::Malformed);
    }
    Ok(Setting::Description {
        id: id.to_owned(),
        previous: previous.map(str::to_owned),
        text,
    })
}
