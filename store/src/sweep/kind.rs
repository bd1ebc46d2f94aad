//! What a sweep removes, and how it is found.

use std::time::Duration;

use crate::database::Statement;

/// What has a time of its own, up to `$1` and `$2` rows at a time; and for how long it is kept after that.
pub(super) static OVER: [(Statement, Duration); 3] = [
    (
        Statement::new(
            "DELETE FROM link_state WHERE (instance_id, collection, key) IN (SELECT s.instance_id, s.collection, \
             s.key FROM link_state AS s WHERE s.expires_at IS NOT NULL AND s.expires_at <= $1 \
             ORDER BY s.expires_at LIMIT $2)",
        ),
        Duration::ZERO,
    ),
    (
        Statement::new(
            "DELETE FROM idempotency WHERE (tenant_id, key) IN (SELECT k.tenant_id, k.key FROM idempotency AS k \
             WHERE k.expires_at <= $1 ORDER BY k.expires_at LIMIT $2)",
        ),
        Duration::ZERO,
    ),
    (
        // Whoever still uses a secret that is over is told so for a while.
        Statement::new(
            "DELETE FROM api_key_secret WHERE prefix IN (SELECT s.prefix FROM api_key_secret AS s \
             WHERE s.expires_at IS NOT NULL AND s.expires_at <= $1 ORDER BY s.expires_at LIMIT $2)",
        ),
        super::DAY,
    ),
];

/// Rows that tenants keep for a time, gone through in windows.
pub(super) struct Kind {
    /// Of the rows after `$1` and before `$2`, the one with `$3` before it: where a full window ends.
    pub(super) end: Statement,
    /// Removes those after `$1` and up to `$2` whose tenants are of the class `$3`.
    pub(super) delete: Statement,
    pub(super) until: Until,
}

/// Up to where rows of a class go.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// Its time, as a message's id: ids sort by time. Rows that go give their tenant and their bytes.
    MessageId,
    /// Its time.
    Retention,
    /// The time for deliveries that were taken, if that is shorter.
    Delivery,
}

pub(super) static KINDS: [Kind; 5] = [
    Kind {
        end: Statement::new(
            "SELECT m.id FROM message AS m WHERE m.id > $1 AND m.id < $2 ORDER BY m.id LIMIT 1 OFFSET $3",
        ),
        // An accepted message is never swept: it has its own deadline.
        delete: Statement::new(
            "DELETE FROM message WHERE id IN (SELECT m.id FROM message AS m \
             {lite:CROSS }JOIN tenant AS t ON t.id = m.tenant_id WHERE m.id > $1 AND m.id <= $2 \
             AND m.status <> 'accepted' AND coalesce(t.retention_days, -1) = $3) \
             RETURNING tenant_id, octet_length(body)",
        ),
        until: Until::MessageId,
    },
    Kind {
        end: Statement::new(
            "SELECT a.at FROM amendment AS a WHERE a.at > $1 AND a.at < $2 ORDER BY a.at LIMIT 1 OFFSET $3",
        ),
        delete: Statement::new(
            "DELETE FROM amendment WHERE (instance_id, whatsapp_id, chat, sender) IN (SELECT a.instance_id, \
             a.whatsapp_id, a.chat, a.sender FROM amendment AS a \
             {lite:CROSS }JOIN tenant AS t ON t.id = a.tenant_id WHERE a.at > $1 AND a.at <= $2 \
             AND coalesce(t.retention_days, -1) = $3)",
        ),
        until: Until::Retention,
    },
    Kind {
        end: Statement::new(
            "SELECT d.updated_at FROM delivery AS d WHERE d.status = 'dead' AND d.updated_at > $1 \
             AND d.updated_at < $2 ORDER BY d.updated_at LIMIT 1 OFFSET $3",
        ),
        delete: Statement::new(
            "DELETE FROM delivery WHERE (webhook_id, seq) IN (SELECT d.webhook_id, d.seq FROM delivery AS d \
             {lite:CROSS }JOIN tenant AS t ON t.id = d.tenant_id WHERE d.status = 'dead' AND d.updated_at > $1 \
             AND d.updated_at <= $2 AND coalesce(t.retention_days, -1) = $3)",
        ),
        until: Until::Retention,
    },
    Kind {
        end: Statement::new(
            "SELECT d.updated_at FROM delivery AS d WHERE d.status = 'delivered' AND d.updated_at > $1 \
             AND d.updated_at < $2 ORDER BY d.updated_at LIMIT 1 OFFSET $3",
        ),
        delete: Statement::new(
            "DELETE FROM delivery WHERE (webhook_id, seq) IN (SELECT d.webhook_id, d.seq FROM delivery AS d \
             {lite:CROSS }JOIN tenant AS t ON t.id = d.tenant_id WHERE d.status = 'delivered' \
             AND d.updated_at > $1 AND d.updated_at <= $2 AND coalesce(t.retention_days, -1) = $3)",
        ),
        until: Until::Delivery,
    },
    Kind {
        end: Statement::new(
            "SELECT m.at FROM remains AS m WHERE m.at > $1 AND m.at < $2 ORDER BY m.at LIMIT 1 OFFSET $3",
        ),
        delete: Statement::new(
            "DELETE FROM remains WHERE (tenant_id, id) IN (SELECT m.tenant_id, m.id FROM remains AS m \
             {lite:CROSS }JOIN tenant AS t ON t.id = m.tenant_id WHERE m.at > $1 AND m.at <= $2 \
             AND t.state <> 'deleting' AND coalesce(t.retention_days, -1) = $3)",
        ),
        until: Until::Retention,
    },
];
