//! Secrets at rest: what a busy gateway leaves on disk, and rotations of the master key that are killed.

mod dump;
mod rotate;
mod search;
