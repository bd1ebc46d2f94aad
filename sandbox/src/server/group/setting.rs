//! What a group says of itself and what it allows: subject, description, settings.

use std::sync::Arc;

use super::{Description, Group, GroupError, MemberAdd, MemberLink, State, Text, Toggle, node, notice};
use crate::server::account::Account;
use crate::server::config::SandboxConfig;
use crate::server::service::Service;
use crate::server::sync::now_s;
use crate::wire::node::Node;

/// Longest time after which messages may disappear.
const EPHEMERAL_S_MAX: u32 = i32::MAX as u32;

/// One change of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Setting {
    Subject(String),
    /// The new id, the id of the description that is replaced, if there is one, and the text; no text
    /// deletes it.
    Description {
        id: String,
        previous: Option<String>,
        text: Option<String>,
    },
    Toggle(Toggle, bool),
    Ephemeral(u32),
    MemberAdd(MemberAdd),
    MemberLink(MemberLink),
    Approval(bool),
}

impl Toggle {
    /// The tags that switch it on and off.
    pub(in crate::server) fn tags(self) -> (&'static str, &'static str) {
        match self {
            Self::Announcement => ("announcement", "not_announcement"),
            Self::Locked => ("locked", "unlocked"),
            Self::NoFrequentlyForwarded => ("no_frequently_forwarded", "frequently_forwarded_ok"),
            Self::AllowAdminReports => ("allow_admin_reports", "not_allow_admin_reports"),
            Self::GroupHistory => ("group_history", "no_group_history"),
        }
    }

    /// The setting a tag switches, and to what.
    pub(in crate::server) fn parse(tag: &str) -> Option<(Self, bool)> {
        let all = [
            Self::Announcement,
            Self::Locked,
            Self::NoFrequentlyForwarded,
            Self::AllowAdminReports,
            Self::GroupHistory,
        ];
        all.into_iter().find_map(|toggle| match toggle.tags() {
            (on, _) if on == tag => Some((toggle, true)),
            (_, off) if off == tag => Some((toggle, false)),
            _ => None,
        })
    }
}

impl MemberAdd {
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::AdminAdd => "admin_add",
            Self::AllMemberAdd => "all_member_add",
        }
    }

    pub(in crate::server) fn parse(name: &str) -> Option<Self> {
        let all = [Self::AdminAdd, Self::AllMemberAdd];
        all.into_iter().find(|mode| mode.name() == name)
    }
}

impl MemberLink {
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::AdminLink => "admin_link",
            Self::AllMemberLink => "all_member_link",
        }
    }

    pub(in crate::server) fn parse(name: &str) -> Option<Self> {
        let all = [Self::AdminLink, Self::AllMemberLink];
        all.into_iter().find(|mode| mode.name() == name)
    }
}

/// A subject as it is stored.
pub(super) fn subject(config: &SandboxConfig, text: &str) -> Result<String, GroupError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(GroupError::Unacceptable("a group has a subject"));
    }
    if text.chars().count() > config.group_subject_chars_max {
        return Err(GroupError::Unacceptable("the subject is too long"));
    }
    Ok(text.to_owned())
}

pub(super) fn description(config: &SandboxConfig, text: &str) -> Result<String, GroupError> {
    if text.chars().count() > config.group_description_chars_max {
        return Err(GroupError::Unacceptable("the description is too long"));
    }
    Ok(text.to_owned())
}

impl State {
    /// Whether an account may change subject, description and picture.
    pub(super) fn editor(&self, account: &Account) -> Result<(), GroupError> {
        if self.is(Toggle::Locked) {
            self.admin(account)
        } else {
            self.role(account).map(|_| ())
        }
    }
}

/// Changes a setting and tells the members. What changes nothing is no news.
pub(in crate::server) fn apply(
    service: &Service,
    group: &Group,
    by: &Arc<Account>,
    setting: Setting,
) -> Result<(), GroupError> {
    let mut state = group.state()?;
    match &setting {
        Setting::Subject(_) | Setting::Description { .. } | Setting::Ephemeral(_) => state.editor(by)?,
        _ => state.admin(by)?,
    }
    let own = |text: String| Text {
        text,
        owner: by.clone(),
        set_s: now_s(),
    };
    let told = match setting {
        Setting::Subject(text) => {
            state.subject = own(subject(&service.config, &text)?);
            node::subject_node(group, &state.subject)
        }
        Setting::Description { id, previous, text } => {
            let known = state
                .description
                .as_ref()
                .map(|description| description.id.clone());
            if previous != known {
                return Err(GroupError::Outdated);
            }
            let changed = Node::new("description").attr("id", id.clone());
            if let Some(text) = text {
                let body = own(description(&service.config, &text)?);
                state.description = Some(Description { id, body });
                changed.child(Node::new("body").bytes(text))
            } else {
                state.description = None;
                changed.child(Node::new("delete"))
            }
        }
        Setting::Toggle(toggle, on) => {
            let has_changed = if on {
                state.toggles.insert(toggle)
            } else {
                state.toggles.remove(&toggle)
            };
            if !has_changed {
                return Ok(());
            }
            let (tag_on, tag_off) = toggle.tags();
            Node::new(if on { tag_on } else { tag_off })
        }
        Setting::Ephemeral(seconds) => {
            if seconds > EPHEMERAL_S_MAX {
                return Err(GroupError::Unacceptable("messages cannot stay that long"));
            }
            state.ephemeral_s = seconds;
            node::ephemeral_node(seconds).unwrap_or_else(|| Node::new("not_ephemeral"))
        }
        Setting::MemberAdd(mode) => {
            state.member_add = mode;
            Node::new("member_add_mode").bytes(mode.name())
        }
        Setting::MemberLink(mode) => {
            state.member_link = mode;
            Node::new("member_link_mode").bytes(mode.name())
        }
        Setting::Approval(on) => {
            state.approval = on;
            node::approval_node(on)
        }
    };
    finish(service, group, &state, by, &told);
    Ok(())
}

fn finish(service: &Service, group: &Group, state: &State, by: &Account, told: &Node) {
    group.keep(state);
    notice::to_members(service, group, state, Some(by), told);
}
