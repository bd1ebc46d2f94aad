//! The columns that hold sealed values: how their rows are found, read and replaced.

use std::sync::Arc;

use roost_domain::store::StoreError;
use roost_domain::usage::Day;
use roost_domain::{InstanceId, TenantId, WebhookId};
use serde::{Deserialize, Serialize};

use crate::crypto::{KeyId, Keyring, Place, ResourceKey, TenantKey, key_of, sealed};
use crate::database::{Args, Column, Failure, Reader, Row, Statement};
use crate::event;
use crate::webhook::seals_attempt;
use crate::writer::Transaction;

/// Rows that one page of a look has.
const PAGE_ROWS: i64 = 128;

/// Part of a row's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Cell {
    Int(i64),
    Text(String),
}

/// Kind of a part of a row's key.
#[derive(Clone, Copy)]
enum Part {
    Int,
    Text,
}

/// What is in a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Sealed bytes.
    Bytes,
    /// A text that is always sealed.
    Secret,
    /// A text that is sealed with `store.encrypt_messages`, or where its row says so.
    Text,
    /// Such texts, one to a line.
    Lines,
}

/// Which of a tenant's keys a row's value takes, and where it belongs.
type Opens = for<'a> fn(&'a TenantKey, &'a Row) -> Result<(ResourceKey<'a>, Place<'a>), StoreError>;

/// A column. Its pages have the tenant, the value if it needs a closer look, the row's key, and what
/// else its key takes.
pub(super) struct Target {
    pub(super) name: &'static str,
    holds: Holds,
    key: &'static [Part],
    page: Statement,
    replace: Statement,
    open: Opens,
    /// Whether a plain text has to be sealed although messages are not.
    always: fn(&Row) -> bool,
    /// Whether its bytes count as what is kept for a tenant.
    counts: bool,
}

/// A stored value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    Text(String),
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

/// A value that has to be replaced.
#[derive(Debug, Clone)]
pub(super) struct Change {
    tenant: TenantId,
    pub(super) place: Vec<Cell>,
    pub(super) was_plain: bool,
    was: Value,
    sealed: Value,
}

impl Change {
    pub(super) fn bytes(&self) -> usize {
        self.was.len() + self.sealed.len()
    }
}

/// Of a page: everything behind `after`, of which only that needs a closer look which is not under the
/// key that seals.
macro_rules! page {
    (bytes $table:literal $value:literal $rest:literal ($key:literal) > ($after:literal) $head:literal $limit:literal) => {
        concat!(
            "SELECT v.tenant_id, CASE WHEN substr(v.",
            $value,
            ", 1, 5) = ",
            $head,
            " THEN NULL ELSE v.",
            $value,
            " END, ",
            $rest,
            " FROM ",
            $table,
            " AS v WHERE (",
            $key,
            ") > (",
            $after,
            ") ORDER BY ",
            $key,
            " LIMIT ",
            $limit
        )
    };
    (text $table:literal $value:literal $rest:literal ($key:literal) > ($after:literal) $head:literal $begin:literal $plain:literal $limit:literal) => {
        concat!(
            "SELECT v.tenant_id, CASE WHEN substr(v.",
            $value,
            ", 1, 12) = ",
            $head,
            " OR (",
            $plain,
            " AND substr(v.",
            $value,
            ", 1, 3) <> ",
            $begin,
            ") THEN NULL ELSE v.",
            $value,
            " END, ",
            $rest,
            " FROM ",
            $table,
            " AS v WHERE (",
            $key,
            ") > (",
            $after,
            ") ORDER BY ",
            $key,
            " LIMIT ",
            $limit
        )
    };
}

