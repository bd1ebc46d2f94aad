-- `headers` is sealed JSON. `filter` is JSON. `cursor_seq` and `failing_since` move with deliveries.
CREATE TABLE webhook (
    id               TEXT PRIMARY KEY NOT NULL,
    tenant_id        TEXT NOT NULL,
    url              TEXT NOT NULL,
    description      TEXT,
    filter           TEXT NOT NULL,
    mode             TEXT NOT NULL,
    headers          BLOB,
    max_concurrency  INTEGER NOT NULL,
    rate_per_second  INTEGER,
    api_version      TEXT NOT NULL,
    legacy_signature INTEGER NOT NULL,
    state            TEXT NOT NULL,
    state_reason     TEXT,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,
    cursor_seq       INTEGER NOT NULL,
    failing_since    INTEGER,
    secret_count     INTEGER NOT NULL,
    replay_count     INTEGER NOT NULL
);
CREATE INDEX webhook_tenant ON webhook (tenant_id, id);
CREATE INDEX webhook_enabled ON webhook (id) WHERE state = 'enabled';

-- The greatest number is the current secret; `value` is sealed.
CREATE TABLE webhook_secret (
    webhook_id TEXT NOT NULL,
    number     INTEGER NOT NULL,
    tenant_id  TEXT NOT NULL,
    value      BLOB NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (webhook_id, number)
) WITHOUT ROWID;

CREATE TABLE webhook_replay (
    webhook_id TEXT NOT NULL,
    number     INTEGER NOT NULL,
    tenant_id  TEXT NOT NULL,
    next_seq   INTEGER NOT NULL,
    to_seq     INTEGER NOT NULL,
    scope      TEXT NOT NULL,
    PRIMARY KEY (webhook_id, number)
) WITHOUT ROWID;

-- One event for one webhook, with what is told of the event when its own row is gone. `attempts` is one
-- line of JSON per POST. `order_key` is there while the delivery is pending.
CREATE TABLE delivery (
    webhook_id      TEXT NOT NULL,
    seq             INTEGER NOT NULL,
    tenant_id       TEXT NOT NULL,
    event_id        TEXT NOT NULL,
    event_type      TEXT NOT NULL,
    instance_id     TEXT,
    chat            TEXT,
    event_at        INTEGER NOT NULL,
    status          TEXT NOT NULL,
    dead_reason     TEXT,
    order_key       TEXT,
    attempt_count   INTEGER NOT NULL,
    round           INTEGER NOT NULL,
    next_attempt_at INTEGER,
    attempts        TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, seq)
) WITHOUT ROWID;
-- Nearly every delivery is delivered at once and is only in the last of these.
CREATE INDEX delivery_open ON delivery (webhook_id, status, seq) WHERE status <> 'delivered';
CREATE INDEX delivery_pending_age ON delivery (event_at) WHERE status = 'pending';
CREATE INDEX delivery_dead_age ON delivery (updated_at) WHERE status = 'dead';
CREATE INDEX delivery_delivered_age ON delivery (updated_at) WHERE status = 'delivered';

-- Events are looked up by id, and an id begins with the time: it serves the sweep too.
CREATE UNIQUE INDEX event_id ON event (id);
DROP INDEX event_created;
