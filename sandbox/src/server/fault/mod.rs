//! Faults on demand: what goes wrong, for whom, how often, and for how long.
//!
//! The control API and scenarios put faults into the [`Faults`] registry; the rest of the service
//! asks it at the few places where something can go wrong. While there are no faults for a place,
//! asking costs one relaxed load. Chance comes from a seeded generator per fault, so that a run that
//! does the same things in the same order is struck in the same places. Faults end with the process.

mod delivery;
mod kind;
mod place;
mod registry;

#[cfg(test)]
mod tests;

pub(super) use delivery::deliver;
pub(super) use kind::MediaAction;
pub(super) use place::{Delivery, FrameFault, MediaFault, Who};
pub(super) use registry::{FaultView, Faults, NewFault, TooManyFaults};
