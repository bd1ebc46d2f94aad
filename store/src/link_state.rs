//! State of links: Signal sessions, keys, credentials. Values are sealed before they reach the queue
//! and opened after they were read; keys are not secret and stay searchable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::store::{Collection, LinkState, StateOp, StoreError};
use roost_domain::{InstanceId, Owner, TenantId, Timestamp};

use crate::SqlStore;
use crate::crypto::{Place, TenantKey};
use crate::database::{Column, Failure, Row, Statement, storable};
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Planned;

/// Keys asked for in one statement.
const KEYS_MAX: usize = 1000;

static GET: Statement = Statement::new(
    "SELECT s.key, s.value FROM link_state AS s \
     WHERE s.instance_id = $1 AND s.collection = $2 AND s.key = $3 AND s.tenant_id = $4",
);

static GET_MANY: Statement = Statement::with_rows(
    "SELECT s.key, s.value FROM {rows} AS r CROSS JOIN link_state AS s \
     WHERE s.instance_id = $1 AND s.collection = $2 AND s.key = r.key AND s.tenant_id = $3",
    &[Column::Text("key")],
);

static SCAN: Statement = Statement::new(
    "SELECT s.key, s.value FROM link_state AS s \
     WHERE s.instance_id = $1 AND s.collection = $2 AND s.tenant_id = $3 AND s.key >= $4 \
     ORDER BY s.key LIMIT $5",
);

static SCAN_BETWEEN: Statement = Statement::new(
    "SELECT s.key, s.value FROM link_state AS s \
     WHERE s.instance_id = $1 AND s.collection = $2 AND s.tenant_id = $3 AND s.key >= $4 AND s.key < $6 \
     ORDER BY s.key LIMIT $5",
);

static LAST_KEY: Statement = Statement::new(
    "SELECT s.key FROM link_state AS s WHERE s.instance_id = $1 AND s.collection = $2 AND s.tenant_id = $3 \
     ORDER BY s.key DESC LIMIT 1",
);

static WIPE: Statement = Statement::with_rows(
    "DELETE FROM link_state WHERE instance_id IN (SELECT r.instance_id FROM {rows} AS r)",
    &[Column::Text("instance_id")],
);

/// Without an upper end a range goes to the end of its collection.
static CLEAR: Statement = Statement::with_rows(
    "DELETE FROM link_state WHERE (instance_id, collection, key) IN \
     (SELECT s.instance_id, s.collection, s.key FROM {rows} AS r CROSS JOIN link_state AS s \
     WHERE s.instance_id = r.instance_id AND s.collection = r.collection AND s.key >= r.low \
     AND (r.high IS NULL OR s.key < r.high))",
    &[
        Column::Text("instance_id"),
        Column::Int("collection"),
        Column::Text("low"),
        Column::Text("high"),
    ],
);

static DELETE: Statement = Statement::with_rows(
    "DELETE FROM link_state WHERE (instance_id, collection, key) IN \
     (SELECT r.instance_id, r.collection, r.key FROM {rows} AS r)",
    &[
        Column::Text("instance_id"),
        Column::Int("collection"),
        Column::Text("key"),
    ],
);

static PUT: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO link_state (instance_id, collection, key, tenant_id, value, expires_at) \
     SELECT r.instance_id, r.collection, r.key, r.tenant_id, r.value, r.expires_at FROM {rows} AS r WHERE true \
     ON CONFLICT (instance_id, collection, key) DO UPDATE SET value = excluded.value, \
     expires_at = excluded.expires_at",
    &[
        Column::Text("instance_id"),
        Column::Int("collection"),
        Column::Text("key"),
        Column::Text("tenant_id"),
        Column::Bytes("value"),
        Column::Int("expires_at"),
    ],
);

/// The least text that is greater than every text with this prefix, in byte order; `None` when there
/// is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        // Code points and UTF-8 bytes sort alike. Surrogates are no characters.
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

/// A key's row: instance, collection, key.
type Key = (InstanceId, i16, String);

