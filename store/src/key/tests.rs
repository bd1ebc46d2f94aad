use crate::plan::plan;

#[test]
fn keys_and_secrets_are_found_by_their_index() {
    for statement in super::STATEMENTS {
        let plan = plan(statement);
        assert!(
            !plan.contains("SCAN k") && !plan.contains("SCAN s") && !plan.contains("SCAN api_key"),
            "{plan}"
        );
        assert!(
            !plan.contains("USE TEMP B-TREE FOR ORDER BY") || plan.contains("api_key_secret_key"),
            "{plan}"
        );
    }
}
