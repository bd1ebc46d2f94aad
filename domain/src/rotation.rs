//! Rotations of the master key: everything that is encrypted at rest is encrypted anew, while the gateway
//! works.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::store::StoreError;

/// Where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RotationState {
    /// Under way, or interrupted by the end of the process: it goes on with the next start.
    Running,
    /// Nothing is encrypted under an earlier key any more.
    Done,
    /// It could not go on; `error` says why. What is encrypted stays readable, and it can be begun again.
    Failed,
}

/// The last rotation, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotation {
    /// Where it stands.
    pub state: RotationState,
    /// Id of the master key under which everything is when it is done. Ids are no secrets.
    #[schema(example = "9f1c20ab")]
    pub key_id: String,
    /// Ids of the earlier keys that it makes superfluous.
    pub old_key_ids: Vec<String>,
    /// How many times it has begun to look at everything. It is done when one look has found nothing.
    pub pass: u32,
    /// The table at which it is.
    #[schema(example = "message.body")]
    pub table: Option<String>,
    /// Values that were encrypted anew.
    pub resealed: u64,
    /// Values that were plain text before.
    pub sealed: u64,
    /// Values that cannot be decrypted, found by the last look. They keep the earlier keys in use.
    pub unreadable: u64,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it last moved on.
    pub updated_at: Timestamp,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
    /// What stopped it.
    pub error: Option<String>,
}

/// The master keys of the node.
#[async_trait]
pub trait MasterKeys: Send + Sync {
    /// Begins a rotation, or goes on with one, in the background. A conflict when the master keys
    /// cannot be rotated as they are configured.
    async fn rotate_master_key(&self) -> Result<Rotation, StoreError>;
    /// The last rotation, if there was one.
    async fn rotation(&self) -> Result<Option<Rotation>, StoreError>;
}
