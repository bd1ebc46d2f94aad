//! The audit log: what is written with a write and by itself, read in pages, and never changed.

use std::time::Duration;

use roost_domain::api_key::Principal;
use roost_domain::audit::{ActorKind, AuditEvent, AuditFilter, AuditResult};
use roost_domain::page::PageRequest;
use roost_domain::store::{
    Audit, Idempotency, Instances, Keys, Messages, Outcome, Stamp, StoreError, Tenants, Webhooks,
};
use roost_domain::tenant::Tenant;
use roost_domain::time::Entropy;
use roost_domain::{AuditEventId, ErrorCode, TenantId};

use crate::fixture::Fixture;
use crate::webhook::{HOSTILE, new_event};

crate::on_both!(
    what_is_appended_is_read_back_newest_first,
    every_filter_finds_its_events,
    common_acts_are_looked_through_in_windows,
    a_write_and_its_place_in_the_log_are_one,
    a_repetition_and_a_refusal_leave_nothing,
    an_event_is_appended_once,
    nothing_in_it_can_be_changed_or_removed,
);

impl Fixture {
    /// An act of a tenant's key, or of the operator's.
    pub fn act(&self, of: Principal, action: &str) -> AuditEvent {
        AuditEvent {
            id: AuditEventId::from_parts(self.now().unix_ms() as u64, self.entropy.bits()),
            tenant_id: of.tenant(),
            at: self.now(),
            actor_kind: ActorKind::Key,
            actor_id: Some("key_1".to_owned()),
            source: Some("203.0.113.7".to_owned()),
            action: action.to_owned(),
            target: None,
            result: AuditResult::Done,
            status: Some(202),
            code: None,
            request_id: Some("req_1".to_owned()),
            count: 1,
        }
    }
}

async fn all(f: &Fixture, of: Principal) -> Vec<AuditEvent> {
    list(f, of, AuditFilter::default()).await
}

/// Every event that passes, page by page.
async fn list(f: &Fixture, of: Principal, filter: AuditFilter) -> Vec<AuditEvent> {
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(after, 3);
        let page = f.store.audit_events(of, &filter, page).await.unwrap();
        assert!(page.rows.len() <= 3);
        events.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return events;
        }
    }
}

async fn what_is_appended_is_read_back_newest_first(f: Fixture) {
    let tenant = Principal::Tenant(f.tenant().await);
    let mut expected = Vec::new();
    for n in 0..10 {
        f.clock.advance(Duration::from_millis(1));
        expected.push(AuditEvent {
            actor_kind: ActorKind::ALL[n % 4],
            result: AuditResult::ALL[n % 3],
            actor_id: (n % 2 == 0).then(|| HOSTILE.to_owned()),
            source: (n % 3 == 0).then(|| "2001:db8::1".to_owned()),
            target: (n % 4 == 0).then(|| HOSTILE.to_owned()),
            status: (n % 2 == 1).then_some(403),
            code: (n % 2 == 1).then_some(ErrorCode::Forbidden),
            request_id: (n % 5 != 0).then(|| "req".to_owned()),
            count: 1 + n as u32,
            ..f.act(tenant, &format!("do_{n}"))
        });
    }
    let operators = f.act(Principal::Operator, "create_tenant");
    f.store.append_audit(vec![]).await.unwrap();
    f.store
        .append_audit([expected.clone(), vec![operators.clone()]].concat())
        .await
        .unwrap();
    expected.reverse();
    assert_eq!(all(&f, tenant).await, expected);
    assert_eq!(all(&f, Principal::Operator).await, [operators]);
    let stranger = Principal::Tenant(f.tenant().await);
    assert_eq!(all(&f, stranger).await, []);
}

