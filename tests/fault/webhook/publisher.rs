//! Publishes numbered events, chat by chat, and insists until each is acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::receiver::Label;
use crate::gateway::{PATIENCE, Ready};
use crate::ground::{Api, Ground};

/// Pause between two events of a chat: 0 is none.
const PAUSE: Duration = Duration::from_millis(4);
const RETRY: Duration = Duration::from_millis(20);

/// Events under way, and those that were acknowledged with their ids.
pub struct Publisher {
    pub ready: Arc<RwLock<Ready>>,
    acknowledged: Arc<Mutex<HashMap<Label, String>>>,
    tasks: JoinSet<()>,
}

impl Publisher {
    /// Starts publishing `events` events of type `kind` in each of `chats` chats.
    pub fn start(ground: &Arc<Ground>, ready: &Ready, kind: &'static str, chats: u32, events: u32) -> Self {
        let ready = Arc::new(RwLock::new(ready.clone()));
        let acknowledged: Arc<Mutex<HashMap<Label, String>>> = Arc::default();
        let mut tasks = JoinSet::new();
        for chat in 0..chats {
            let (ground, ready) = (Arc::clone(ground), Arc::clone(&ready));
            let acknowledged = Arc::clone(&acknowledged);
            tasks.spawn(async move {
                for number in 0..events {
                    let label = Label { chat, number };
                    let id = insist(&ground, &ready, kind, label).await;
                    acknowledged.lock().await.insert(label, id);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self {
            ready,
            acknowledged,
            tasks,
        }
    }

    /// How many were acknowledged so far.
    pub async fn count(&self) -> usize {
        self.acknowledged.lock().await.len()
    }

    /// Waits until all are acknowledged.
    pub async fn finish(mut self) -> HashMap<Label, String> {
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        self.acknowledged.lock().await.clone()
    }
}

/// Repeats one event under one key until it is acknowledged; its id.
async fn insist(ground: &Ground, ready: &RwLock<Ready>, kind: &str, label: Label) -> String {
    let Label { chat, number } = label;
    let body = json!({
        "type": kind,
        "chat": format!("4915130{chat:05}@s.whatsapp.net"),
        "data": {"chat": chat, "number": number},
    });
    let key = format!("{kind}-{chat}-{number}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = ready.read().await.clone();
        let api = Api {
            client: &ground.client,
            ready: &ready,
        };
        let answer = api
            .call(Method::POST, "/v1/events", Some(body.clone()), Some(&key))
            .await;
        match &answer {
            Ok((status, event)) if status.is_success() => return event["id"].as_str().unwrap().to_owned(),
            Ok((status, problem)) => {
                let later = status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS;
                assert!(later || problem["retryable"] == true, "{status} {problem}");
            }
            // The gateway is dead at this moment.
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "{label:?} was never taken: {answer:?}");
        tokio::time::sleep(RETRY).await;
    }
}
