//! Groups as a phone takes part in them: with a sender key of its own, which it tells every device
//! that lacks it and replaces when somebody leaves.

mod receive;
mod send;

pub(super) use receive::message;
pub(super) use send::resend;
pub(in crate::server) use send::send;
