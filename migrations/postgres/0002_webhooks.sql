-- `headers` is sealed JSON. `filter` is JSON. `cursor_seq` and `failing_since` move with deliveries.
CREATE TABLE webhook (
    id               text COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id        text COLLATE "C" NOT NULL,
    url              text COLLATE "C" NOT NULL,
    description      text COLLATE "C",
    filter           text COLLATE "C" NOT NULL,
    mode             text COLLATE "C" NOT NULL,
    headers          bytea,
    max_concurrency  bigint NOT NULL,
    rate_per_second  bigint,
    api_version      text COLLATE "C" NOT NULL,
    legacy_signature bigint NOT NULL,
    state            text COLLATE "C" NOT NULL,
    state_reason     text COLLATE "C",
    created_at       bigint NOT NULL,
    updated_at       bigint NOT NULL,
    epoch            bigint NOT NULL,
    cursor_seq       bigint NOT NULL,
    failing_since    bigint,
    secret_count     bigint NOT NULL,
    replay_count     bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX webhook_tenant ON webhook (tenant_id, id);
CREATE INDEX webhook_enabled ON webhook (id) WHERE state = 'enabled';

-- The greatest number is the current secret; `value` is sealed.
CREATE TABLE webhook_secret (
    webhook_id text COLLATE "C" NOT NULL,
    number     bigint NOT NULL,
    tenant_id  text COLLATE "C" NOT NULL,
    value      bytea NOT NULL,
    expires_at bigint,
    PRIMARY KEY (webhook_id, number)
);

CREATE TABLE webhook_replay (
    webhook_id text COLLATE "C" NOT NULL,
    number     bigint NOT NULL,
    tenant_id  text COLLATE "C" NOT NULL,
    next_seq   bigint NOT NULL,
    to_seq     bigint NOT NULL,
    scope      text COLLATE "C" NOT NULL,
    PRIMARY KEY (webhook_id, number)
);

-- One event for one webhook, with what is told of the event when its own row is gone. `attempts` is one
-- line of JSON per POST. `order_key` is there while the delivery is pending.
CREATE TABLE delivery (
    webhook_id      text COLLATE "C" NOT NULL,
    seq             bigint NOT NULL,
    tenant_id       text COLLATE "C" NOT NULL,
    event_id        text COLLATE "C" NOT NULL,
    event_type      text COLLATE "C" NOT NULL,
    instance_id     text COLLATE "C",
    chat            text COLLATE "C",
    event_at        bigint NOT NULL,
    status          text COLLATE "C" NOT NULL,
    dead_reason     text COLLATE "C",
    order_key       text COLLATE "C",
    attempt_count   bigint NOT NULL,
    round           bigint NOT NULL,
    next_attempt_at bigint,
    attempts        text COLLATE "C" NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    PRIMARY KEY (webhook_id, seq)
);
-- Nearly every delivery is delivered at once and is only in the last of these.
CREATE INDEX delivery_open ON delivery (webhook_id, status, seq) WHERE status <> 'delivered';
CREATE INDEX delivery_pending_age ON delivery (event_at) WHERE status = 'pending';
CREATE INDEX delivery_dead_age ON delivery (updated_at) WHERE status = 'dead';
CREATE INDEX delivery_delivered_age ON delivery (updated_at) WHERE status = 'delivered';

-- Events are looked up by id, and an id begins with the time: it serves the sweep too.
CREATE UNIQUE INDEX event_id ON event (id);
DROP INDEX event_created;