/// A value to be written, sealed.
#[derive(Clone)]
struct Sealed {
    tenant: TenantId,
    value: Bytes,
    expires_at: Option<Timestamp>,
}

/// Changes of link state in a group: the last one of each key. What is cleared is cleared before
/// anything is put, and a put that came before a clear is forgotten here, so that the outcome is that
/// of the changes in their order.
#[derive(Default)]
pub(crate) struct LinkDraft {
    wiped: BTreeSet<InstanceId>,
    cleared: BTreeSet<(InstanceId, i16, String)>,
    /// `None` deletes.
    keys: BTreeMap<Key, Option<Sealed>>,
}

impl LinkDraft {
    /// Removes everything of an instance.
    pub(crate) fn wipe(&mut self, instance: InstanceId) {
        self.keys.retain(|key, _| key.0 != instance);
        self.cleared.retain(|key| key.0 != instance);
        self.wiped.insert(instance);
    }

    fn clear(&mut self, instance: InstanceId, collection: i16, prefix: &str) {
        self.keys
            .retain(|key, _| !(key.0 == instance && key.1 == collection && key.2.starts_with(prefix)));
        self.cleared.insert((instance, collection, prefix.to_owned()));
    }

    pub(crate) async fn flush(self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if !self.wiped.is_empty() {
            let mut rows = transaction.rows(&WIPE);
            for instance in &self.wiped {
                rows.id(instance).end();
            }
            transaction.execute_rows(&WIPE, rows).await?;
        }
        if !self.cleared.is_empty() {
            let mut rows = transaction.rows(&CLEAR);
            for (instance, collection, prefix) in &self.cleared {
                rows.id(instance).int(i64::from(*collection)).text(prefix);
                rows.opt_text(after_prefix(prefix).as_deref()).end();
            }
            transaction.execute_rows(&CLEAR, rows).await?;
        }
        let mut deletes = transaction.rows(&DELETE);
        let mut puts = transaction.rows(&PUT);
        let (mut deleted, mut put) = (false, false);
        for ((instance, collection, key), sealed) in &self.keys {
            let rows = if sealed.is_some() { &mut puts } else { &mut deletes };
            rows.id(instance).int(i64::from(*collection)).text(key);
            if let Some(sealed) = sealed {
                rows.id(sealed.tenant)
                    .bytes(&sealed.value)
                    .opt_int(sealed.expires_at.map(Timestamp::unix_ms));
                put = true;
            } else {
                deleted = true;
            }
            rows.end();
        }
        if deleted {
            transaction.execute_rows(&DELETE, deletes).await?;
        }
        if put {
            transaction.execute_rows(&PUT, puts).await?;
        }
        Ok(())
    }
}

/// A change whose value is sealed.
enum Op {
    Set(i16, String, Option<Sealed>),
    Clear(i16, String),
}

/// Applies changes.
struct Apply {
    owner: Owner,
    ops: Vec<Op>,
    /// Held until it is committed: a rotation of the master key waits for what is sealed under the earlier
    /// one.
    _key: Arc<TenantKey>,
}

impl Apply {
    fn seal(owner: Owner, tenant_key: Arc<TenantKey>, ops: Vec<StateOp>) -> Result<Self, StoreError> {
        let instance_key = tenant_key.instance(owner.instance);
        let ops: Result<Vec<_>, StoreError> = ops
            .into_iter()
            .map(|op| match op {
                StateOp::Put {
                    collection,
                    key,
                    value,
                    expires_at,
                } => {
                    let (collection, key) = (collection as i16, storable(key));
                    let sealed = instance_key.seal(
                        Place::LinkState {
                            collection,
                            key: &key,
                        },
                        &value,
                    )?;
                    let sealed = Sealed {
                        tenant: owner.tenant,
                        value: sealed.into(),
                        expires_at,
                    };
                    Ok(Op::Set(collection, key, Some(sealed)))
                }
                StateOp::Delete { collection, key } => Ok(Op::Set(collection as i16, storable(key), None)),
                StateOp::Clear { collection, prefix } => Ok(Op::Clear(collection as i16, storable(prefix))),
            })
            .collect();
        Ok(Self {
            owner,
            ops: ops?,
            _key: tenant_key,
        })
    }
}

