-- `limits` is JSON. `key_salt` is all zeros once the tenant's encryption key is destroyed.
ALTER TABLE tenant ADD COLUMN state text COLLATE "C" NOT NULL DEFAULT 'active';
ALTER TABLE tenant ADD COLUMN plan text COLLATE "C";
ALTER TABLE tenant ADD COLUMN limits text COLLATE "C" NOT NULL DEFAULT '{}';
ALTER TABLE tenant ADD COLUMN retention_days bigint;
ALTER TABLE tenant ADD COLUMN updated_at bigint NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN deleted_at bigint;
UPDATE tenant SET updated_at = created_at;
CREATE INDEX tenant_deleting ON tenant (id) WHERE state = 'deleting';

-- `tenant_id` is empty for an operator's key. `hash` is an HMAC of the key's whole text. A key has two
-- secrets while it is being rotated.
CREATE TABLE api_key_secret (
    prefix     text COLLATE "C" PRIMARY KEY NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    tenant_id  text COLLATE "C",
    hash       bytea NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint
);
INSERT INTO api_key_secret (prefix, key_id, tenant_id, hash, created_at)
    SELECT prefix, id, tenant_id, hash, created_at FROM api_key;
CREATE INDEX api_key_secret_key ON api_key_secret (key_id);
CREATE INDEX api_key_secret_expires ON api_key_secret (expires_at) WHERE expires_at IS NOT NULL;

-- `scopes`, `instances` and `allowed_networks` are JSON.
CREATE TABLE api_key_scoped (
    id               text COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id        text COLLATE "C",
    name             text COLLATE "C" NOT NULL,
    scopes           text COLLATE "C" NOT NULL,
    instances        text COLLATE "C" NOT NULL,
    allowed_networks text COLLATE "C" NOT NULL,
    calls_per_minute bigint,
    expires_at       bigint,
    last_used_at     bigint,
    created_at       bigint NOT NULL,
    updated_at       bigint NOT NULL
);
INSERT INTO api_key_scoped (id, tenant_id, name, scopes, instances, allowed_networks, created_at, updated_at)
    SELECT id, tenant_id, name, '["*"]', '[]', '[]', created_at, created_at FROM api_key;
DROP TABLE api_key;
ALTER TABLE api_key_scoped RENAME TO api_key;
CREATE INDEX api_key_tenant ON api_key (tenant_id, id);

-- Append-only: there is no statement that changes or removes a row, and triggers refuse those of others.
-- `tenant_id` is '' in the operator's log.
CREATE TABLE audit_event (
    tenant_id  text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    at         bigint NOT NULL,
    actor_kind text COLLATE "C" NOT NULL,
    actor_id   text COLLATE "C",
    source     text COLLATE "C",
    action     text COLLATE "C" NOT NULL,
    target     text COLLATE "C",
    result     text COLLATE "C" NOT NULL,
    status     bigint,
    code       text COLLATE "C",
    request_id text COLLATE "C",
    count      bigint NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
-- What is done all the time and well is in no index but the key's own.
CREATE INDEX audit_event_action ON audit_event (tenant_id, action, id)
    WHERE action <> 'send_message' AND action <> 'publish_event';
CREATE INDEX audit_event_result ON audit_event (tenant_id, result, id) WHERE result <> 'done';

CREATE FUNCTION audit_event_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events cannot be changed or removed' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_event_is_kept BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_is_kept();
CREATE TRIGGER audit_event_is_not_emptied BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_event_is_kept();
-- Not even where triggers are switched off for replication.
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_is_kept;
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_is_not_emptied;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_event FROM PUBLIC, CURRENT_USER;

-- What a tenant used on a day (days since 1970-01-01). `stored_bytes` is what came less what went on that
-- day of messages and events: the sum over all days is what is kept now. What was there before this table
-- stands under day 0.
CREATE TABLE usage_day (
    tenant_id        text COLLATE "C" NOT NULL,
    day              bigint NOT NULL,
    api_calls        bigint NOT NULL DEFAULT 0,
    messages_in      bigint NOT NULL DEFAULT 0,
    messages_out     bigint NOT NULL DEFAULT 0,
    deliveries       bigint NOT NULL DEFAULT 0,
    media_bytes      bigint NOT NULL DEFAULT 0,
    instance_seconds bigint NOT NULL DEFAULT 0,
    stored_bytes     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);
INSERT INTO usage_day (tenant_id, day, stored_bytes)
    SELECT tenant_id, 0, CAST(sum(bytes) AS bigint) FROM (
        SELECT tenant_id, octet_length(body) AS bytes FROM message
        UNION ALL SELECT tenant_id, octet_length(payload) FROM event
    ) AS kept GROUP BY tenant_id;

-- Instances and webhooks that are gone while rows of theirs may be left: how those are found when the tenant
-- goes too. `at` is when they went, or when the last such row was made.
CREATE TABLE remains (
    tenant_id text COLLATE "C" NOT NULL,
    id        text COLLATE "C" NOT NULL,
    at        bigint NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
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
