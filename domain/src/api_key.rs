//! API keys: whom a caller speaks for, and what it may do.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::schema::{self, schema};
use crate::tenant::Tenant;
use crate::{ApiKeyId, InstanceId, TenantId, Timestamp};

/// Most instances that one key can be bound to.
pub const INSTANCES_MAX: usize = 100;
/// Most networks that one key can name.
pub const NETWORKS_MAX: usize = 50;

/// Whom a key speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A tenant: reaches that tenant's resources only.
    Tenant(TenantId),
    /// Whoever runs the nodes: reaches `/v1/operator` only, never a tenant's messages.
    Operator,
}

impl Principal {
    /// The tenant, unless it is the operator.
    pub fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Operator => None,
        }
    }
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// What a tenant's key may do. The names are stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Scope {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The scope's name in the API and the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

scopes! {
    /// See instances, their states, histories and pairing codes.
    InstancesRead => "instances:read",
    /// Make, change, connect, stop and delete instances.
    InstancesManage => "instances:manage",
    /// See messages.
    MessagesRead => "messages:read",
    /// Send messages, and tell senders that theirs were read.
    MessagesSend => "messages:send",
    /// Read and follow the event log.
    EventsRead => "events:read",
    /// Publish events of one's own.
    EventsWrite => "events:write",
    /// See webhooks and what became of their deliveries.
    WebhooksRead => "webhooks:read",
    /// Make, change and delete webhooks, see their secrets, repeat deliveries.
    WebhooksManage => "webhooks:manage",
    /// See, make, change and revoke the tenant's keys.
    KeysManage => "keys:manage",
    /// Read the tenant's audit log.
    AuditRead => "audit:read",
    /// Read media.
    MediaRead => "media:read",
    /// Read how much the tenant has used.
    UsageRead => "usage:read",
}

impl Scope {
    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ScopeName>", into = "Vec<ScopeName>")]
pub enum Scopes {
    /// Every scope, those of later releases too. In JSON and in the database `["*"]`.
    All,
    /// These, in order and each once.
    These(Vec<Scope>),
}

/// An entry of a set of scopes in JSON: a scope's name, or `*` for all.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum ScopeName {
    One(Scope),
    All(Wildcard),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Wildcard {
    #[serde(rename = "*")]
    All,
}

impl From<Vec<ScopeName>> for Scopes {
    fn from(names: Vec<ScopeName>) -> Self {
        let mut scopes = Vec::with_capacity(names.len());
        for name in names {
            match name {
                ScopeName::All(Wildcard::All) => return Self::All,
                ScopeName::One(scope) => scopes.push(scope),
            }
        }
        Self::these(scopes)
    }
}

impl From<Scopes> for Vec<ScopeName> {
    fn from(scopes: Scopes) -> Self {
        match scopes {
            Scopes::All => vec![ScopeName::All(Wildcard::All)],
            Scopes::These(scopes) => scopes.into_iter().map(ScopeName::One).collect(),
        }
    }
}

impl Scopes {
    /// The set of these scopes.
    pub fn these(mut scopes: Vec<Scope>) -> Self {
        scopes.sort_unstable();
        scopes.dedup();
        Self::These(scopes)
    }

    /// Whether a scope is in the set.
    pub fn contains(&self, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::These(scopes) => scopes.binary_search(&scope).is_ok(),
        }
    }

    /// Whether every scope of another set is in this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::These(_), Self::All) => false,
            (Self::These(_), Self::These(others)) => others.iter().all(|&scope| self.contains(scope)),
        }
    }
}

schema!(
    Scope,
    schema::one_of(
        "What a tenant's key may do.",
        Scope::ALL.iter().map(|scope| scope.as_str()),
        "messages:send",
    )
);

impl PartialSchema for Scopes {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .description(Some(
                "What a key may do; `*` is everything, what later releases add too.",
            ))
            .items(schema::any_of([
                Ref::from_schema_name(Scope::name()).into(),
                schema::text("Every scope.", r"^\*$", "*"),
            ]))
            .min_items(Some(1))
            .max_items(Some(Scope::ALL.len() + 1))
            .examples([serde_json::json!(["messages:send", "events:read"])])
            .into()
    }
}

