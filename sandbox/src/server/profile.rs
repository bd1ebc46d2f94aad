//! What an account shows and to whom: its about text, its privacy settings, whom it blocks, its
//! default timer for new chats. One row keeps all of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::phone;
use super::sync::lock;

/// Accounts one account may block, or exclude from something.
const BLOCKED_MAX: usize = 4_096;

/// A privacy setting: its name on the wire, the values it may have, the one it has at first.
pub(super) struct Category {
    pub name: &'static str,
    values: &'static [&'static str],
    default: &'static str,
}

const WHO: &[&str] = &["all", "contacts", "contact_blacklist", "none"];

pub(super) const CATEGORIES: [Category; 9] = [
    category("last", WHO, "all"),
    category("online", &["all", "match_last_seen"], "all"),
    category("profile", WHO, "all"),
    category("status", WHO, "all"),
    category("readreceipts", &["all", "none"], "all"),
    category("groupadd", WHO, "all"),
    category("calladd", &["all", "known", "contacts"], "all"),
    category("messages", &["all", "contacts"], "all"),
    category("defense", &["off", "on_standard"], "off"),
];

const fn category(name: &'static str, values: &'static [&'static str], default: &'static str) -> Category {
    Category {
        name,
        values,
        default,
    }
}

impl Category {
    pub fn find(name: &str) -> Option<&'static Self> {
        CATEGORIES.iter().find(|category| category.name == name)
    }

    pub fn allows(&self, value: &str) -> bool {
        self.values.contains(&value)
    }
}

/// Accounts are named by their number, which stays when phone number or LID change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Profile {
    pub about: String,
    /// When it was set, in unix seconds.
    pub about_at_s: u64,
    /// The timer of new chats in seconds; 0 is none.
    pub timer_s: u32,
    pub timer_set_at_s: u64,
    /// The settings that were ever set.
    privacy: BTreeMap<String, String>,
    /// Per setting, whom `contact_blacklist` excludes.
    excluded: BTreeMap<String, BTreeSet<u32>>,
    /// Since when, in unix seconds.
    blocked: BTreeMap<u32, u64>,
}

impl Profile {
    pub fn privacy(&self, category: &Category) -> &str {
        self.privacy
            .get(category.name)
            .map_or(category.default, String::as_str)
    }

    pub fn set_privacy(&mut self, category: &Category, value: &str) {
        self.privacy.insert(category.name.to_owned(), value.to_owned());
    }

    /// Excludes an account from a setting, or takes it in again.
    pub fn exclude(&mut self, category: &Category, account: u32, is_out: bool) {
        let excluded = self.excluded.entry(category.name.to_owned()).or_default();
        if !is_out {
            excluded.remove(&account);
        } else if excluded.len() < BLOCKED_MAX {
            excluded.insert(account);
        }
    }

    pub fn excluded(&self, category: &Category) -> impl Iterator<Item = u32> {
        self.excluded.get(category.name).into_iter().flatten().copied()
    }

    pub fn blocked(&self) -> impl Iterator<Item = (u32, u64)> {
        self.blocked.iter().map(|(account, since)| (*account, *since))
    }

    /// Returns false if that is how it was, or the list is full.
    pub fn block(&mut self, account: u32, is_blocked: bool, now_s: u64) -> bool {
        if !is_blocked {
            return self.blocked.remove(&account).is_some();
        }
        if self.blocked.len() >= BLOCKED_MAX || self.blocked.contains_key(&account) {
            return false;
        }
        self.blocked.insert(account, now_s);
        true
    }
}

impl Account {
    /// Whether this account blocks the other one.
    pub(super) fn blocks(&self, other: &Account) -> bool {
        lock(&self.profile).blocked.contains_key(&other.raw_id)
    }

    /// Whether `viewer` may see what the setting is about.
    pub(super) fn shows(&self, name: &str, viewer: &Account) -> bool {
        let Some(category) = Category::find(name) else {
            return false;
        };
        if self.raw_id == viewer.raw_id {
            return true;
        }
        let (value, is_excluded) = {
            let profile = lock(&self.profile);
            if profile.blocked.contains_key(&viewer.raw_id) {
                return false;
            }
            let is_excluded = profile.excluded(category).any(|account| account == viewer.raw_id);
            (profile.privacy(category).to_owned(), is_excluded)
        };
        match value.as_str() {
            "all" => true,
            "contacts" => phone::app_state::has_contact(self, viewer),
            "contact_blacklist" => !is_excluded && phone::app_state::has_contact(self, viewer),
            _ => false,
        }
    }

    /// Whether only those see it online who see when it was seen last.
    pub(super) fn hides_online_as_last_seen(&self) -> bool {
        let profile = lock(&self.profile);
        Category::find("online").is_some_and(|category| profile.privacy(category) == "match_last_seen")
    }

    /// Whether the account tells others that it read their messages.
    pub(super) fn sends_read_receipts(&self) -> bool {
        let profile = lock(&self.profile);
        Category::find("readreceipts").is_none_or(|category| profile.privacy(category) == "all")
    }
}