async fn every_filter_finds_its_events(f: Fixture) {
    let of = Principal::Tenant(f.tenant().await);
    let mut events = Vec::new();
    for n in 0..24 {
        f.clock.advance(Duration::from_secs(1));
        let action = ["send_message", "publish_event", "create_key", "delete_instance"][n % 4];
        events.push(AuditEvent {
            actor_id: Some(format!("key_{}", n % 2)),
            target: Some(format!("ins_{}", n % 3)),
            result: AuditResult::ALL[(n / 4) % 3],
            ..f.act(of, action)
        });
    }
    f.store.append_audit(events.clone()).await.unwrap();
    let (from, to) = (events[5].at, events[15].at);
    let filters = [
        AuditFilter {
            from: Some(from),
            to: Some(to),
            ..AuditFilter::default()
        },
        AuditFilter {
            actor_id: Some("key_1".to_owned()),
            ..AuditFilter::default()
        },
        AuditFilter {
            action: Some("send_message".to_owned()),
            ..AuditFilter::default()
        },
        AuditFilter {
            action: Some("create_key".to_owned()),
            ..AuditFilter::default()
        },
        AuditFilter {
            target: Some("ins_2".to_owned()),
            ..AuditFilter::default()
        },
        AuditFilter {
            result: Some(AuditResult::Done),
            ..AuditFilter::default()
        },
        AuditFilter {
            result: Some(AuditResult::Denied),
            ..AuditFilter::default()
        },
        AuditFilter {
            action: Some("none".to_owned()),
            ..AuditFilter::default()
        },
        AuditFilter {
            from: Some(from),
            to: Some(to),
            actor_id: Some("key_0".to_owned()),
            action: Some("create_key".to_owned()),
            result: Some(AuditResult::Failed),
            ..AuditFilter::default()
        },
        AuditFilter {
            result: Some(AuditResult::Denied),
            target: Some("ins_0".to_owned()),
            from: Some(from),
            ..AuditFilter::default()
        },
    ];
    for filter in filters {
        let passes = |event: &&AuditEvent| {
            filter.from.is_none_or(|from| event.at >= from)
                && filter.to.is_none_or(|to| event.at < to)
                && (filter.actor_id.is_none() || filter.actor_id == event.actor_id)
                && filter
                    .action
                    .as_ref()
                    .is_none_or(|action| *action == event.action)
                && (filter.target.is_none() || filter.target == event.target)
                && filter.result.is_none_or(|result| result == event.result)
        };
        let expected: Vec<_> = events.iter().rev().filter(passes).cloned().collect();
        assert_eq!(list(&f, of, filter.clone()).await, expected, "{filter:?}");
    }
}

async fn common_acts_are_looked_through_in_windows(f: Fixture) {
    let of = Principal::Tenant(f.tenant().await);
    let rare = AuditEvent {
        target: Some("msg_rare".to_owned()),
        ..f.act(of, "send_message")
    };
    let mut events = vec![rare.clone()];
    for _ in 0..5_100 {
        f.clock.advance(Duration::from_millis(1));
        events.push(f.act(of, "send_message"));
    }
    f.store.append_audit(events).await.unwrap();
    let filter = AuditFilter {
        target: rare.target.clone(),
        ..AuditFilter::default()
    };
    let first = f
        .store
        .audit_events(of, &filter, PageRequest::new(None, 5))
        .await
        .unwrap();
    assert_eq!(first.rows, [], "it looked at its share");
    let second = f
        .store
        .audit_events(of, &filter, PageRequest::new(first.next, 5))
        .await
        .unwrap();
    assert!(first.next.is_some());
    assert_eq!((second.rows, second.next), (vec![rare], None));
}

async fn a_write_and_its_place_in_the_log_are_one(f: Fixture) {
    let owner = f.owner().await;
    let of = Principal::Tenant(owner.tenant);
    let stamp = |action: &str| Stamp {
        idempotency: None,
        audit: Some(f.act(of, action)),
    };
    let Ok(Outcome::Done(message)) = f
        .store
        .accept(owner, f.new_message("hi"), stamp("send_message"))
        .await
    else {
        panic!("not accepted")
    };
    f.clock.advance(Duration::from_millis(1));
    let new = new_event("custom.a", None, None);
    let Ok(Outcome::Done(event)) = f.store.publish(owner.tenant, new, stamp("publish_event")).await else {
        panic!("not published")
    };
    f.clock.advance(Duration::from_millis(1));
    let new = f.new_instance();
    let id = new.id;
    f.store
        .create_instance(owner.tenant, new, None, stamp("create_instance"))
        .await
        .unwrap();
    f.clock.advance(Duration::from_millis(1));
    let key = f.new_key(of);
    let named = AuditEvent {
        target: Some("named".to_owned()),
        ..f.act(of, "create_api_key")
    };
    let named = Stamp {
        idempotency: None,
        audit: Some(named),
    };
    f.store.create_key(&key, &f.new_secret("p"), named).await.unwrap();
    let log = all(&f, of).await;
    let targets: Vec<_> = log
        .iter()
        .rev()
        .map(|event| event.target.clone().unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            message.id.to_string(),
            event.id.to_string(),
            id.to_string(),
            "named".to_owned()
        ]
    );
    let tenant = Tenant::new(TenantId::from_parts(9, 9), "new".to_owned(), f.now());
    let audit = Some(f.act(Principal::Operator, "create_tenant"));
    let stamp = Stamp {
        idempotency: None,
        audit,
    };
    f.store.create_tenant(&tenant, None, stamp).await.unwrap();
    assert_eq!(
        all(&f, Principal::Operator).await[0].target,
        Some(tenant.id.to_string())
    );
}

