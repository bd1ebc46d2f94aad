//! `/v1/audit-events`: who did what, and what came of it.

pub mod list;
