//! What companions ask and change of accounts' profiles: privacy, blocked contacts, about text,
//! the default timer. Every change is told to the account's other companions.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::StanzaError;
use super::{iq_error, iq_result, notify_companions};
use crate::server::account::Account;
use crate::server::profile::{CATEGORIES, Category};
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::{lock, now_s};
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

const ABOUT_BYTES_MAX: usize = 1_024;
/// Contacts changed by one query.
const ITEMS_MAX: usize = 256;
/// Longest timer: ten years.
const TIMER_S_MAX: u32 = 315_360_000;

/// Reads or changes privacy settings.
pub(super) fn privacy(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    if let Some(list) = node.find("privacy").and_then(|privacy| privacy.find("list")) {
        return excluded(service, session, id, list);
    }
    if node.is("type", "get") {
        let profile = lock(&session.account.profile);
        let categories = CATEGORIES.iter().map(|category| {
            let value = profile.privacy(category).to_owned();
            Node::new("category")
                .attr("name", category.name)
                .attr("value", value)
        });
        return iq_result(id).child(Node::new("privacy").with_children(categories.collect()));
    }
    let Some(privacy) = node.find("privacy") else {
        // The same namespace carries tokens for contacts; the sandbox asks nobody for one.
        return iq_result(id);
    };
    let changes: Option<Vec<_>> = privacy.find_all("category").take(ITEMS_MAX).map(change).collect();
    let Some(changes) = changes.filter(|changes| !changes.is_empty()) else {
        return iq_error(id, StanzaError::BadRequest);
    };
    let mut changed = Vec::new();
    for (category, value, node) in changes {
        session.account.change_profile(|profile| {
            profile.set_privacy(category, value);
            for user in node.find_all("user").take(ITEMS_MAX) {
                if let Some(other) = named(service, user) {
                    profile.exclude(category, other.raw_id, !user.is("action", "remove"));
                }
            }
        });
        let answer = Node::new("category")
            .attr("name", category.name)
            .attr("value", value.to_owned());
        let dhash = (value == "contact_blacklist").then(|| {
            let profile = lock(&session.account.profile);
            list_hash(profile.excluded(category))
        });
        changed.push(answer.attr_opt("dhash", dhash));
    }
    let changed = Node::new("privacy").with_children(changed);
    tell_companions(service, session, changed.clone());
    iq_result(id).child(changed)
}

fn change(node: &Node) -> Option<(&'static Category, &str, &Node)> {
    let category = Category::find(node.get("name")?)?;
    let value = node.get("value")?;
    category.allows(value).then_some((category, value, node))
}

/// Lists whom a setting excludes.
fn excluded(service: &Service, session: &Session, id: &str, list: &Node) -> Node {
    let Some(category) = list.get("name").and_then(Category::find) else {
        return iq_error(id, StanzaError::BadRequest);
    };
    let excluded: Vec<_> = lock(&session.account.profile).excluded(category).collect();
    let hash = list_hash(excluded.iter().copied());
    let users = excluded.into_iter().filter_map(|number| {
        let other = service.account_by_number(number)?;
        Some(Node::new("user").attr("jid", other.jid(0, Domain::Lid).to_string()))
    });
    let list = Node::new("list")
        .attr("name", category.name)
        .attr("value", "contact_blacklist")
        .attr("dhash", hash)
        .with_children(users.collect());
    iq_result(id).child(Node::new("privacy").child(list))
}

/// Reads or changes the list of blocked contacts.
pub(super) fn blocklist(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    let account = &session.account;
    if node.is("type", "get") {
        return iq_result(id).child(blocked(service, account));
    }
    let mut changes = Vec::new();
    for item in node.find_all("item").take(ITEMS_MAX) {
        let is_blocked = match item.get("action") {
            Some("block") => true,
            Some("unblock") => false,
            _ => return iq_error(id, StanzaError::BadRequest),
        };
        match named(service, item) {
            Some(other) if other.raw_id != account.raw_id => changes.push((other, is_blocked)),
            Some(_) => return iq_error(id, StanzaError::BadRequest),
            None => return iq_error(id, StanzaError::NotFound),
        }
    }
    block(service, account, Some(session.device.id), &changes, now_s());
    iq_result(id).child(blocked(service, account))
}

/// Blocks accounts, or no longer, and tells the companions but `except`.
pub(in crate::server) fn block(
    service: &Service,
    account: &Account,
    except: Option<u16>,
    changes: &[(Arc<Account>, bool)],
    now_s: u64,
) {
    let before = blocklist_hash(account);
    let mut changed = Vec::new();
    for (other, is_blocked) in changes {
        if account.change_profile(|profile| profile.block(other.raw_id, *is_blocked, now_s)) {
            changed.push(
                Node::new("item")
                    .attr("jid", other.jid(0, Domain::Lid).to_string())
                    .attr("pn_jid", other.jid(0, Domain::Pn).to_string())
                    .attr("action", if *is_blocked { "block" } else { "unblock" }),
            );
        }
    }
    if changed.is_empty() {
        return;
    }
    let news = Node::new("blocklist")
        .attr("action", "modify")
        .attr("prev_dhash", before)
        .attr("dhash", blocklist_hash(account))
        .with_children(changed);
    sync_account(service, account, except, news);
}

fn blocked(service: &Service, account: &Account) -> Node {
    let blocked: Vec<_> = lock(&account.profile).blocked().collect();
    let items = blocked.into_iter().filter_map(|(number, since)| {
        let other = service.account_by_number(number)?;
        let item = Node::new("item")
            .attr("jid", other.jid(0, Domain::Lid).to_string())
            .attr("pn_jid", other.jid(0, Domain::Pn).to_string())
            .attr("t", since.to_string());
        Some(item)
    });
    Node::new("list")
        .attr("dhash", blocklist_hash(account))
        .attr("addressing_mode", "lid")
        .with_children(items.collect())
}

