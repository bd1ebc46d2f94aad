//! Tenants and the keys that speak for them.

use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, TenantId, Timestamp};

/// Unit of isolation and billing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Identity.
    pub id: TenantId,
    /// Name for humans.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whom a key speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A tenant: reaches that tenant's resources only.
    Tenant(TenantId),
    /// Whoever runs the nodes: reaches `/v1/operator` only, never a tenant's messages.
    Operator,
}

/// A credential as it is stored: the secret itself is never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Identity.
    pub id: ApiKeyId,
    /// Whom it speaks for.
    pub principal: Principal,
    /// Name for humans.
    pub name: String,
    /// Public part of the key's text, by which the row is found.
    pub prefix: String,
    /// HMAC-SHA256 of the key's text under the pepper.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
}
