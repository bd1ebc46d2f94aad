//! Tenants, and what each of them may have and do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limit::Limits;
use crate::{TenantId, Timestamp};

/// Longest name of a tenant or a key, in characters.
pub const NAME_CHARS_MAX: usize = 100;

/// Whether a tenant's keys open anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// Works.
    Active,
    /// By the operator: its keys are refused and its sessions and webhooks rest; nothing is lost.
    Suspended,
    /// Its encryption key is destroyed and its rows are being removed.
    Deleting,
    /// Nothing of it is left but this row and its audit events.
    Deleted,
}

impl TenantState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Suspended, Self::Deleting, Self::Deleted];

    /// The state's name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == name)
    }
}

/// Unit of isolation and billing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tenant {
    /// Identity.
    pub id: TenantId,
    /// Name for humans.
    pub name: String,
    /// Whether its keys open anything.
    pub state: TenantState,
    /// Name of its plan in the configuration; without one only `limits` limit it.
    pub plan: Option<String>,
    /// Limits of its own: each that is there replaces the plan's.
    pub limits: Limits,
    /// How many days its events and messages are kept; the configured time when absent.
    pub retention_days: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// When the last of its rows was gone.
    pub deleted_at: Option<Timestamp>,
}

impl Tenant {
    /// A tenant without plan or limits of its own.
    pub fn new(id: TenantId, name: String, created_at: Timestamp) -> Self {
        Self {
            id,
            name,
            state: TenantState::Active,
            plan: None,
            limits: Limits::default(),
            retention_days: None,
            created_at,
            updated_at: created_at,
            deleted_at: None,
        }
    }
}

/// What an operator may change; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct TenantPatch {
    /// Name for humans.
    pub name: Option<String>,
    /// Name of its plan; `Some(None)` takes it away.
    pub plan: Option<Option<String>>,
    /// Limits of its own, all of them anew.
    pub limits: Option<Limits>,
    /// Days for which events and messages are kept; `Some(None)` follows the configuration.
    pub retention_days: Option<Option<u32>>,
    /// Suspended or active again. Not possible while it is being deleted.
    pub suspended: Option<bool>,
}