pub(super) static TARGETS: [Target; 9] = [
    Target {
        name: "instance.proxy",
        holds: Holds::Bytes,
        key: &[Part::Text],
        page: Statement::new(page!(bytes "instance" "proxy" "v.id" ("v.id") > ("$1") "$2" "$3")),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }instance SET proxy = r.sealed FROM {rows} AS r \
             WHERE instance.id = r.id AND instance.proxy = r.was",
            &[Column::Text("id"), Column::Bytes("was"), Column::Bytes("sealed")],
        ),
        open: |key, row| {
            let id: InstanceId = row.parse(2)?;
            Ok((key.instance(id), Place::Proxy))
        },
        always: |_| true,
        counts: false,
    },
    Target {
        name: "webhook.headers",
        holds: Holds::Bytes,
        key: &[Part::Text],
        page: Statement::new(page!(bytes "webhook" "headers" "v.id" ("v.id") > ("$1") "$2" "$3")),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }webhook SET headers = r.sealed FROM {rows} AS r \
             WHERE webhook.id = r.id AND webhook.headers = r.was",
            &[Column::Text("id"), Column::Bytes("was"), Column::Bytes("sealed")],
        ),
        open: |key, row| {
            let id: WebhookId = row.parse(2)?;
            Ok((key.webhook(id), Place::WebhookHeaders))
        },
        always: |_| true,
        counts: false,
    },
    Target {
        name: "webhook.url",
        holds: Holds::Secret,
        key: &[Part::Text],
        page: Statement::new(page!(text "webhook" "url" "v.id" ("v.id") > ("$1") "$2" "$3" "$4 = 0" "$5")),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }webhook SET url = r.sealed FROM {rows} AS r \
             WHERE webhook.id = r.id AND webhook.url = r.was",
            &[Column::Text("id"), Column::Text("was"), Column::Text("sealed")],
        ),
        open: |key, row| {
            let id: WebhookId = row.parse(2)?;
            Ok((key.webhook(id), Place::WebhookUrl))
        },
        always: |_| true,
        counts: false,
    },
    Target {
        name: "webhook_secret.value",
        holds: Holds::Bytes,
        key: &[Part::Text, Part::Int],
        page: Statement::new(
            page!(bytes "webhook_secret" "value" "v.webhook_id, v.number" ("v.webhook_id, v.number") > ("$1, $2") "$3" "$4"),
        ),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }webhook_secret SET value = r.sealed FROM {rows} AS r \
             WHERE webhook_secret.webhook_id = r.webhook_id AND webhook_secret.number = r.number \
             AND webhook_secret.value = r.was",
            &[
                Column::Text("webhook_id"),
                Column::Int("number"),
                Column::Bytes("was"),
                Column::Bytes("sealed"),
            ],
        ),
        open: |key, row| {
            let id: WebhookId = row.parse(2)?;
            Ok((key.webhook(id), Place::WebhookSecret { number: row.int(3)? }))
        },
        always: |_| true,
        counts: false,
    },
    Target {
        name: "link_state.value",
        holds: Holds::Bytes,
        key: &[Part::Text, Part::Int, Part::Text],
        page: Statement::new(
            page!(bytes "link_state" "value" "v.instance_id, v.collection, v.key" ("v.instance_id, v.collection, v.key") > ("$1, $2, $3") "$4" "$5"),
        ),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }link_state SET value = r.sealed FROM {rows} AS r \
             WHERE link_state.instance_id = r.instance_id AND link_state.collection = r.collection \
             AND link_state.key = r.key AND link_state.value = r.was",
            &[
                Column::Text("instance_id"),
                Column::Int("collection"),
                Column::Text("key"),
                Column::Bytes("was"),
                Column::Bytes("sealed"),
            ],
        ),
        open: |key, row| {
            let id: InstanceId = row.parse(2)?;
            let collection = i16::try_from(row.int(3)?)
                .map_err(|_| StoreError::Corrupt("a collection's number is out of range".to_owned()))?;
            let place = Place::LinkState {
                collection,
                key: row.str(4)?,
            };
            Ok((key.instance(id), place))
        },
        always: |_| true,
        counts: false,
    },
    Target {
        name: "idempotency.body",
        holds: Holds::Secret,
        key: &[Part::Text, Part::Text],
        page: Statement::new(
            page!(text "idempotency" "body" "v.tenant_id, v.key, v.expires_at" ("v.tenant_id, v.key") > ("$1, $2") "$3" "$4" "$5 = 0" "$6"),
        ),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }idempotency SET body = r.sealed FROM {rows} AS r \
             WHERE idempotency.tenant_id = r.tenant_id AND idempotency.key = r.key AND idempotency.body = r.was",
            &[
                Column::Text("tenant_id"),
                Column::Text("key"),
                Column::Text("was"),
                Column::Text("sealed"),
            ],
        ),
        open: |key, row| Ok((key.replies(row.time(4)?), Place::Reply { key: row.str(3)? })),
        always: |_| true,
        counts: false,
    },
    Target {
        name: "message.body",
        holds: Holds::Text,
        key: &[Part::Text],
        page: Statement::new(
            page!(text "message" "body" "v.id, v.instance_id" ("v.id") > ("$1") "$2" "$3" "$4 = 0" "$5"),
        ),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }message SET body = r.sealed FROM {rows} AS r \
             WHERE message.id = r.id AND message.body = r.was",
            &[Column::Text("id"), Column::Text("was"), Column::Text("sealed")],
        ),
        open: |key, row| {
            let id = row.parse(2)?;
            Ok((key.messages(row.parse(3)?, id), Place::Message { id }))
        },
        always: |_| false,
        counts: true,
    },
    Target {
        name: "event.payload",
        holds: Holds::Text,
        key: &[Part::Text, Part::Int],
        page: Statement::new(page!(
            text "event" "payload" "v.tenant_id, v.seq, v.type" ("v.tenant_id, v.seq") > ("$1, $2") "$3" "$4"
            "$5 = 0 AND v.type NOT IN ('instance.qr', 'instance.pairing_code') AND substr(v.type, 1, 8) <> 'webhook.'" "$6"
        )),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }event SET payload = r.sealed FROM {rows} AS r \
             WHERE event.tenant_id = r.tenant_id AND event.seq = r.seq AND event.payload = r.was",
            &[
                Column::Text("tenant_id"),
                Column::Int("seq"),
                Column::Text("was"),
                Column::Text("sealed"),
            ],
        ),
        open: |key, row| {
            let seq = row.int(3)?;
            Ok((key.events(seq), Place::Event { seq }))
        },
        always: |row| row.str(4).is_ok_and(event::is_secret),
        counts: true,
    },
    Target {
        name: "delivery.attempts",
        holds: Holds::Lines,
        key: &[Part::Text, Part::Int],
        page: Statement::new(
            "SELECT v.tenant_id, CASE WHEN v.attempts = '' THEN NULL ELSE v.attempts END, v.webhook_id, v.seq \
             FROM delivery AS v WHERE (v.webhook_id, v.seq) > ($1, $2) ORDER BY v.webhook_id, v.seq LIMIT $3",
        ),
        replace: Statement::with_rows(
            "UPDATE {lite:OR ROLLBACK }delivery SET attempts = r.sealed FROM {rows} AS r \
             WHERE delivery.webhook_id = r.webhook_id AND delivery.seq = r.seq AND delivery.attempts = r.was",
            &[
                Column::Text("webhook_id"),
                Column::Int("seq"),
                Column::Text("was"),
                Column::Text("sealed"),
            ],
        ),
        open: |key, row| {
            let (webhook, seq) = (row.parse(2)?, row.int(3)?);
            Ok((key.deliveries(webhook, seq), Place::Attempt { seq }))
        },
        always: |_| false,
        counts: false,
    },
];

