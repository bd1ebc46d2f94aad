//! What the protocol keeps beside keys: names, devices, groups, sent and pending messages.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::store::{Collection, StateOp};
use whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::{Backend, LibraryError, Result, SCAN_MAX, decode, delete, encode, failed, key, put};

/// Retry receipts come minutes after a message at most; this is generous.
const SENT_MESSAGE_SECONDS: u64 = 24 * 3600;
/// As long as WhatsApp keeps a message for a device that is away.
const PENDING_INBOUND_SECONDS: u64 = 30 * 24 * 3600;
const BASE_KEY_SECONDS: u64 = 7 * 24 * 3600;

#[async_trait]
impl ProtocolStore for Backend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let prefix = key::prefix(group_jid);
        let rows = self
            .writer
            .scan(Collection::SenderKeyDevice, &prefix, SCAN_MAX)
            .await
            .map_err(failed)?;
        let device = |(key, value): (String, Bytes)| {
            Some((key::unescape(key.strip_prefix(&prefix)?)?, value[..] == [1]))
        };
        Ok(rows.into_iter().filter_map(device).collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let op = |(device, has_key): &(&str, bool)| {
            put(
                Collection::SenderKeyDevice,
                key::join([group_jid, device]),
                vec![u8::from(*has_key)],
            )
        };
        self.write(entries.iter().map(op).collect()).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        self.write(vec![clear_senders(key::prefix(group_jid))]).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        if device_jids.is_empty() {
            return Ok(());
        }
        let ends: Vec<String> = device_jids
            .iter()
            .map(|device| format!("{}{}", key::SEPARATOR, key::part(device)))
            .collect();
        let rows = self
            .writer
            .scan(Collection::SenderKeyDevice, "", SCAN_MAX)
            .await
            .map_err(failed)?;
        let ops = rows
            .into_iter()
            .filter(|(key, _)| ends.iter().any(|end| key.ends_with(end)))
            .map(|(key, _)| delete(Collection::SenderKeyDevice, key))
            .collect();
        self.write(ops).await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.write(vec![clear_senders(String::new())]).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.get(Collection::LidMapping, &key::part(lid))
            .await?
            .map(|bytes| decode(&bytes))
            .transpose()
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let Some(lid) = self.get(Collection::PhoneMapping, &key::part(phone)).await? else {
            return Ok(None);
        };
        let Ok(lid) = std::str::from_utf8(&lid) else {
            return Ok(None);
        };
        self.get_lid_mapping(lid).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let _turn = self.exclusive.lock().await;
        let keys = entries.iter().map(|entry| key::join([&entry.lid])).collect();
        let stored = self
            .writer
            .get_many(Collection::LidMapping, keys)
            .await
            .map_err(failed)?;
        let mut ops = Vec::with_capacity(entries.len() * 2);
        for (_, bytes) in stored {
            // A LID that moved to another number must not be found under the old one.
            let old: LidPnMappingEntry = decode(&bytes)?;
            let moved =
                |entry: &LidPnMappingEntry| entry.lid == old.lid && entry.phone_number != old.phone_number;
            if entries.iter().any(moved) {
                ops.push(delete(Collection::PhoneMapping, key::join([&old.phone_number])));
            }
        }
        for entry in entries {
            ops.push(put(
                Collection::LidMapping,
                key::join([&entry.lid]),
                encode(entry)?,
            ));
            ops.push(put(
                Collection::PhoneMapping,
                key::join([&entry.phone_number]),
                Bytes::copy_from_slice(entry.lid.as_bytes()),
            ));
        }
        self.write(ops).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let rows = self
            .writer
            .scan(Collection::LidMapping, "", SCAN_MAX)
            .await
            .map_err(failed)?;
        rows.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        self.write(vec![StateOp::Put {
            collection: Collection::BaseKey,
            key: key::join([address, message_id]),
            value: Bytes::copy_from_slice(base_key),
            expires_at: self.expiry(BASE_KEY_SECONDS),
        }])
        .await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let stored = self
            .get(Collection::BaseKey, &key::join([address, message_id]))
            .await?;
        Ok(stored.is_some_and(|stored| stored == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.write(vec![delete(
            Collection::BaseKey,
            key::join([address, message_id]),
        )])
        .await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let op = |record: &DeviceListRecord| {
            Ok(put(
                Collection::DeviceList,
                key::join([&record.user]),
                encode(record)?,
            ))
        };
        self.write(records.iter().map(op).collect::<Result<_>>()?).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get(Collection::DeviceList, &key::part(user))
            .await?
            .map(|bytes| decode(&bytes))
            .transpose()
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.write(vec![delete(Collection::DeviceList, key::join([user]))])
            .await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Collection::Group, &key::part(group_jid))
            .await?
            .map(Vec::from))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.write(vec![put(
            Collection::Group,
            key::join([group_jid]),
            Bytes::copy_from_slice(blob),
        )])
        .await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.write(vec![delete(Collection::Group, key::join([group_jid]))])
            .await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.get(Collection::TcToken, &key::part(jid))
            .await?
            .map(|bytes| decode(&bytes))
            .transpose()
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.write(vec![put(Collection::TcToken, key::join([jid]), encode(entry)?)])
            .await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.write(vec![delete(Collection::TcToken, key::join([jid]))])
            .await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        let rows = self
            .writer
            .scan(Collection::TcToken, "", SCAN_MAX)
            .await
            .map_err(failed)?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, _)| key::unescape(&key))
            .collect())
    }

    /// Once per connection, and by what the tokens say: the rows cannot carry one expiry, because the
    /// library moves its windows.
    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        let _turn = self.exclusive.lock().await;
        let mut ops = Vec::new();
        for (key, bytes) in self
            .writer
            .scan(Collection::TcToken, "", SCAN_MAX)
            .await
            .map_err(failed)?
        {
            let entry: TcTokenEntry = decode(&bytes)?;
            let token_lives = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
            let sender_lives = entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
            if !token_lives && !sender_lives {
                ops.push(delete(Collection::TcToken, key));
            }
        }
        let count = u32::try_from(ops.len()).unwrap_or(u32::MAX);
        self.write(ops).await?;
        Ok(count)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        let _turn = self.exclusive.lock().await;
        let mut entry = self.get_tc_token(jid).await?.unwrap_or_else(|| TcTokenEntry {
            token: Vec::new(),
            token_timestamp: sender_timestamp,
            sender_timestamp: None,
        });
        entry.sender_timestamp = entry.sender_timestamp.max(Some(sender_timestamp));
        self.put_tc_token(jid, &entry).await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        let _turn = self.exclusive.lock().await;
        let known = self.get_tc_token(jid).await?;
        if known
            .as_ref()
            .is_some_and(|known| !known.token.is_empty() && token_timestamp < known.token_timestamp)
        {
            return Ok(());
        }
        let entry = TcTokenEntry {
            token: token.to_vec(),
            token_timestamp,
            sender_timestamp: known.and_then(|known| known.sender_timestamp),
        };
        self.put_tc_token(jid, &entry).await
    }

    /// Rides: it is needed when a recipient's device asks for the message again, and the flush of the
    /// session that follows each send takes it along.
    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        let key = key::join([chat_jid, message_id]);
        let ride = self.writer.ride(
            Collection::SentMessage,
            key,
            Bytes::copy_from_slice(payload),
            self.expiry(SENT_MESSAGE_SECONDS),
        );
        ride.await.map_err(failed)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let _turn = self.exclusive.lock().await;
        let key = key::join([chat_jid, message_id]);
        let stored = self.get(Collection::SentMessage, &key).await?;
        if stored.is_some() {
            self.writer
                .ride_delete(Collection::SentMessage, key)
                .await
                .map_err(failed)?;
        }
        Ok(stored.map(Vec::from))
    }

    async fn delete_expired_sent_messages(&self, _cutoff_timestamp: i64) -> Result<u32> {
        Ok(0)
    }

    /// Rides, and is therefore stored with the ratchet that decrypted the message, unless that was stored
    /// since: see [`crate::web::redelivery`].
    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.decrypted.fetch_add(1, Ordering::AcqRel);
        if let Some(redelivery) = self.redelivery.get() {
            redelivery.decrypted(sender, id).await;
        }
        let ride = self.writer.ride(
            Collection::PendingInbound,
            key::join([chat, sender, id]),
            Bytes::copy_from_slice(message),
            self.expiry(PENDING_INBOUND_SECONDS),
        );
        ride.await.map_err(failed)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        for row in rows {
            self.store_pending_inbound(row.chat, row.sender, row.id, row.message)
                .await?;
        }
        Ok(())
    }

    /// Asked for a message that was decrypted before. `None` has it acknowledged.
    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let key = key::join([chat, sender, id]);
        let rides = self.writer.riding(Collection::PendingInbound, &key).is_some();
        let stored = self.get(Collection::PendingInbound, &key).await?;
        if stored.is_some() && !rides {
            self.writer.note_stored(Collection::PendingInbound, &key);
        }
        if stored.is_none()
            && let Some(redelivery) = self.redelivery.get()
        {
            let settled = redelivery.settle(chat, sender, id).await;
            settled.map_err(|error| LibraryError::Database(Box::new(error)))?;
        }
        Ok(stored.map(Vec::from))
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        let key = key::join([chat, sender, id]);
        self.writer
            .take_back(Collection::PendingInbound, key)
            .await
            .map_err(failed)
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        for key in keys {
            self.delete_pending_inbound(key.chat, key.sender, key.id).await?;
        }
        Ok(())
    }
}

fn clear_senders(prefix: String) -> StateOp {
    StateOp::Clear {
        collection: Collection::SenderKeyDevice,
        prefix,
    }
}
