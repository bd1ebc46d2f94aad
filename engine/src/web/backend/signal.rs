//! Keys and sessions of the Signal protocol.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::store::{Collection, StateOp};
use whatsapp_rust::wacore::store::traits::SignalStore;

use super::{Backend, LibraryError, ROWS_PER_READ, Result, delete, failed, key, put};

#[async_trait]
impl SignalStore for Backend {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.write(vec![identity(address, key)]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.write(
            identities
                .iter()
                .map(|(address, key)| identity(address, *key))
                .collect(),
        )
        .await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let Some(bytes) = self.get(Collection::Identity, &key::part(address)).await? else {
            return Ok(None);
        };
        let key = bytes[..]
            .try_into()
            .map_err(|_| LibraryError::Validation(format!("an identity key of {} bytes", bytes.len())))?;
        Ok(Some(key))
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.write(vec![delete(Collection::Identity, key::join([address]))])
            .await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        self.get(Collection::Session, &key::part(address)).await
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.write(vec![put(
            Collection::Session,
            key::join([address]),
            Bytes::copy_from_slice(session),
        )])
        .await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        let op = |(address, session): &(Arc<str>, Bytes)| {
            put(Collection::Session, key::join([address]), session.clone())
        };
        self.write(sessions.iter().map(op).collect()).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.write(vec![delete(Collection::Session, key::join([address]))])
            .await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        // Device 0 is `user@server`, the others are `user:device@server`.
        for end in ['@', ':'] {
            let prefix = format!("{}{end}", key::part(user));
            for collection in [Collection::Session, Collection::Identity] {
                if !self
                    .writer
                    .scan(collection, &prefix, 1)
                    .await
                    .map_err(failed)?
                    .is_empty()
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], _uploaded: bool) -> Result<()> {
        self.write(vec![put(
            Collection::Prekey,
            key::number(id),
            Bytes::copy_from_slice(record),
        )])
        .await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> Result<()> {
        let op = |(id, record): &(u32, Bytes)| put(Collection::Prekey, key::number(*id), record.clone());
        self.write(keys.iter().map(op).collect()).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        self.get(Collection::Prekey, &key::number(id)).await
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let _permit = if ids.len() > ROWS_PER_READ {
            // The semaphore is never closed; without a permit the read would only cost more memory.
            self.long_reads.acquire().await.ok()
        } else {
            None
        };
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(ROWS_PER_READ) {
            let keys = ids.iter().copied().map(key::number).collect();
            let rows = self
                .writer
                .get_many(Collection::Prekey, keys)
                .await
                .map_err(failed)?;
            found.extend(
                rows.into_iter()
                    .filter_map(|(key, record)| Some((key::parse_number(&key)?, record))),
            );
        }
        Ok(found)
    }

    /// Nobody reads which keys were uploaded: the device row knows by number. So nothing is written,
    /// and a key that was used meanwhile stays gone.
    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> Result<()> {
        Ok(())
    }

    /// Rides: the session that used the key is durable already.
    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.writer
            .ride_delete(Collection::Prekey, key::number(id))
            .await
            .map_err(failed)
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let last = self.writer.last_key(Collection::Prekey).await.map_err(failed)?;
        Ok(last.and_then(|key| key::parse_number(&key)).unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        let op = put(
            Collection::SignedPrekey,
            key::number(id),
            Bytes::copy_from_slice(record),
        );
        self.write(vec![op]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Collection::SignedPrekey, &key::number(id))
            .await?
            .map(Vec::from))
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let rows = self
            .writer
            .scan(Collection::SignedPrekey, "", super::SCAN_MAX)
            .await
            .map_err(failed)?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, record)| Some((key::parse_number(&key)?, record.into())))
            .collect())
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.write(vec![delete(Collection::SignedPrekey, key::number(id))])
            .await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        let op = put(
            Collection::SenderKey,
            key::join([address]),
            Bytes::copy_from_slice(record),
        );
        self.write(vec![op]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        let op = |(address, record): &(Arc<str>, Bytes)| {
            put(Collection::SenderKey, key::join([address]), record.clone())
        };
        self.write(sender_keys.iter().map(op).collect()).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Collection::SenderKey, &key::part(address))
            .await?
            .map(Vec::from))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.write(vec![delete(Collection::SenderKey, key::join([address]))])
            .await
    }
}

fn identity(address: &str, key: [u8; 32]) -> StateOp {
    put(
        Collection::Identity,
        key::join([address]),
        Bytes::copy_from_slice(&key),
    )
}
