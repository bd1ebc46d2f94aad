//! What the sandbox knows of who acted for each number: logins and frames, each with a number in one order
//! over the whole sandbox.

use std::sync::Arc;

use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;

use crate::ground::{Ground, Line};
use crate::node::life_at;

/// A login that was accepted.
#[derive(Debug, Clone)]
pub struct Login {
    pub order: u64,
    pub at_us: u64,
    pub connection: u64,
    /// Which life of which node it came from.
    pub life: String,
    pub ended: Option<End>,
}

/// The end of a login's connection.
#[derive(Debug, Clone)]
pub struct End {
    pub order: u64,
    pub at_us: u64,
}

/// A frame that a device sent.
#[derive(Debug, Clone)]
pub struct Frame {
    pub order: u64,
    pub at_us: u64,
    pub connection: u64,
    pub tag: String,
}

/// Everything about the device of one number.
#[derive(Debug, Default)]
pub struct Device {
    pub instance: String,
    pub phone: String,
    pub logins: Vec<Login>,
    pub frames: Vec<Frame>,
}

const AT_ONCE: usize = 8;

/// Logins of every number.
pub async fn logins(ground: &Arc<Ground>, lines: &[Line]) -> Vec<Device> {
    let read = lines.iter().map(|line| device(ground, line));
    futures::stream::iter(read).buffered(AT_ONCE).collect().await
}

/// Logins and frames of every number.
pub async fn devices(ground: &Arc<Ground>, lines: &[Line]) -> Vec<Device> {
    let read = lines.iter().map(|line| async {
        let mut device = device(ground, line).await;
        device.frames = frames(ground, &device.phone).await;
        device
    });
    futures::stream::iter(read).buffered(AT_ONCE).collect().await
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

async fn device(ground: &Ground, line: &Line) -> Device {
    let path = format!("/accounts/{}/logins", line.phone);
    let answer = ground.control(Method::GET, &path, None).await;
    let mut logins = Vec::new();
    for row in answer["data"].as_array().unwrap() {
        assert_eq!(row["result"], "accepted", "{} was refused: {row}", line.phone);
        assert_eq!(row["device"], 1, "{} was paired again: {row}", line.phone);
        logins.push(Login {
            order: number(&row["order"]),
            at_us: number(&row["at_us"]),
            connection: number(&row["connection"]),
            life: life_at(row["remote_address"].as_str().unwrap()),
            ended: row["ended_order"].as_u64().map(|order| End {
                order,
                at_us: number(&row["ended_at_us"]),
            }),
        });
    }
    Device {
        instance: line.instance.clone(),
        phone: line.phone.clone(),
        logins,
        frames: Vec::new(),
    }
}

async fn frames(ground: &Ground, phone: &str) -> Vec<Frame> {
    let (mut frames, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let path = format!("/accounts/{phone}/ledger?device=1&after={after}&limit=10000");
        let page = ground.control(Method::GET, &path, None).await;
        assert_eq!(
            page["forgotten"], 0,
            "the sandbox has forgotten frames of {phone}"
        );
        let events = page["data"].as_array().unwrap();
        let sent = events
            .iter()
            .filter(|event| event["event"] == "in" || event["event"] == "unreadable");
        frames.extend(sent.map(|event| Frame {
            order: number(&event["order"]),
            at_us: number(&event["at_us"]),
            connection: number(&event["connection"]),
            tag: event["tag"].as_str().unwrap_or_default().to_owned(),
        }));
        let Some(next) = page["next_cursor"].as_str() else {
            return frames;
        };
        after = next.to_owned();
    }
}
