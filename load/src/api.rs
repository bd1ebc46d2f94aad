//! The calls of both APIs that the scenarios need: the gateway's as a tenant, and the sandbox's
//! control API. None of them is on a measured path.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{LoadError, Result};
use crate::http::{Answer, Call, Client, Endpoint};
use crate::stream::Event;

/// Most rows of a page.
const PAGE_ROWS: u32 = 500;
/// Longest part of an unexpected answer that is shown.
const SHOWN_BYTES_MAX: usize = 600;

/// The gateway, with a tenant's key.
#[derive(Debug)]
pub struct Gateway {
    pub endpoint: Endpoint,
    client: Client,
}

/// One node, with an operator's key.
#[derive(Debug)]
pub struct Operator {
    client: Client,
}

/// The sandbox.
#[derive(Debug)]
pub struct Sandbox {
    pub endpoint: Endpoint,
    client: Client,
}

/// An instance as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Instance {
    pub id: String,
    pub state: String,
    #[serde(default)]
    pub state_reason: Option<String>,
}

/// How far a message has come, as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub status: String,
}

/// Events of the log, and how far it was read for them.
#[derive(Debug, Deserialize)]
pub struct LogPage {
    pub data: Vec<Event>,
    pub next_after: i64,
}

/// A live actor, as an operator sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct Actor {
    /// Its place in the tree, such as `instance/<id>`.
    pub path: String,
}

/// A login of a number's companion, as the sandbox wrote it down.
#[derive(Debug, Clone, Deserialize)]
pub struct Login {
    /// Its place in the order of everything that the sandbox wrote down.
    pub order: u64,
    /// Unix time in microseconds.
    pub at_us: u64,
    /// When the client had come with a connection, and had not said yet who it is.
    pub opened_at_us: u64,
    pub result: String,
    /// When its connection ended, unless it is open.
    pub ended_order: Option<u64>,
    pub ended_at_us: Option<u64>,
}

/// A message that a virtual phone decrypted.
#[derive(Debug, Clone, Deserialize)]
pub struct PhoneMessage {
    pub whatsapp_id: String,
    pub text: Option<String>,
}

/// Counters of the sandbox.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Stats {
    /// Instances that are logged in.
    pub connected: u64,
    /// Stanzas that were delivered or wait, and that nobody has settled.
    pub queued: u64,
    pub frames_in: u64,
    pub frames_out: u64,
    pub messages_accepted: u64,
    /// Copies of messages, one per device.
    pub messages_routed: u64,
    pub messages_refused: u64,
    /// Stanzas that found a queue full.
    pub dropped: u64,
    /// Messages that were sent again under an id that the server already had.
    pub messages_repeated: u64,
    /// Messages that a phone could not decrypt at first; it asks for them again.
    pub phone_decrypt_failures: u64,
}

/// A webhook as the answer to its creation shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Webhook {
    pub id: String,
    pub secret: String,
}

