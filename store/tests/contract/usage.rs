//! What tenants use and keep.

use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::message::InboundBody;
use roost_domain::store::{Instances, Messages, Node, Stamp, StoreError, Tenants, UsageLog, Webhooks};
use roost_domain::usage::{Day, Usage, UsageDay};
use roost_domain::webhook::DeliveryStatus;

use crate::fixture::{Fixture, chat};
use crate::messages::step;
use crate::webhook::{change, hooked, new_event, publish, settle};

crate::on_both!(
    what_is_written_is_counted_once,
    what_is_added_is_added_to_its_day,
    concurrent_writes_are_all_counted,
    what_is_kept_is_counted_to_the_byte,
);

const DAY: Duration = Duration::from_secs(86_400);

async fn days(f: &Fixture, tenant: TenantId) -> Vec<UsageDay> {
    let (first, last) = (Day::from_number(0), Day::from_number(i64::MAX));
    f.store.usage(tenant, first, last).await.unwrap()
}

async fn total(f: &Fixture, tenant: TenantId) -> Usage {
    days(f, tenant)
        .await
        .last()
        .map(|day| day.usage)
        .unwrap_or_default()
}

async fn what_is_written_is_counted_once(f: Fixture) {
    let owner = f.owner().await;
    assert_eq!(days(&f, owner.tenant).await, [], "making things is no use");
    for _ in 0..3 {
        f.store
            .accept(owner, f.new_message("x"), f.stamp("k", 1))
            .await
            .unwrap();
    }
    let message = f.accept(owner, "y").await;
    let sent = vec![step(
        &message.whatsapp_id,
        roost_domain::message::MessageStatus::Sent,
        &f,
    )];
    f.store.advance(owner, sent).await.unwrap();
    for _ in 0..2 {
        let own = roost_domain::message::Inbound {
            from_me: true,
            ..f.inbound_text("C", "from my phone")
        };
        let batch = vec![f.inbound_text("A", "x"), f.inbound_text("B", "x"), own];
        f.store.record_inbound(owner, batch).await.unwrap();
    }
    let used = Usage {
        messages_out: 2,
        messages_in: 2,
        ..Usage::default()
    };
    assert_eq!(
        days(&f, owner.tenant).await,
        [UsageDay {
            day: Day::of(f.now()),
            usage: used
        }]
    );

    let hook = hooked(&f).await;
    let mut settled = Vec::new();
    for (n, status) in [
        DeliveryStatus::Delivered,
        DeliveryStatus::Pending,
        DeliveryStatus::Dead,
    ]
    .into_iter()
    .enumerate()
    {
        let event = publish(&f, hook.tenant, n as u64).await;
        settled.push(change(&event, status));
    }
    let parked = settled[1].event.clone();
    settle(&f, hook, settled).await;
    assert_eq!(
        total(&f, hook.tenant).await,
        Usage {
            deliveries: 1,
            ..Usage::default()
        }
    );
    f.clock.advance(DAY);
    settle(&f, hook, vec![change(&parked, DeliveryStatus::Delivered)]).await;
    let counted: Vec<_> = days(&f, hook.tenant)
        .await
        .iter()
        .map(|day| day.usage.deliveries)
        .collect();
    assert_eq!(counted, [1, 1], "on its own day");
}

async fn what_is_added_is_added_to_its_day(f: Fixture) {
    let (a, b) = (f.tenant().await, f.tenant().await);
    let today = Day::of(f.now());
    let tomorrow = Day::from_number(today.number() + 1);
    let used = |n| Usage {
        api_calls: n,
        messages_in: 2 * n,
        messages_out: 3 * n,
        deliveries: 4 * n,
        media_bytes: n << 40,
        instance_seconds: 6 * n,
    };
    f.store.add_usage(today, vec![]).await.unwrap();
    f.store
        .add_usage(today, vec![(a, used(1)), (b, used(2)), (a, used(3))])
        .await
        .unwrap();
    f.store.add_usage(today, vec![(a, used(4))]).await.unwrap();
    f.store.add_usage(tomorrow, vec![(a, used(5))]).await.unwrap();
    let day = |day, n| UsageDay { day, usage: used(n) };
    assert_eq!(days(&f, a).await, [day(today, 8), day(tomorrow, 5)]);
    assert_eq!(days(&f, b).await, [day(today, 2)]);
    assert_eq!(f.store.usage(a, today, today).await.unwrap(), [day(today, 8)]);
    assert_eq!(f.store.usage(a, tomorrow, today).await.unwrap(), []);
}

async fn concurrent_writes_are_all_counted(f: Fixture) {
    let owners = [f.owner().await, f.owner().await, f.owner().await];
    let day = Day::of(f.now());
    let writes = (0..300).map(|n| {
        let (store, owner, new) = (f.store.clone(), owners[n % 3], f.new_message("x"));
        tokio::spawn(async move {
            store.accept(owner, new, Stamp::default()).await.unwrap();
            let used = Usage {
                api_calls: 1,
                ..Usage::default()
            };
            store.add_usage(day, vec![(owner.tenant, used)]).await.unwrap();
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    for owner in owners {
        let used = Usage {
            api_calls: 100,
            messages_out: 100,
            ..Usage::default()
        };
        assert_eq!(total(&f, owner.tenant).await, used);
    }
}

/// What the rows themselves say.
async fn in_rows(f: &Fixture, tenant: TenantId) -> u64 {
    let sum = f
        .sql(&format!(
            "SELECT CAST(coalesce(sum(n), 0) AS text) FROM (SELECT octet_length(body) AS n FROM message \
             WHERE tenant_id = '{tenant}' UNION ALL SELECT octet_length(payload) FROM event \
             WHERE tenant_id = '{tenant}') AS kept"
        ))
        .await;
    sum[0].parse().unwrap()
}

async fn what_is_kept_is_counted_to_the_byte(f: Fixture) {
    let owner = f.owner().await;
    let tenant = owner.tenant;
    let check = async |what: &str| {
        let kept = f.store.storage_bytes(tenant).await.unwrap();
        assert_eq!(kept, in_rows(&f, tenant).await, "{what}");
        kept
    };
    let mut kept = check("the instance's event").await;
    assert!(kept > 0);
    f.accept(owner, "ä\0\u{1F600} accepted").await;
    let batch = vec![f.inbound_text("A", "short"), f.inbound_text("B", "to be revoked")];
    f.store.record_inbound(owner, batch).await.unwrap();
    let new = new_event("custom.a", None, Some(chat(1).id));
    f.store.publish(tenant, new, Stamp::default()).await.unwrap();
    assert!(check("written").await > kept);
    f.clock.advance(Duration::from_secs(10));
    let edit = f.inbound(
        "E",
        InboundBody::Edit {
            target: "A".to_owned(),
            content: roost_domain::message::Content::text("a much longer text than before"),
        },
    );
    f.store.record_inbound(owner, vec![edit]).await.unwrap();
    kept = check("edited").await;
    f.store.delete_instance(owner, f.now()).await.unwrap();
    assert!(check("the instance is gone, its messages are not").await > kept);
    f.clock.advance(DAY);
    f.store.sweep(f.now(), Duration::from_secs(3600)).await.unwrap();
    assert_eq!(check("swept").await, 0);
    assert_eq!(f.store.storage_bytes(TenantId::from_parts(1, 1)).await, Ok(0));
    assert_eq!(
        f.store.tenant(TenantId::from_parts(1, 1)).await,
        Err(StoreError::NotFound)
    );
}
