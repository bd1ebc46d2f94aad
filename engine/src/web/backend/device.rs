//! The device itself: keys, pairing, counters. One row.

use std::hash::BuildHasher;
use std::sync::PoisonError;

use async_trait::async_trait;
use roost_domain::store::{Collection, StoreError};
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::DeviceStore;

use super::{Backend, LibraryError, Result, failed, put, unreadable};

const KEY: &str = "device";
/// The library numbers devices of a shared database; here every link has a database of its own.
const NUMBER: i32 = 1;

/// Why the device cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::web) enum DeviceError {
    #[error(transparent)]
    Store(StoreError),
    #[error("the stored device cannot be decoded: {0}")]
    Decode(serde_json::Error),
}

impl Backend {
    /// Reads the device, and keeps it for the library.
    pub(in crate::web) async fn open(&self) -> std::result::Result<Option<Device>, DeviceError> {
        let Some(bytes) = self
            .writer
            .get_at_once(Collection::Device, KEY)
            .await
            .map_err(DeviceError::Store)?
        else {
            return Ok(None);
        };
        let device: Device = serde_json::from_slice(&bytes).map_err(DeviceError::Decode)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.hasher.hash_one(&bytes[..]));
        self.keep(device.clone());
        Ok(Some(device))
    }

    fn keep(&self, device: Device) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(device));
    }

    fn kept(&self) -> Option<Device> {
        let kept = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.map(|device| *device)
    }

    async fn store(&self, device: &Device) -> Result<()> {
        // JSON, because the library's own encoding of keys cannot be read back from MessagePack.
        let bytes = serde_json::to_vec(device).map_err(unreadable)?;
        let hash = self.hasher.hash_one(&bytes[..]);
        if *self.saved.lock().unwrap_or_else(PoisonError::into_inner) == Some(hash) {
            return Ok(());
        }
        // The library gives up saving for good after ten failures in a row; so none is reported while
        // the link lives and the database may come back.
        let ops = vec![put(Collection::Device, KEY.to_owned(), bytes)];
        self.writer.write_patiently(ops).await.map_err(failed)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        Ok(())
    }
}

#[async_trait]
impl DeviceStore for Backend {
    async fn save(&self, device: &Device) -> Result<()> {
        self.store(device).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        if let Some(device) = self.kept() {
            return Ok(Some(device));
        }
        self.reread().await
    }

    async fn exists(&self) -> Result<bool> {
        if self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return Ok(true);
        }
        Ok(self.get(Collection::Device, KEY).await?.is_some())
    }

    async fn create(&self) -> Result<i32> {
        let device = Device::new();
        self.store(&device).await?;
        self.keep(device);
        Ok(NUMBER)
    }
}

impl Backend {
    async fn reread(&self) -> Result<Option<Device>> {
        match self.open().await {
            Ok(_) => Ok(self.kept()),
            Err(DeviceError::Store(error)) => Err(failed(error)),
            Err(DeviceError::Decode(error)) => Err(LibraryError::Serialization(Box::new(error))),
        }
    }
}
