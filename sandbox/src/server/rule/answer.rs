//! Doing what a rule says: read, wait, type, react, reply.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RuleBody;
use crate::server::account::Account;
use crate::server::control::message::{NewMessage, deliver};
use crate::server::phone::{self, Recorded};
use crate::server::service::Service;
use crate::server::stanza::presence::{ChatState, phone_types};
use crate::server::template::fill;

/// An answer that was begun and is not yet given, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::server) struct Due {
    /// The rule, in JSON: a reply has a shape of its own.
    rule: String,
    chat: String,
    from: String,
    whatsapp_id: String,
    text: String,
}

/// Has the phone follow the first rule that fits. Returns whether one did.
pub(in crate::server) fn respond(service: &Arc<Service>, account: &Arc<Account>, message: &Recorded) -> bool {
    let rules = account.phone.rules();
    let Some(rule) = rules.find(message) else {
        return false;
    };
    if rule.read {
        phone::mark_read(service, account, &message.whatsapp_id);
    }
    if rule.reply.is_none() && rule.react.is_none() && rule.typing_ms == 0 {
        return true;
    }
    let Ok(text) = serde_json::to_string(rule) else {
        return true;
    };
    let due = Due {
        rule: text,
        chat: message.chat.clone(),
        from: message.from.clone(),
        whatsapp_id: message.whatsapp_id.clone(),
        text: message.text.clone().unwrap_or_default(),
    };
    match account
        .phone
        .begin_answer(due.clone(), service.config.answers_due_max)
    {
        Some(number) => start(service, account, number, due),
        None => {
            service.counters.dropped.one();
            tracing::debug!("a phone has its limit of answers to give");
        }
    }
    true
}

/// Has phones give the answers that were due when the sandbox ended.
pub(in crate::server) fn resume(service: &Arc<Service>, account: &Arc<Account>) {
    for (number, due) in account.phone.answers_due() {
        start(service, account, number, due);
    }
}

fn start(service: &Arc<Service>, account: &Arc<Account>, number: u64, due: Due) {
    let (worker, account) = (service.clone(), account.clone());
    service.tasks.spawn(async move {
        let stop = worker.stop.clone();
        tokio::select! {
            () = give(&worker, &account, &due) => account.phone.end_answer(number),
            () = stop.cancelled() => {}
        }
    });
}

async fn give(service: &Arc<Service>, account: &Arc<Account>, due: &Due) {
    let Ok(rule) = serde_json::from_str::<RuleBody>(&due.rule) else {
        return;
    };
    pause(rule.delay_ms).await;
    if rule.typing_ms > 0 {
        phone_types(service, account, &due.chat, ChatState::Composing);
        pause(rule.typing_ms).await;
        phone_types(service, account, &due.chat, ChatState::Paused);
    }
    if let Some(emoji) = rule.react {
        send(
            service,
            account,
            json!({"to": due.chat, "react_to": due.whatsapp_id, "emoji": emoji}),
        )
        .await;
    }
    if let Some(reply) = rule.reply {
        let value_of = |name: &str| match name {
            "text" => Some(due.text.clone()),
            "from" => Some(due.from.clone()),
            "id" => Some(due.whatsapp_id.clone()),
            _ => None,
        };
        let mut reply = fill(&reply, &value_of);
        if let Value::Object(fields) = &mut reply {
            fields.insert("to".to_owned(), due.chat.clone().into());
        }
        send(service, account, reply).await;
    }
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

async fn send(service: &Arc<Service>, account: &Arc<Account>, message: Value) {
    let sent = match serde_json::from_value::<NewMessage>(message) {
        Ok(message) => deliver(service, account, message)
            .await
            .map_err(|problem| problem.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        tracing::warn!(error, "a phone could not answer as its rule says");
    }
}