async fn a_repetition_and_a_refusal_leave_nothing(f: Fixture) {
    let owner = f.owner().await;
    let of = Principal::Tenant(owner.tenant);
    let stamp = |idempotency: Option<Idempotency>| Stamp {
        idempotency,
        audit: Some(f.act(of, "send_message")),
    };
    for _ in 0..3 {
        let stamp = stamp(Some(f.idempotency("k", 1)));
        f.store.accept(owner, f.new_message("once"), stamp).await.unwrap();
    }
    let reused = stamp(Some(f.idempotency("k", 2)));
    let refused = f.store.accept(owner, f.new_message("x"), reused).await;
    assert_eq!(refused, Err(StoreError::IdempotencyKeyReused));
    let stranger = roost_domain::Owner {
        tenant: f.tenant().await,
        ..owner
    };
    let refused = f.store.accept(stranger, f.new_message("x"), stamp(None)).await;
    assert_eq!(refused, Err(StoreError::NotFound));
    assert_eq!(all(&f, of).await.len(), 1);
}

async fn an_event_is_appended_once(f: Fixture) {
    let of = Principal::Tenant(f.tenant().await);
    let event = f.act(of, "do");
    f.store.append_audit(vec![event.clone()]).await.unwrap();
    let other = AuditEvent {
        action: "else".to_owned(),
        ..event.clone()
    };
    let refused = f.store.append_audit(vec![other]).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(all(&f, of).await, [event]);
}

async fn nothing_in_it_can_be_changed_or_removed(f: Fixture) {
    let of = Principal::Tenant(f.tenant().await);
    let event = f.act(of, "do");
    f.store.append_audit(vec![event.clone()]).await.unwrap();
    let mut attempts = vec![
        "UPDATE audit_event SET action = 'x'",
        "UPDATE audit_event SET tenant_id = ''",
        "DELETE FROM audit_event",
    ];
    if !f.is_sqlite() {
        attempts.push("TRUNCATE audit_event");
        attempts.push("SET session_replication_role = replica; DELETE FROM audit_event");
        attempts.push("INSERT INTO audit_event SELECT * FROM audit_event ON CONFLICT (tenant_id, id) DO UPDATE SET action = 'x'");
    }
    for attempt in attempts {
        assert!(f.try_sql(attempt).await.is_err(), "{attempt}");
    }
    assert_eq!(all(&f, of).await, [event]);
}

/// As the manual has it: the tables belong to another role than the gateway's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gateway_works_with_a_role_that_owns_nothing() {
    let mut f = Fixture::postgres_as_owner().await;
    let owner = f.sql("SELECT current_user::text").await.remove(0);
    let gateway = format!("{owner}_gateway");
    f.admin(&format!("CREATE ROLE {gateway} LOGIN PASSWORD 'roost'"))
        .await;
    f.sql(&format!(
        "GRANT USAGE, CREATE ON SCHEMA public TO {gateway}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {gateway}; \
         REVOKE UPDATE, DELETE ON audit_event FROM {gateway}"
    ))
    .await;
    f.config.url = f.config.url.replacen(&owner, &gateway, 1);
    f.reopen().await;
    f.store
        .append_audit(vec![f.act(Principal::Operator, "do")])
        .await
        .unwrap();
    let owner = f.owner().await;
    f.accept(owner, "x").await;
    assert_eq!(all(&f, Principal::Operator).await.len(), 1);
    for attempt in [
        "DELETE FROM audit_event",
        "DROP TABLE audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
    ] {
        assert!(f.try_sql(attempt).await.is_err(), "{attempt}");
    }
}

/// A role as a gateway has it: it owns its tables, and is no superuser.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_takes_the_right_to_change_it_from_the_gateways_own_role() {
    let f = Fixture::postgres_as_owner().await;
    let of = Principal::Operator;
    f.store.append_audit(vec![f.act(of, "do")]).await.unwrap();
    for attempt in [
        "UPDATE audit_event SET action = 'x'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
    ] {
        let error = f.try_sql(attempt).await.unwrap_err();
        let code = error
            .as_database_error()
            .and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{attempt}: {error}");
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
    let id = AuditEventId::from_parts(1, 1);
    f.store
        .append_audit(vec![AuditEvent {
            id,
            ..f.act(of, "do")
        }])
        .await
        .unwrap();
    assert_eq!(all(&f, of).await.len(), 2);
}
