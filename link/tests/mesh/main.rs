//! Nodes that link: each one a process of its own, as `ractor`'s registry is one per process. The test
//! binary starts itself again as a node (`node_process`), tells it what to do over its standard input,
//! and reads its answers from its standard output.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by a panic at the right line is what a test is for"
)]

mod call;
mod fault;
mod hostile;
mod measure;
mod node;
mod notes;
mod stage;

/// A node, when the environment says so; otherwise nothing.
#[test]
fn node_process() {
    node::run();
}
