//! `/v1/operator`: for whoever runs the nodes.

pub mod actors;
pub mod api_keys;
pub mod audit_events;
pub mod master_key;
pub mod nodes;
pub mod slots;
pub mod tenants;
pub mod usage;
