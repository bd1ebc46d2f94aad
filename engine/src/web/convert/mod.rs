//! Between the library's words and the domain's. Pure, apart from looking up names.

mod address;
mod inbound;
mod outgoing;

pub(super) use address::{account, jid_of};
pub(super) use inbound::{Names, inbound, key};
pub(super) use outgoing::message;

#[cfg(test)]
mod tests;
