//! What runs is found by slots.

use roost_domain::instance::{DesiredState, InstanceState, StateChange};
use roost_domain::page::PageRequest;
use roost_domain::store::{Instances, Webhooks};
use roost_domain::{InstanceId, Owner, Slot, WebhookId};

use crate::fixture::{Fixture, until};
use crate::instances::change;
use crate::webhook::{new_webhook, put};

crate::on_both!(
    what_runs_in_some_slots_is_listed,
    rows_of_earlier_releases_get_their_slots_when_the_store_is_opened,
);

async fn run(f: &Fixture, owner: Owner) {
    let step = StateChange {
        desired: Some(DesiredState::Running),
        ..change(f, InstanceState::Connecting)
    };
    f.store.change_state(owner, step).await.unwrap();
}

/// Everything that runs in these slots, page by page.
async fn running(f: &Fixture, slots: &[Slot]) -> (Vec<InstanceId>, Vec<WebhookId>) {
    let (mut instances, mut webhooks) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = f
            .store
            .running_instances(slots, PageRequest::new(after, 2))
            .await
            .unwrap();
        instances.extend(page.rows.iter().map(|row| row.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = f
            .store
            .enabled_webhooks(slots, PageRequest::new(after, 2))
            .await
            .unwrap();
        webhooks.extend(page.rows.iter().map(|(id, _)| *id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    instances.sort();
    webhooks.sort();
    (instances, webhooks)
}

async fn fill(f: &Fixture) -> (Vec<InstanceId>, Vec<WebhookId>) {
    let tenant = f.tenant().await;
    let (mut instances, mut webhooks) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let owner = f.instance(tenant).await;
        run(f, owner).await;
        instances.push(owner.instance);
        webhooks.push(put(f, new_webhook(f, tenant)).await.webhook);
    }
    instances.sort();
    webhooks.sort();
    (instances, webhooks)
}

async fn what_runs_in_some_slots_is_listed(f: Fixture) {
    let (instances, webhooks) = fill(&f).await;
    f.instance(f.tenant().await).await;
    assert_eq!(
        running(&f, Slot::EVERY).await,
        (instances.clone(), webhooks.clone())
    );
    assert_eq!(running(&f, &[]).await, (Vec::new(), Vec::new()));
    // In whatever order they are asked for.
    let lower: Vec<_> = Slot::all().filter(|slot| slot.number() < 512).rev().collect();
    let in_lower = (
        instances
            .iter()
            .copied()
            .filter(|id| Slot::of(*id).number() < 512)
            .collect(),
        webhooks
            .iter()
            .copied()
            .filter(|id| Slot::of_webhook(*id).number() < 512)
            .collect(),
    );
    assert_eq!(running(&f, &lower).await, in_lower);
    let one = Slot::of(instances[0]);
    assert!(running(&f, &[one]).await.0.contains(&instances[0]));
}

async fn rows_of_earlier_releases_get_their_slots_when_the_store_is_opened(mut f: Fixture) {
    let all = fill(&f).await;
    f.store.close().await;
    for table in ["instance", "webhook"] {
        f.sql(&format!("UPDATE {table} SET slot = NULL")).await;
    }
    f.reopen().await;
    let rows = f
        .sql("SELECT i.id || ' ' || i.slot FROM instance AS i ORDER BY i.id")
        .await;
    let expected: Vec<_> = all
        .0
        .iter()
        .map(|id| format!("{id} {}", Slot::of(*id).number()))
        .collect();
    assert_eq!(rows, expected);
    // Few enough that they are found through their slots.
    let some: Vec<_> = Slot::all().take(1023).collect();
    let found = running(&f, &some).await;
    assert!(found.0.len() >= 11 && found.1.len() >= 11, "{found:?}");
}

/// Instances that were read, as far as it is counted.
async fn read(f: &Fixture) -> i64 {
    let sql = "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::text FROM pg_stat_user_tables WHERE relname = 'instance'";
    f.sql(sql).await[0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_few_slots_of_many_rows_are_read_without_the_others() {
    let mut f = Fixture::postgres().await;
    let owner = f.owner().await;
    f.sql(&format!(
        "INSERT INTO instance (id, tenant_id, name, state, desired_state, created_at, updated_at, epoch, history_count) \
         SELECT 'ins_' || lpad(upper(to_hex(n)), 26, '0'), '{}', 'x', 'connected', 'running', 0, 0, 0, 0 \
         FROM generate_series(1, 30000) AS n",
        owner.tenant
    ))
    .await;
    // Fills their slots, in batches.
    f.reopen().await;
    let left = f.sql("SELECT id FROM instance WHERE slot IS NULL").await;
    assert_eq!(left.len(), 0);
    f.sql("ANALYZE instance").await;
    // A third of all, page by page, each once.
    let many: Vec<_> = Slot::all().take(341).collect();
    let (mut after, mut listed) = (None, 0);
    let mut last = (0, None);
    loop {
        let page = f
            .store
            .running_instances(&many, PageRequest::new(after, 500))
            .await
            .unwrap();
        for row in &page.rows {
            let place = (Slot::of(row.id).number(), Some(row.id));
            assert!(last < place, "{last:?} {place:?}");
            last = place;
        }
        listed += page.rows.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let there = f
        .sql("SELECT count(*)::text FROM instance WHERE slot < 341 AND desired_state = 'running'")
        .await;
    assert_eq!(there, [listed.to_string()]);
    f.reopen().await;
    f.sql("SELECT pg_stat_reset()::text").await;
    until("the statistics begin anew", async || read(&f).await < 100).await;
    let eight: Vec<_> = Slot::all().take(8).collect();
    let page = f
        .store
        .running_instances(&eight, PageRequest::new(None, 500))
        .await
        .unwrap();
    assert!((100..500).contains(&page.rows.len()), "{}", page.rows.len());
    f.store.close().await;
    until("what was read is counted", async || read(&f).await >= 100).await;
    let read = read(&f).await;
    assert!(read < 1000, "{read} rows were read for {}", page.rows.len());
}
