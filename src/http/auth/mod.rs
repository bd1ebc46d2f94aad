//! Who calls, and what the caller may do.
//!
//! One layer around `/v1` reads the credential, looks the key up ([`crate::access`] remembers keys, so
//! that a call costs no round trip to the database) and puts a [`Caller`] into the request's extensions.
//! What a handler needs stands in its signature, as its first parameter: [`Allowed`] with a scope,
//! [`Unbound`] where a key must not be bound to instances, or [`Operator`].
//!
//! Nothing in here survives the process; the rows of the keys do.

mod allowed;
mod authenticate;
mod caller;
mod credential;
mod held;
pub mod scope;
pub mod stream_token;

pub use allowed::{Allowed, Operator, Unbound};
pub use authenticate::{authenticate, is_known};
pub use caller::Caller;
pub use credential::{Shown, TOKEN};
pub use held::{held, hold, withdrawn};
