use super::*;
use crate::plan::plan;

#[test]
fn a_sweep_reads_only_what_it_looks_through() {
    let found = [
        "message USING INTEGER PRIMARY KEY",
        "INDEX sqlite_autoindex_message_1 (id>? AND id<?)",
        "INDEX amendment_at (at>? AND at<?)",
        "INDEX delivery_dead_age (updated_at>? AND updated_at<?)",
        "INDEX delivery_delivered_age (updated_at>? AND updated_at<?)",
        "INDEX remains_at (at>? AND at<?)",
    ];
    for kind in &KINDS {
        for statement in [&kind.end, &kind.delete] {
            let plan = plan(statement);
            assert!(found.iter().any(|index| plan.contains(index)), "{plan}");
            assert!(!plan.contains("SCAN"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
    for (statement, _) in &OVER {
        let plan = plan(statement);
        assert!(plan.contains("_expires (expires_at"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn progress_holds_for_a_day_and_for_the_same_classes() {
    let at = |ms| Timestamp::from_unix_ms(ms);
    let month = Duration::from_secs(30 * 86_400);
    let own = [(TenantId::from_parts(1, 1), 7)];
    let mut progress = Progress::default();
    let mut holds = |now, retention, own: &[(TenantId, i64)]| {
        progress.renew(at(now), retention, own);
        progress.places.insert((CONFIGURED, 0), Place::At(1)).is_some()
    };
    assert!(!holds(1, month, &own));
    assert!(holds(2, month, &own));
    assert!(holds(86_400_000, month, &own));
    assert!(!holds(86_400_001, month, &own), "a day has gone by");
    assert!(
        !holds(86_400_002, month, &[]),
        "a tenant has no time of its own any more"
    );
    assert!(!holds(86_400_003, month / 2, &[]));
    assert!(!holds(1, month / 2, &[]), "the clock was set back");
}
