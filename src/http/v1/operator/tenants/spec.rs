//! What an operator says of a tenant, checked: every fault with its pointer.

use crate::access::Access;
use crate::http::fault::Faults;

/// The name of a plan that is in the configuration.
pub(super) fn plan(faults: &mut Faults, access: &Access, name: &str) {
    let plans = &access.config().plans;
    if !plans.contains(name) {
        let known: Vec<&str> = plans.iter().map(String::as_str).collect();
        let detail = format!("expected one of {}", known.join(", "));
        faults.add("/plan", "unknown", detail);
    }
}

/// For how many days its events and messages are kept.
pub(super) fn retention_days(faults: &mut Faults, access: &Access, days: u32) {
    faults.range("/retention_days", access.config().retention_days.clone(), &days);
}
