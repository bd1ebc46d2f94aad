use super::*;

#[test]
fn an_id_round_trips_through_its_text() {
    let id = InstanceId::from_parts(1_700_000_000_000, 42);
    assert_eq!(id.to_string().parse::<InstanceId>(), Ok(id));
    assert!(id.to_string().starts_with("ins_"));
}

#[test]
fn an_id_of_another_kind_is_refused() {
    let id = InstanceId::from_parts(1, 1).to_string();
    assert_eq!(id.parse::<MessageId>(), Err(IdError { prefix: "msg" }));
}

#[test]
fn only_the_canonical_spelling_is_an_id() {
    let id = TenantId::from_parts(1_700_000_000_000, 77).to_string();
    let lower = format!("ten_{}", id.trim_start_matches("ten_").to_lowercase());
    assert!(lower.parse::<TenantId>().is_err());
    for bad in [
        "",
        "ten",
        "ten_",
        "ten_!",
        "ten_01ARZ3NDEKTSV4RRFFQ69G5FAVX",
        "TEN_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ] {
        assert!(bad.parse::<TenantId>().is_err(), "{bad}");
    }
}
