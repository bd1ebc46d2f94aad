//! `/v1/operator`: for whoever runs the nodes.

pub mod actors;
