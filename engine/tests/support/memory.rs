//! Link state in memory, with switches for trouble. For tests only.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::store::{Collection, LinkState, StateOp, StoreError};
use roost_domain::{Epoch, InstanceId, Owner, TenantId, Timestamp};

type Row = (Bytes, Option<Timestamp>);

#[derive(Default)]
struct Inner {
    rows: BTreeMap<(InstanceId, Collection, String), Row>,
    epochs: BTreeMap<InstanceId, Epoch>,
    trouble: Option<StoreError>,
    units: Vec<Vec<StateOp>>,
}

/// What a database would hold.
#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

/// Some instance under an epoch.
pub fn owner(instance: u128, epoch: i64) -> Owner {
    Owner {
        tenant: TenantId::from_parts(0, 1),
        instance: InstanceId::from_parts(0, instance),
        epoch: Epoch(epoch),
    }
}

#[allow(dead_code, reason = "each test binary uses its share")]
impl Memory {
    /// From now on every call fails like this; `None` ends the trouble.
    pub fn set_trouble(&self, trouble: Option<StoreError>) {
        self.inner.lock().unwrap().trouble = trouble;
    }

    /// Somebody else takes the instance over.
    pub fn take_over(&self, owner: Owner) {
        self.inner
            .lock()
            .unwrap()
            .epochs
            .insert(owner.instance, owner.epoch);
    }

    /// Forgets the units counted so far, and returns them.
    pub fn take_units(&self) -> Vec<Vec<StateOp>> {
        std::mem::take(&mut self.inner.lock().unwrap().units)
    }

    pub fn row(&self, owner: Owner, collection: Collection, key: &str) -> Option<Row> {
        self.inner
            .lock()
            .unwrap()
            .rows
            .get(&(owner.instance, collection, key.to_owned()))
            .cloned()
    }

    /// Removes what an instance has of a collection. Returns how much that was.
    pub fn forget(&self, owner: Owner, collection: Collection) -> usize {
        let mut inner = self.inner.lock().unwrap();
        let before = inner.rows.len();
        inner
            .rows
            .retain(|(instance, kind, _), _| *instance != owner.instance || *kind != collection);
        before - inner.rows.len()
    }

    pub fn count(&self, owner: Owner, collection: Collection) -> usize {
        let inner = self.inner.lock().unwrap();
        inner
            .rows
            .keys()
            .filter(|(instance, kind, _)| *instance == owner.instance && *kind == collection)
            .count()
    }
}

impl Inner {
    fn check(&self, owner: Owner) -> Result<(), StoreError> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        match self.epochs.get(&owner.instance) {
            Some(epoch) if *epoch > owner.epoch => Err(StoreError::Fenced),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl LinkState for Memory {
    async fn get(
        &self,
        owner: Owner,
        collection: Collection,
        key: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let inner = self.inner.lock().unwrap();
        inner.check(owner)?;
        Ok(inner
            .rows
            .get(&(owner.instance, collection, key.to_owned()))
            .map(|(value, _)| value.clone()))
    }

    async fn get_many(
        &self,
        owner: Owner,
        collection: Collection,
        keys: &[String],
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let mut found = Vec::new();
        for key in keys {
            if let Some(value) = self.get(owner, collection, key).await? {
                found.push((key.clone(), value));
            }
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
        let inner = self.inner.lock().unwrap();
        inner.check(owner)?;
        Ok(inner
            .rows
            .iter()
            .filter(|((instance, kind, key), _)| {
                *instance == owner.instance && *kind == collection && key.starts_with(prefix)
            })
            .take(limit as usize)
            .map(|((_, _, key), (value, _))| (key.clone(), value.clone()))
            .collect())
    }

    async fn last_key(&self, owner: Owner, collection: Collection) -> Result<Option<String>, StoreError> {
        Ok(self
            .scan(owner, collection, "", u32::MAX)
            .await?
            .pop()
            .map(|(key, _)| key))
    }

    async fn apply(&self, owner: Owner, ops: Vec<StateOp>) -> Result<(), StoreError> {
        // A database takes its time; others get their turn meanwhile.
        tokio::task::yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        inner.check(owner)?;
        for op in &ops {
            match op.clone() {
                StateOp::Put {
                    collection,
                    key,
                    value,
                    expires_at,
                } => {
                    inner
                        .rows
                        .insert((owner.instance, collection, key), (value, expires_at));
                }
                StateOp::Delete { collection, key } => {
                    inner.rows.remove(&(owner.instance, collection, key));
                }
                StateOp::Clear { collection, prefix } => inner.rows.retain(|(instance, kind, key), _| {
                    !(*instance == owner.instance && *kind == collection && key.starts_with(&prefix))
                }),
            }
        }
        inner.units.push(ops);
        Ok(())
    }
}
