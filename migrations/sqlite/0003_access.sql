-- `limits` is JSON. `key_salt` is all zeros once the tenant's encryption key is destroyed.
ALTER TABLE tenant ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE tenant ADD COLUMN plan TEXT;
ALTER TABLE tenant ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tenant ADD COLUMN retention_days INTEGER;
ALTER TABLE tenant ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN deleted_at INTEGER;
UPDATE tenant SET updated_at = created_at;
CREATE INDEX tenant_deleting ON tenant (id) WHERE state = 'deleting';

-- `tenant_id` is empty for an operator's key. `hash` is an HMAC of the key's whole text. A key has two
-- secrets while it is being rotated.
CREATE TABLE api_key_secret (
    prefix     TEXT PRIMARY KEY NOT NULL,
    key_id     TEXT NOT NULL,
    tenant_id  TEXT,
    hash       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
);
INSERT INTO api_key_secret (prefix, key_id, tenant_id, hash, created_at)
    SELECT prefix, id, tenant_id, hash, created_at FROM api_key;
CREATE INDEX api_key_secret_key ON api_key_secret (key_id);
CREATE INDEX api_key_secret_expires ON api_key_secret (expires_at) WHERE expires_at IS NOT NULL;

-- `scopes`, `instances` and `allowed_networks` are JSON.
CREATE TABLE api_key_scoped (
    id               TEXT PRIMARY KEY NOT NULL,
    tenant_id        TEXT,
    name             TEXT NOT NULL,
    scopes           TEXT NOT NULL,
    instances        TEXT NOT NULL,
    allowed_networks TEXT NOT NULL,
    calls_per_minute INTEGER,
    expires_at       INTEGER,
    last_used_at     INTEGER,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
);
INSERT INTO api_key_scoped (id, tenant_id, name, scopes, instances, allowed_networks, created_at, updated_at)
    SELECT id, tenant_id, name, '["*"]', '[]', '[]', created_at, created_at FROM api_key;
DROP TABLE api_key;
ALTER TABLE api_key_scoped RENAME TO api_key;
CREATE INDEX api_key_tenant ON api_key (tenant_id, id);

-- Append-only: there is no statement that changes or removes a row, and triggers refuse those of others.
-- `tenant_id` is '' in the operator's log.
CREATE TABLE audit_event (
    tenant_id  TEXT NOT NULL,
    id         TEXT NOT NULL,
    at         INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id   TEXT,
    source     TEXT,
    action     TEXT NOT NULL,
    target     TEXT,
    result     TEXT NOT NULL,
    status     INTEGER,
    code       TEXT,
    request_id TEXT,
    count      INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITHOUT ROWID;
-- What is done all the time and well is in no index but the key's own.
CREATE INDEX audit_event_action ON audit_event (tenant_id, action, id)
    WHERE action <> 'send_message' AND action <> 'publish_event';
CREATE INDEX audit_event_result ON audit_event (tenant_id, result, id) WHERE result <> 'done';

CREATE TRIGGER audit_event_is_not_changed BEFORE UPDATE ON audit_event
BEGIN
    SELECT RAISE(ABORT, 'audit events cannot be changed');
END;
CREATE TRIGGER audit_event_is_not_removed BEFORE DELETE ON audit_event
BEGIN
    SELECT RAISE(ABORT, 'audit events cannot be removed');
END;

-- What a tenant used on a day (days since 1970-01-01). `stored_bytes` is what came less what went on that
-- day of messages and events: the sum over all days is what is kept now. What was there before this table
-- stands under day 0.
CREATE TABLE usage_day (
    tenant_id        TEXT NOT NULL,
    day              INTEGER NOT NULL,
    api_calls        INTEGER NOT NULL DEFAULT 0,
    messages_in      INTEGER NOT NULL DEFAULT 0,
    messages_out     INTEGER NOT NULL DEFAULT 0,
    deliveries       INTEGER NOT NULL DEFAULT 0,
    media_bytes      INTEGER NOT NULL DEFAULT 0,
    instance_seconds INTEGER NOT NULL DEFAULT 0,
    stored_bytes     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, day)
) WITHOUT ROWID;
INSERT INTO usage_day (tenant_id, day, stored_bytes)
    SELECT tenant_id, 0, CAST(sum(bytes) AS bigint) FROM (
        SELECT tenant_id, octet_length(body) AS bytes FROM message
        UNION ALL SELECT tenant_id, octet_length(payload) FROM event
    ) GROUP BY tenant_id;

-- Instances and webhooks that are gone while rows of theirs may be left: how those are found when the tenant
-- goes too. `at` is when they went, or when the last such row was made.
CREATE TABLE remains (
    tenant_id TEXT NOT NULL,
    id        TEXT NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITHOUT ROWID;
CREATE INDEX remains_at ON remains (at);
INSERT INTO remains (tenant_id, id, at)
    SELECT tenant_id, id, max(at) FROM (
        SELECT tenant_id, instance_id AS id, created_at AS at FROM message
            WHERE instance_id NOT IN (SELECT i.id FROM instance AS i)
        UNION ALL SELECT tenant_id, instance_id, at FROM amendment
            WHERE instance_id NOT IN (SELECT i.id FROM instance AS i)
        UNION ALL SELECT tenant_id, webhook_id, updated_at FROM delivery
            WHERE webhook_id NOT IN (SELECT w.id FROM webhook AS w)
    ) AS gone GROUP BY tenant_id, id;
