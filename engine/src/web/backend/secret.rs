//! Secrets of messages, with which edits, reactions and votes that refer to them are decrypted.
//!
//! They ride: one that is lost in a crash costs at most the decryption of such an add-on, and each
//! message has one.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use roost_domain::Timestamp;
use roost_domain::store::Collection;
use whatsapp_rust::wacore::store::traits::{
    MessageSecret, MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::{Backend, LibraryError, Result, failed, key};

/// A secret as it is stored: 32 bytes, its expiry and its message's time.
struct Row {
    secret: MessageSecret,
    expires_at: i64,
    message_ts: i64,
}

impl Row {
    const BYTES: usize = size_of::<MessageSecret>() + 16;

    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::BYTES);
        bytes.put_slice(&self.secret);
        bytes.put_i64(self.expires_at);
        bytes.put_i64(self.message_ts);
        bytes.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let row = || {
            let (secret, rest) = bytes.split_first_chunk()?;
            let (expires_at, rest) = rest.split_first_chunk()?;
            let message_ts = rest.try_into().ok()?;
            Some(Self {
                secret: *secret,
                expires_at: i64::from_be_bytes(*expires_at),
                message_ts: i64::from_be_bytes(message_ts),
            })
        };
        row().ok_or_else(|| LibraryError::Validation(format!("a message secret of {} bytes", bytes.len())))
    }
}

#[async_trait]
impl MsgSecretStore for Backend {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let _turn = self.exclusive.lock().await;
        let count = entries.len();
        let keys = entries
            .iter()
            .map(|entry| secret_key(&entry.chat, &entry.sender, &entry.msg_id))
            .collect();
        let stored = self
            .writer
            .get_many(Collection::MessageSecret, keys)
            .await
            .map_err(failed)?;
        let mut rows = HashMap::with_capacity(stored.len());
        for (key, bytes) in stored {
            rows.insert(key, Row::decode(&bytes)?);
        }
        for entry in entries {
            let key = secret_key(&entry.chat, &entry.sender, &entry.msg_id);
            let known = rows.get(&key);
            let row = Row {
                secret: entry.secret,
                expires_at: known.map_or(entry.expires_at, |row| {
                    merge_msg_secret_expiry(row.expires_at, entry.expires_at)
                }),
                message_ts: known.map_or(entry.message_ts, |row| {
                    merge_msg_secret_message_ts(row.message_ts, entry.message_ts)
                }),
            };
            // Zero means never.
            let expires_at = (row.expires_at != 0).then(|| Timestamp::from_unix_seconds(row.expires_at));
            let ride = self
                .writer
                .ride(Collection::MessageSecret, key.clone(), row.encode(), expires_at);
            ride.await.map_err(failed)?;
            rows.insert(key, row);
        }
        Ok(count)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, msg_id).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let stored = self
            .get(Collection::MessageSecret, &secret_key(chat, sender, msg_id))
            .await?;
        let Some(bytes) = stored else { return Ok(None) };
        let row = Row::decode(&bytes)?;
        Ok(Some((row.secret.to_vec(), row.message_ts)))
    }

    async fn delete_expired_msg_secrets(&self, _cutoff_timestamp: i64) -> Result<u32> {
        Ok(0)
    }
}

fn secret_key(chat: &str, sender: &str, id: &str) -> String {
    key::join([chat, sender, id])
}
