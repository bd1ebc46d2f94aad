//! The scopes as types, so that what a handler needs stands in its signature.

use roost_domain::api_key::Scope;

/// A scope as a type.
pub trait Needs: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! markers {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("[`Scope::", stringify!($name), "`].")]
            #[derive(Debug)]
            pub enum $name {}

            impl Needs for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )*
    };
}

markers! {
    InstancesRead
    InstancesManage
    MessagesRead
    MessagesSend
    EventsRead
    EventsWrite
    WebhooksRead
    WebhooksManage
    KeysManage
    AuditRead
    UsageRead
}