impl Target {
    /// The rows behind a place.
    pub(super) async fn page(
        &'static self,
        reader: &Reader,
        keyring: &Keyring,
        after: &[Cell],
    ) -> Result<Vec<Row>, StoreError> {
        let id = keyring.sealing_id();
        let mut args = self.after(reader.args(), after);
        args = match self.holds {
            Holds::Bytes => args.bytes(head(id)),
            Holds::Secret | Holds::Text => {
                let plain = self.holds == Holds::Secret || keyring.seals_messages();
                args.text(sealed::head(id))
                    .text(sealed::BEGIN)
                    .int(i64::from(plain))
            }
            Holds::Lines => args,
        };
        reader.fetch(&self.page, args.int(PAGE_ROWS)).await
    }

    fn after(&self, mut args: Args, after: &[Cell]) -> Args {
        for (n, part) in self.key.iter().enumerate() {
            args = match (after.get(n), part) {
                (Some(Cell::Int(number)), _) => args.int(*number),
                (Some(Cell::Text(text)), _) => args.text(text),
                (None, Part::Int) => args.int(i64::MIN),
                (None, Part::Text) => args.text(""),
            };
        }
        args
    }

    /// The key of a row of a page.
    pub(super) fn place(&self, row: &Row) -> Result<Vec<Cell>, StoreError> {
        let cell = |(n, part): (usize, &Part)| {
            Ok(match part {
                Part::Int => Cell::Int(row.int(n + 2)?),
                Part::Text => Cell::Text(row.text(n + 2)?),
            })
        };
        self.key.iter().enumerate().map(cell).collect()
    }