#[derive(Debug, Deserialize)]
struct Code {
    code: String,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Gateway {
    /// A client of the gateway.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            client: Client::new(endpoint.clone()),
            endpoint,
        }
    }

    /// Makes an instance and returns its id.
    pub async fn create_instance(&self, name: &str) -> Result<String> {
        let call = Call::post("/v1/instances", &json!({"name": name}));
        Ok(read::<Instance>(&self.client, &call).await?.id)
    }

    /// Begins pairing by QR code.
    pub async fn connect(&self, instance: &str) -> Result<()> {
        let path = format!("/v1/instances/{instance}/connect");
        accepted(&self.client, &Call::post(path, &json!({"method": "qr"}))).await?;
        Ok(())
    }

    /// The QR code's text; `None` while there is none.
    pub async fn qr(&self, instance: &str) -> Result<Option<String>> {
        let mut call = Call::get(format!("/v1/instances/{instance}/qr"));
        call.accept = Some("application/json");
        match accepted(&self.client, &call).await {
            Ok(answer) => Ok(Some(parse::<Code>(&call, &answer)?.code)),
            Err(LoadError::Refused {
                status: 404 | 409, ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One instance.
    pub async fn instance(&self, instance: &str) -> Result<Instance> {
        read(&self.client, &Call::get(format!("/v1/instances/{instance}"))).await
    }

    /// Every instance of the tenant.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        all(&self.client, &format!("/v1/instances?limit={PAGE_ROWS}")).await
    }

    /// One message.
    pub async fn message(&self, message: &str) -> Result<Message> {
        read(&self.client, &Call::get(format!("/v1/messages/{message}"))).await
    }

    /// Makes a webhook.
    pub async fn create_webhook(&self, body: &serde_json::Value) -> Result<Webhook> {
        read(&self.client, &Call::post("/v1/webhooks", body)).await
    }

    /// Lets events wait.
    pub async fn pause_webhook(&self, id: &str) -> Result<()> {
        let call = Call::order(format!("/v1/webhooks/{id}/pause"));
        accepted(&self.client, &call).await?;
        Ok(())
    }

    /// Lets events go out again.
    pub async fn resume_webhook(&self, id: &str) -> Result<()> {
        let call = Call::order(format!("/v1/webhooks/{id}/resume"));
        accepted(&self.client, &call).await?;
        Ok(())
    }

    /// What the webhook's owner sees of its progress, for whoever has to find out why it is late.
    pub async fn webhook_stats(&self, id: &str) -> Result<serde_json::Value> {
        read(&self.client, &Call::get(format!("/v1/webhooks/{id}/stats"))).await
    }

    /// The number of the last event in the log. An event type narrows down what is read on the way.
    pub async fn last_seq(&self, kind: &str) -> Result<i64> {
        let mut after = 0;
        loop {
            let page = self.events(kind, after).await?;
            if page.next_after <= after {
                return Ok(after);
            }
            after = page.next_after;
        }
    }

    /// Events of a type after a number; there may be more of them.
    pub async fn events(&self, kind: &str, after: i64) -> Result<LogPage> {
        let mut call = Call::get(format!("/v1/events?types={kind}&limit={PAGE_ROWS}&after={after}"));
        call.accept = Some("application/json");
        read(&self.client, &call).await
    }

    /// The metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String> {
        let answer = accepted(&self.client, &Call::get("/metrics")).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

impl Operator {
    /// A client of one node.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            client: Client::new(endpoint),
        }
    }

    /// Every live actor of a kind that a node runs.
    pub async fn actors(&self, kind: &str, node: &str) -> Result<Vec<Actor>> {
        let path = format!("/v1/operator/actors?kind={kind}&node={node}&limit={PAGE_ROWS}");
        all(&self.client, &path).await
    }
}

impl Sandbox {
    /// A client of the sandbox.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            client: Client::new(endpoint.clone()),
            endpoint,
        }
    }

    /// Makes an account with a virtual phone.
    pub async fn create_account(&self, phone: &str) -> Result<()> {
        let body = json!({"phone_number": format!("+{phone}"), "name": format!("Load {phone}")});
        accepted(&self.client, &Call::post("/sandbox/v1/accounts", &body)).await?;
        Ok(())
    }

    /// Lets the phone scan a QR code; false when the code is no longer shown.
    pub async fn scan(&self, phone: &str, code: &str) -> Result<bool> {
        let path = format!("/sandbox/v1/accounts/{phone}/scan");
        match accepted(&self.client, &Call::post(path, &json!({"code": code}))).await {
            Ok(_) => Ok(true),
            Err(LoadError::Refused {
                status: 404, body, ..
            }) if body.contains("unknown_code") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has a phone send a text.
    pub async fn phone_sends(&self, from: &str, to: &str, text: &str) -> Result<()> {
        let path = format!("/sandbox/v1/accounts/{from}/messages");
        accepted(&self.client, &Call::post(path, &json!({"to": to, "text": text}))).await?;
        Ok(())
    }

    /// What the phone has decrypted.
    pub async fn phone_messages(&self, phone: &str) -> Result<Vec<PhoneMessage>> {
        let call = Call::get(format!("/sandbox/v1/accounts/{phone}/messages"));
        Ok(read::<Page<PhoneMessage>>(&self.client, &call).await?.data)
    }

    /// Every login of an account's companions, in order.
    pub async fn logins(&self, phone: &str) -> Result<Vec<Login>> {
        let call = Call::get(format!("/sandbox/v1/accounts/{phone}/logins"));
        Ok(read::<Page<Login>>(&self.client, &call).await?.data)
    }

    /// Counters.
    pub async fn stats(&self) -> Result<Stats> {
        read(&self.client, &Call::get("/sandbox/v1/stats")).await
    }
}

/// Every row of a list that comes in pages; `path` has a query already.
async fn all<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<T> = read(client, &Call::get(format!("{path}{cursor}"))).await?;
        rows.extend(page.data);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(rows),
        }
    }
}

async fn read<T: DeserializeOwned>(client: &Client, call: &Call) -> Result<T> {
    let answer = accepted(client, call).await?;
    parse(call, &answer)
}

fn parse<T: DeserializeOwned>(call: &Call, answer: &Answer) -> Result<T> {
    serde_json::from_slice(&answer.body).map_err(|source| LoadError::Answer {
        call: name(call),
        source,
    })
}

async fn accepted(client: &Client, call: &Call) -> Result<Answer> {
    let answer = client.call(call).await.map_err(|source| LoadError::Call {
        call: name(call),
        source,
    })?;
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let shown = &answer.body[..answer.body.len().min(SHOWN_BYTES_MAX)];
    Err(LoadError::Refused {
        call: name(call),
        status: answer.status,
        body: String::from_utf8_lossy(shown).into_owned(),
    })
}

fn name(call: &Call) -> String {
    format!("{} {}", call.method, call.path)
}