fn blocklist_hash(account: &Account) -> String {
    list_hash(lock(&account.profile).blocked().map(|(number, _)| number))
}

/// A short name of a list of accounts.
fn list_hash(accounts: impl Iterator<Item = u32>) -> String {
    let mut hash = Sha256::new();
    accounts.for_each(|account| hash.update(account.to_be_bytes()));
    let digest = hash.finalize();
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The account an item names.
fn named(service: &Service, item: &Node) -> Option<Arc<Account>> {
    let named = item.get("jid").or_else(|| item.get("pn_jid"))?;
    service.account(&Jid::parse(named)?)
}

/// Sets the own about text; contacts who may see it are told.
pub(super) fn set_about(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    let text = node
        .find("status")
        .map(|status| status.data().unwrap_or_default());
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    match text.filter(|text| text.len() <= ABOUT_BYTES_MAX) {
        Some(text) => {
            change_about(service, &session.account, text, Some(session.device.id));
            iq_result(id)
        }
        None => iq_error(id, StanzaError::BadRequest),
    }
}

/// Sets the about text of an account, and tells those who hold its device list.
pub(in crate::server) fn change_about(service: &Service, account: &Account, text: &str, except: Option<u16>) {
    account.change_profile(|profile| {
        profile.about = text.to_owned();
        profile.about_at_s = now_s();
    });
    let news = Node::new("set").bytes(text.to_owned());
    notify_watchers(service, account, "status", Some("status"), except, &news);
}

/// Sets or reads the timer of new chats.
pub(super) fn timer(service: &Service, session: &Session, id: &str, node: &Node) -> Node {
    if node.is("type", "get") {
        return iq_result(id).child(timer_node(&session.account));
    }
    let duration = node
        .find("disappearing_mode")
        .and_then(|timer| timer.get("duration")?.parse::<u32>().ok())
        .filter(|duration| *duration <= TIMER_S_MAX);
    let Some(duration) = duration else {
        return iq_error(id, StanzaError::BadRequest);
    };
    session.account.change_profile(|profile| {
        profile.timer_s = duration;
        profile.timer_set_at_s = now_s();
    });
    tell_companions(service, session, timer_node(&session.account));
    let news = timer_node(&session.account);
    let except = Some(session.device.id);
    notify_watchers(
        service,
        &session.account,
        "disappearing_mode",
        None,
        except,
        &news,
    );
    iq_result(id)
}

pub(super) fn timer_node(account: &Account) -> Node {
    let profile = lock(&account.profile);
    Node::new("disappearing_mode")
        .attr("duration", profile.timer_s.to_string())
        .attr("t", profile.timer_set_at_s.to_string())
}

/// The about text as `viewer` sees it.
pub(super) fn about_node(account: &Account, viewer: &Account) -> Node {
    if !account.shows("status", viewer) {
        return Node::new("status").attr("code", StanzaError::NotAuthorized.code());
    }
    let profile = lock(&account.profile);
    let node = Node::new("status").attr("t", profile.about_at_s.to_string());
    if profile.about.is_empty() {
        node
    } else {
        node.bytes(profile.about.clone())
    }
}

/// Answers for a business profile: accounts of the sandbox are no businesses.
pub(super) fn business(id: &str, node: &Node) -> Node {
    if node.find("business_profile").is_none() {
        return iq_error(id, StanzaError::BadRequest);
    }
    iq_result(id).child(Node::new("business_profile").attr("v", "244"))
}

/// Tells the account's other companions of a change one of them made.
fn tell_companions(service: &Service, session: &Session, news: Node) {
    sync_account(service, &session.account, Some(session.device.id), news);
}

/// Tells the companions but `except` of a change to the account.
pub(in crate::server) fn sync_account(service: &Service, account: &Account, except: Option<u16>, news: Node) {
    notify_companions(service, account, except, |id| {
        Node::new("notification")
            .attr("from", account.jid(0, Domain::Pn).to_string())
            .attr("type", "account_sync")
            .attr("id", id)
            .attr("t", now_s().to_string())
            .child(news.clone())
    });
}

/// Tells those who hold the device list of `account`, and may see what `shown` is about.
pub(in crate::server) fn notify_watchers(
    service: &Service,
    account: &Account,
    kind: &'static str,
    shown: Option<&str>,
    except: Option<u16>,
    news: &Node,
) {
    for (pn, device) in account.watchers() {
        let is_own = *pn == *account.pn;
        if is_own && except == Some(device) {
            continue;
        }
        let Some(watcher) = service.account_by_pn(&pn) else {
            continue;
        };
        let is_hidden = shown.is_some_and(|category| !account.shows(category, &watcher));
        let Some(device) = watcher.device(device).filter(|_| !is_hidden) else {
            continue;
        };
        let id = service.stanza_id();
        let node = Node::new("notification")
            .attr("from", account.jid(0, Domain::Pn).to_string())
            .attr("lid", account.jid(0, Domain::Lid).to_string())
            .attr("type", kind)
            .attr("id", id.clone())
            .attr("t", now_s().to_string())
            .attr("notify", account.name())
            .child(news.clone());
        let entry = Entry {
            class: Class::Notification,
            id: id.into(),
            origin: account.origin(0),
            node,
        };
        if device.offer(entry) == Offer::Full {
            service.counters.dropped.one();
        }
    }
}
