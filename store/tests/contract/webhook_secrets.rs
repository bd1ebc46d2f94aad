//! Signing secrets and headers.

use std::time::Duration;

use roost_domain::store::{StoreError, Webhooks};
use roost_domain::webhook::store::Settlement;
use roost_domain::webhook::{DeliveryStatus, Webhook, WebhookOwner, WebhookSecret};
use roost_domain::{Epoch, Timestamp};

use crate::fixture::Fixture;
use crate::webhook::{attempt, change, hooked, new_webhook, publish, secret, settle};

crate::on_both!(
    a_new_secret_comes_first_and_the_old_ones_end,
    at_most_three_secrets_are_kept,
    headers_and_signing_secrets_are_nowhere_in_plain_text,
);

async fn rotate(f: &Fixture, owner: WebhookOwner, byte: u8, overlap: u64) {
    let until = f.now().plus(Duration::from_secs(overlap));
    f.store
        .rotate_webhook_secret(owner.tenant, owner.webhook, secret(byte), until)
        .await
        .unwrap();
}

/// First bytes and seconds left of the secrets that sign, as its tenant and as its owner read them.
async fn signing(f: &Fixture, owner: WebhookOwner) -> Vec<(u8, Option<i64>)> {
    let secrets = f
        .store
        .webhook_secrets(owner.tenant, owner.webhook)
        .await
        .unwrap();
    assert_eq!(f.store.webhook_duty(owner).await.unwrap().secrets, secrets);
    assert_eq!(f.store.activate_webhook(owner).await.unwrap().secrets, secrets);
    let left = |secret: &WebhookSecret| {
        let end = secret.expires_at?;
        Some((end.unix_ms() - f.now().unix_ms()) / 1000)
    };
    secrets
        .iter()
        .map(|secret| (secret.key[0], left(secret)))
        .collect()
}

async fn a_new_secret_comes_first_and_the_old_ones_end(f: Fixture) {
    let owner = hooked(&f).await;
    rotate(&f, owner, 2, 100).await;
    assert_eq!(signing(&f, owner).await, [(2, None), (1, Some(100))]);
    rotate(&f, owner, 3, 500).await;
    assert_eq!(
        signing(&f, owner).await,
        [(3, None), (2, Some(500)), (1, Some(100))],
        "an end does not move away"
    );
    f.clock.advance(Duration::from_secs(100));
    assert_eq!(signing(&f, owner).await, [(3, None), (2, Some(400))]);
    rotate(&f, owner, 4, 50).await;
    assert_eq!(
        signing(&f, owner).await,
        [(4, None), (3, Some(50)), (2, Some(50))],
        "an end may come earlier"
    );
    rotate(&f, owner, 5, 0).await;
    assert_eq!(signing(&f, owner).await, [(5, None)]);
}

async fn at_most_three_secrets_are_kept(f: Fixture) {
    let owner = hooked(&f).await;
    for byte in 2..=6 {
        rotate(&f, owner, byte, 1000).await;
    }
    assert_eq!(
        signing(&f, owner).await,
        [(6, None), (5, Some(1000)), (4, Some(1000))]
    );
    assert_eq!(f.sql("SELECT value FROM webhook_secret").await.len(), 3);
}

async fn headers_and_signing_secrets_are_nowhere_in_plain_text(mut f: Fixture) {
    const HEADER: &str = "Bearer very-secret-header";
    const KEY: &[u8] = b"very-secret-signing-key-of-32-by";
    const ROTATED: &[u8] = b"another-secret-signing-key-of-32";
    let tenant = f.tenant().await;
    let webhook = Webhook {
        headers: [("authorization".to_owned(), HEADER.to_owned())].into(),
        ..new_webhook(&f, tenant)
    };
    let key = |key: &[u8], expires_at: Option<Timestamp>| WebhookSecret {
        key: key.to_vec(),
        expires_at,
    };
    let idempotency = (f.idempotency("k", 1), webhook.created_json(None).unwrap());
    f.store
        .create_webhook(webhook.clone(), key(KEY, None), 9, Some(idempotency))
        .await
        .unwrap();
    let until = f.now().plus(Duration::from_secs(9));
    f.store
        .rotate_webhook_secret(tenant, webhook.id, key(ROTATED, None), until)
        .await
        .unwrap();
    let owner = WebhookOwner {
        tenant,
        webhook: webhook.id,
        epoch: Epoch(1),
    };
    let disabled = Settlement {
        disabled: Some("410".to_owned()),
        ..Settlement::default()
    };
    f.store.settle(owner, disabled).await.unwrap();
    let event = publish(&f, tenant, 1).await;
    let mut tried = change(&event, DeliveryStatus::Pending);
    tried.attempts = vec![attempt(&f, 1, Some(500))];
    settle(&f, owner, vec![tried]).await;
    f.store.close().await;
    let written = f.written().await;
    for plain in [HEADER.as_bytes(), KEY, ROTATED] {
        let hex: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        for spelling in [plain, hex.as_bytes()] {
            assert!(!written.windows(spelling.len()).any(|window| window == spelling));
        }
    }
    f.reopen().await;
    let opened = f.store.webhook(tenant, webhook.id).await.unwrap();
    assert_eq!(opened.headers, webhook.headers);
    let secrets = f.store.webhook_secrets(tenant, webhook.id).await.unwrap();
    assert_eq!(secrets, [key(ROTATED, None), key(KEY, Some(until))]);
    let swap = "UPDATE webhook_secret SET value = (SELECT s.value FROM webhook_secret AS s WHERE s.number = 1) \
                WHERE number = 2";
    f.sql(swap).await;
    let moved = f.store.webhook_secrets(tenant, webhook.id).await;
    assert!(matches!(moved, Err(StoreError::Corrupt(_))));
}
