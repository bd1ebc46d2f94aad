//! Which indexes SQLite uses.

use super::place;
use crate::plan::plan;
use crate::{instance, webhook};

#[test]
fn rows_of_some_slots_are_found_by_their_slots() {
    for (statement, index) in [
        (instance::RUNNING_IN, "INDEX instance_running_slot (slot=?)"),
        (webhook::ENABLED_IN, "INDEX webhook_enabled_slot (slot=?)"),
    ] {
        let plan = plan(statement);
        assert!(plan.contains(index), "{plan}");
    }
}

#[test]
fn rows_without_a_slot_are_found_without_the_others() {
    for statement in place::FINDS {
        let plan = plan(statement);
        assert!(plan.contains("_unplaced (id>?)"), "{plan}");
    }
}
