//! Why a key or a tenant could not be read or changed.

use roost_actors::CallError;
use roost_domain::store::StoreError;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The store's answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An actor's answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// As many keys are being looked up as may be at once; nothing was done.
    #[error("too many keys are being looked up")]
    Busy,
    /// There are as many keys as there may be.
    #[error("there are at most {max} keys")]
    TooManyKeys {
        /// The limit.
        max: u32,
    },
    /// The key does not have what it would give to another.
    #[error("a key can only make and change keys with scopes that it has itself")]
    NotCovered,
    /// The node is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}