impl ToSchema for Scopes {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Scope::name().into_owned(), Scope::schema()));
    }
}

/// A credential as it is kept; its secrets are rows of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiKey {
    /// Identity.
    pub id: ApiKeyId,
    /// Whom it speaks for.
    #[serde(skip)]
    pub principal: Principal,
    /// Name for humans.
    pub name: String,
    /// What it may do. Without meaning for an operator's key.
    pub scopes: Scopes,
    /// The only instances that it reaches; empty when it reaches all. Others of the tenant, and what
    /// belongs to the tenant as a whole, are closed to a bound key.
    pub instances: Vec<InstanceId>,
    /// The only networks from which it may be used; empty when it may be from everywhere.
    #[schema(value_type = Vec<String>, example = json!(["203.0.113.0/24"]))]
    pub allowed_networks: Vec<IpNet>,
    /// Calls at most per minute; no limit of its own when absent.
    pub calls_per_minute: Option<u32>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its row last changed, use aside.
    pub updated_at: Timestamp,
}

impl ApiKey {
    /// Whether it is bound to instances, and this is none of them.
    pub fn is_closed_to(&self, instance: InstanceId) -> bool {
        !self.instances.is_empty() && !self.instances.contains(&instance)
    }

    /// Whether it may be used from an address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_networks.is_empty()
            || self
                .allowed_networks
                .iter()
                .any(|network| network.contains(&address))
    }
}

/// One text of a key, as it is stored. A key has two while it is being rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySecret {
    /// Public part of the text, by which the row is found. Unique over all keys.
    pub prefix: String,
    /// HMAC-SHA256 of the whole text under the pepper.
    pub hash: [u8; 32],
    /// From when on it is refused: the end of the overlap of a rotation.
    pub expires_at: Option<Timestamp>,
}

/// What a text of a key opens.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The text's row.
    pub secret: KeySecret,
    /// The key.
    pub key: ApiKey,
    /// The tenant, unless it is an operator's key.
    pub tenant: Option<Tenant>,
}

/// What may be changed; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct KeyPatch {
    /// Name for humans.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Option<Scopes>,
    /// The only instances that it reaches.
    pub instances: Option<Vec<InstanceId>>,
    /// The only networks from which it may be used.
    pub allowed_networks: Option<Vec<IpNet>>,
    /// Calls at most per minute.
    pub calls_per_minute: Option<Option<u32>>,
    /// From when on it is refused.
    pub expires_at: Option<Option<Timestamp>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_scopes_is_read_and_written_in_order_and_once() {
        let scopes: Scopes =
            serde_json::from_str(r#"["messages:send","instances:read","messages:send"]"#).unwrap();
        assert_eq!(
            scopes,
            Scopes::These(vec![Scope::InstancesRead, Scope::MessagesSend])
        );
        assert_eq!(
            serde_json::to_string(&scopes).unwrap(),
            r#"["instances:read","messages:send"]"#
        );
        let all: Scopes = serde_json::from_str(r#"["keys:manage","*"]"#).unwrap();
        assert_eq!(all, Scopes::All);
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["*"]"#);
        assert!(serde_json::from_str::<Scopes>(r#"["messages:sned"]"#).is_err());
    }

    #[test]
    fn a_set_covers_what_is_in_it_and_only_all_covers_all() {
        let some = Scopes::these(vec![Scope::MessagesSend, Scope::MessagesRead]);
        let one = Scopes::these(vec![Scope::MessagesRead]);
        assert!(some.covers(&one) && !one.covers(&some));
        assert!(Scopes::All.covers(&some) && Scopes::All.covers(&Scopes::All));
        assert!(!Scopes::these(Scope::ALL.to_vec()).covers(&Scopes::All));
    }

    #[test]
    fn scopes_are_written_as_they_are_serialised() {
        for &scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
        }
    }
}