impl Planned for Apply {
    type Output = ();

    fn weight(&self) -> usize {
        self.ops.len()
    }

    fn needs(&self, needs: &mut Needs) {
        needs.owner(self.owner);
    }

    fn plan(&self, draft: &mut Draft) -> Result<(), StoreError> {
        draft.check(self.owner)?;
        for op in &self.ops {
            match op {
                Op::Set(collection, key, sealed) => {
                    let key = (self.owner.instance, *collection, key.clone());
                    draft.link.keys.insert(key, sealed.clone());
                }
                Op::Clear(collection, prefix) => draft.link.clear(self.owner.instance, *collection, prefix),
            }
        }
        Ok(())
    }
}

impl SqlStore {
    async fn open_values(
        &self,
        owner: Owner,
        collection: i16,
        rows: &[Row],
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let tenant_key = self.tenant_key(owner.tenant).await?;
        let instance_key = tenant_key.instance(owner.instance);
        rows.iter()
            .map(|row| {
                let key = row.text(0)?;
                let value = instance_key.open(
                    Place::LinkState {
                        collection,
                        key: &key,
                    },
                    row.bytes(1)?,
                )?;
                Ok((key, value.into()))
            })
            .collect()
    }
}

#[async_trait]
impl LinkState for SqlStore {
    async fn get(
        &self,
        owner: Owner,
        collection: Collection,
        key: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let collection = collection as i16;
        let args = self
            .reader()
            .args()
            .text(owner.instance)
            .int(i64::from(collection))
            .text(key);
        let rows = self.reader().fetch(&GET, args.text(owner.tenant)).await?;
        Ok(self
            .open_values(owner, collection, &rows)
            .await?
            .pop()
            .map(|(_, value)| value))
    }

    async fn get_many(
        &self,
        owner: Owner,
        collection: Collection,
        keys: &[String],
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let collection = collection as i16;
        let mut found = Vec::new();
        for keys in keys.chunks(KEYS_MAX) {
            let distinct: BTreeSet<&String> = keys.iter().collect();
            let mut rows = GET_MANY.rows(self.reader().dialect());
            for key in distinct {
                rows.text(key).end();
            }
            let args = self
                .reader()
                .args()
                .text(owner.instance)
                .int(i64::from(collection))
                .text(owner.tenant);
            let rows = self.reader().fetch(&GET_MANY, args.rows(rows)).await?;
            found.extend(self.open_values(owner, collection, &rows).await?);
        }
        Ok(found)
    }

    async fn scan(
        &self,
        owner: Owner,
        collection: Collection,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let collection = collection as i16;
        let args = self
            .reader()
            .args()
            .text(owner.instance)
            .int(i64::from(collection))
            .text(owner.tenant);
        let args = args.text(prefix).int(i64::from(limit));
        let rows = match after_prefix(prefix) {
            Some(end) => self.reader().fetch(&SCAN_BETWEEN, args.text(end)).await?,
            None => self.reader().fetch(&SCAN, args).await?,
        };
        self.open_values(owner, collection, &rows).await
    }

    async fn last_key(&self, owner: Owner, collection: Collection) -> Result<Option<String>, StoreError> {
        let args = self
            .reader()
            .args()
            .text(owner.instance)
            .int(i64::from(collection as i16))
            .text(owner.tenant);
        let row = self.reader().fetch_one(&LAST_KEY, args).await?;
        row.map(|row| row.text(0)).transpose()
    }

    async fn apply(&self, owner: Owner, ops: Vec<StateOp>) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        let tenant_key = self.tenant_key(owner.tenant).await?;
        let apply = Apply::seal(owner, tenant_key, ops)?;
        self.writer().planned(apply).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_after_all_of_it_and_before_everything_else() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{D7FF}").as_deref(), Some("a\u{E000}"));
        assert_eq!(after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