    /// Tenant and value of a row, if it needs a closer look.
    pub(super) fn value(&self, row: &Row) -> Result<Option<(TenantId, Value)>, StoreError> {
        let value = match self.holds {
            Holds::Bytes => row.opt_bytes(1)?.map(Value::Bytes),
            Holds::Secret | Holds::Text | Holds::Lines => row.opt_text(1)?.map(Value::Text),
        };
        value.map(|value| Ok((row.parse(0)?, value))).transpose()
    }

    /// What a value has to become; `None` when it is as it should be.
    pub(super) fn reseal(
        &self,
        row: &Row,
        was: Value,
        key: &Arc<TenantKey>,
        keyring: &Keyring,
    ) -> Result<Option<Change>, StoreError> {
        let (resource, place) = (self.open)(key, row)?;
        let id = keyring.sealing_id();
        let (sealed, was_plain) = match &was {
            Value::Bytes(bytes) if key_of(bytes) == Some(id) => return Ok(None),
            Value::Bytes(bytes) => {
                let plain = resource.open(place, bytes.clone())?;
                (Value::Bytes(resource.seal(place, &plain)?), false)
            }
            Value::Text(text) if self.holds == Holds::Lines => {
                let Some((lines, was_plain)) = lines(&resource, place, text, id, keyring)? else {
                    return Ok(None);
                };
                (Value::Text(lines), was_plain)
            }
            Value::Text(text) => {
                let is_plain = !sealed::is_sealed(text);
                let seals = (self.always)(row) || keyring.seals_messages();
                if sealed::key_of(text) == Some(id) || (is_plain && !seals) {
                    return Ok(None);
                }
                let plain = resource.open_text(place, text)?;
                (Value::Text(resource.seal_text(place, &plain)?), is_plain)
            }
        };
        Ok(Some(Change {
            tenant: row.parse(0)?,
            place: self.place(row)?,
            was_plain,
            was,
            sealed,
        }))
    }

    /// Replaces what still is as it was read. Returns how many were.
    pub(super) async fn replace(
        &self,
        transaction: &mut Transaction<'_>,
        changes: &[Change],
    ) -> Result<u64, Failure> {
        let grows = |change: &Change| change.sealed.len() != change.was.len();
        if !self.counts || !changes.iter().any(grows) {
            return self.write(transaction, changes).await;
        }
        // Each by itself, to know which ones to count.
        let day = Day::of(transaction.now);
        let mut replaced = 0;
        for change in changes {
            if self.write(transaction, std::slice::from_ref(change)).await? == 1 {
                replaced += 1;
                let counted = transaction.tally.of(change.tenant, day);
                // A value fits in memory.
                counted.stored_bytes += change.sealed.len() as i64 - change.was.len() as i64;
            }
        }
        Ok(replaced)
    }

    async fn write(&self, transaction: &mut Transaction<'_>, changes: &[Change]) -> Result<u64, Failure> {
        let mut rows = transaction.rows(&self.replace);
        for change in changes {
            for cell in &change.place {
                match cell {
                    Cell::Int(number) => rows.int(*number),
                    Cell::Text(text) => rows.text(text),
                };
            }
            for value in [&change.was, &change.sealed] {
                match value {
                    Value::Bytes(bytes) => rows.bytes(bytes),
                    Value::Text(text) => rows.text(text),
                };
            }
            rows.end();
        }
        transaction.execute_rows(&self.replace, rows).await
    }
}

/// How every value in a binary column begins that is sealed under a key.
fn head(id: KeyId) -> Vec<u8> {
    let mut head = vec![crate::crypto::VERSION];
    head.extend_from_slice(&id.0);
    head
}

/// Lines, each as it should be, and whether one was plain text; `None` when all were as they should be.
fn lines(
    key: &ResourceKey<'_>,
    place: Place<'_>,
    text: &str,
    id: KeyId,
    keyring: &Keyring,
) -> Result<Option<(String, bool)>, StoreError> {
    let mut made = String::with_capacity(text.len());
    let (mut changed, mut was_plain) = (false, false);
    for line in text.lines() {
        let is_plain = !sealed::is_sealed(line);
        let stays = match sealed::key_of(line) {
            Some(under) => under == id,
            None => is_plain && !(keyring.seals_messages() || seals_attempt(line)),
        };
        if stays {
            made.push_str(line);
        } else {
            let plain = key.open_text(place, line)?;
            made.push_str(&key.seal_text(place, &plain)?);
            changed = true;
            was_plain |= is_plain;
        }
        made.push('\n');
    }
    Ok(changed.then_some((made, was_plain)))
}
