//! Roost: a self-hosted, multi-tenant WhatsApp gateway.
//!
//! This package is the edge and the composition: [`cli`] reads what to do, [`config`] what holds,
//! [`app`] puts the node together from the crates `roost-store`, `roost-engine` and `roost-actors`,
//! [`access`] knows keys and tenants, and [`http`] answers. Nothing imports this package.

pub mod access;
pub mod api_key;
pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod system;
pub mod telemetry;
pub mod webhook;
