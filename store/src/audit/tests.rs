use super::*;
use crate::plan::plan;

#[test]
fn lists_go_through_an_index_in_its_order() {
    for (statement, index) in [
        (
            &BY_ACTION,
            "INDEX audit_event_action (tenant_id=? AND action=? AND id>? AND id<?)",
        ),
        (
            &BY_RESULT,
            "INDEX audit_event_result (tenant_id=? AND result=? AND id>? AND id<?)",
        ),
        (&IN_WINDOW, "PRIMARY KEY (tenant_id=? AND id>? AND id<?)"),
        (&WINDOW_END, "PRIMARY KEY (tenant_id=? AND id>? AND id<?)"),
    ] {
        let plan = plan(statement);
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn no_id_is_outside_the_bounds() {
    let (from, to) = bounds(&AuditFilter::default(), None);
    for id in [
        AuditEventId::from_parts(0, 0),
        AuditEventId::from_parts((1 << 48) - 1, (1 << 80) - 1),
    ] {
        let id = id.to_string();
        assert!(from <= id && id < to, "{id}");
    }
}
