//! App state: keys, versions and MACs of the settings that an account's devices share.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::store::{Collection, StateOp};
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::{Backend, Result, decode, delete, encode, failed, key, put};

/// Under which the id of the newest key is kept.
const LATEST_KEY: &str = "latest_sync_key";

#[async_trait]
impl AppSyncStore for Backend {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get(Collection::SyncKey, &key::hex(key_id))
            .await?
            .map(|bytes| decode(&bytes))
            .transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], value: AppStateSyncKey) -> Result<()> {
        self.write(vec![
            put(Collection::SyncKey, key::hex(key_id), encode(&value)?),
            put(
                Collection::Other,
                LATEST_KEY.to_owned(),
                Bytes::copy_from_slice(key_id),
            ),
        ])
        .await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let stored = self.get(Collection::SyncVersion, &key::part(name)).await?;
        Ok(stored
            .map(|bytes| decode(&bytes))
            .transpose()?
            .unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.write(vec![put(
            Collection::SyncVersion,
            key::join([name]),
            encode(&state)?,
        )])
        .await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let op = |mac: &AppStateMutationMAC| {
            put(
                Collection::MutationMac,
                mac_key(name, &mac.index_mac),
                Bytes::copy_from_slice(&mac.value_mac),
            )
        };
        self.write(mutations.iter().map(op).collect()).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Collection::MutationMac, &mac_key(name, index_mac))
            .await?
            .map(Vec::from))
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let by_key: HashMap<String, [u8; 32]> =
            index_macs.iter().map(|mac| (mac_key(name, mac), *mac)).collect();
        let keys = by_key.keys().cloned().collect();
        let found = self
            .writer
            .get_many(Collection::MutationMac, keys)
            .await
            .map_err(failed)?;
        Ok(found
            .into_iter()
            .filter_map(|(key, value)| Some((*by_key.get(&key)?, value.into())))
            .collect())
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        self.write(
            index_macs
                .iter()
                .map(|mac| delete(Collection::MutationMac, mac_key(name, mac)))
                .collect(),
        )
        .await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.write(vec![StateOp::Clear {
            collection: Collection::MutationMac,
            prefix: key::prefix(name),
        }])
        .await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.get(Collection::Other, LATEST_KEY).await?.map(Vec::from))
    }
}

fn mac_key(name: &str, index_mac: &[u8]) -> String {
    key::prefix(name) + &key::hex(index_mac)
}
