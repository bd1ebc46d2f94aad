//! What an operator says of a tenant, checked: every fault with its pointer.

use crate::access::Access;
use crate::http::fault::Faults;

const PLAN_BYTES_MAX: usize = 40;

/// The form of a plan's name.
pub(super) fn plan(faults: &mut Faults, name: &str) {
    let well_formed = (1..=PLAN_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if !well_formed {
        let detail = format!("expected a name of a-z, 0-9, _ and -, at most {PLAN_BYTES_MAX} characters");
        faults.add("/plan", "invalid", detail);
    }
}

/// For how many days its events and messages are kept.
pub(super) fn retention_days(faults: &mut Faults, access: &Access, days: u32) {
    faults.range("/retention_days", access.config().retention_days.clone(), &days);
}
