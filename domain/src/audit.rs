//! The audit log: who did what, from where, and what came of it. Append-only.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AuditEventId, ErrorCode, TenantId, Timestamp};

/// What kind of caller did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A tenant's key.
    Key,
    /// An operator's key, or the command line on the node itself.
    Operator,
    /// Nobody who could be told: the call had no valid key.
    Anonymous,
    /// Roost itself, for example when it ends what an operator began.
    System,
}

impl ActorKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Key, Self::Operator, Self::Anonymous, Self::System];

    /// The kind's name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Operator => "operator",
            Self::Anonymous => "anonymous",
            Self::System => "system",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// It was done.
    Done,
    /// It was refused: no valid key, a scope or binding that is missing, a limit.
    Denied,
    /// It was allowed and did not come about; what it would have changed may or may not have changed.
    Failed,
}

impl AuditResult {
    /// Every result.
    pub const ALL: &'static [Self] = &[Self::Done, Self::Denied, Self::Failed];

    /// The result's name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// The result with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|result| result.as_str() == name)
    }
}

/// One act. Outlives what it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEvent {
    /// Identity; sorts by time.
    pub id: AuditEventId,
    /// Whose log it stands in; the operator's when absent.
    pub tenant_id: Option<TenantId>,
    /// When. For calls that were denied alike many times: the first of them.
    pub at: Timestamp,
    /// What kind of caller did it.
    pub actor_kind: ActorKind,
    /// Id of the key, if there was a valid one.
    pub actor_id: Option<String>,
    /// Address from which the call came.
    pub source: Option<String>,
    /// What was done: the operation's id in the OpenAPI document, for example `create_instance`.
    pub action: String,
    /// What it was done to: an id, if there is one.
    pub target: Option<String>,
    /// What came of it.
    pub result: AuditResult,
    /// HTTP status of the answer; absent for what was done on the command line.
    pub status: Option<u16>,
    /// Error code of the answer, when it was not done.
    pub code: Option<ErrorCode>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// For how many calls it stands: more than one for calls that were denied alike within a minute.
    pub count: u32,
}

/// Which audit events to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Id of the key that acted.
    pub actor_id: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// What it was done to.
    pub target: Option<String>,
    /// What came of it.
    pub result: Option<AuditResult>,
}
