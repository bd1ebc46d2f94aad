-- Facts about the database itself: the check value of the master key, the epoch counter.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

-- One row that is rewritten to prove that the database takes writes.
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL
);

CREATE TABLE tenant (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    key_salt   BLOB NOT NULL,
    created_at INTEGER NOT NULL
);

-- The counter from which a tenant's events take their seq. Apart from `tenant`, because it is
-- rewritten with every commit.
CREATE TABLE tenant_log (
    tenant_id TEXT PRIMARY KEY NOT NULL,
    last_seq  INTEGER NOT NULL
);

CREATE TABLE api_key (
    id         TEXT PRIMARY KEY NOT NULL,
    tenant_id  TEXT,
    name       TEXT NOT NULL,
    prefix     TEXT NOT NULL UNIQUE,
    hash       BLOB NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE instance (
    id            TEXT PRIMARY KEY NOT NULL,
    tenant_id     TEXT NOT NULL,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL,
    state_reason  TEXT,
    desired_state TEXT NOT NULL,
    phone_number  TEXT,
    lid           TEXT,
    push_name     TEXT,
    proxy         BLOB,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    connected_at  INTEGER,
    epoch         INTEGER NOT NULL,
    history_count INTEGER NOT NULL
);
CREATE INDEX instance_tenant ON instance (tenant_id, id);
CREATE INDEX instance_running ON instance (id) WHERE desired_state = 'running';

CREATE TABLE instance_history (
    instance_id TEXT NOT NULL,
    number      INTEGER NOT NULL,
    tenant_id   TEXT NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT,
    at          INTEGER NOT NULL,
    PRIMARY KEY (instance_id, number)
) WITHOUT ROWID;

-- `sender` is empty for what the account itself wrote. `body` is JSON: the other names of chat and
-- sender, the content, the quoted message.
CREATE TABLE message (
    id           TEXT PRIMARY KEY NOT NULL,
    tenant_id    TEXT NOT NULL,
    instance_id  TEXT NOT NULL,
    direction    TEXT NOT NULL,
    chat         TEXT NOT NULL,
    sender       TEXT NOT NULL,
    whatsapp_id  TEXT NOT NULL,
    status       TEXT NOT NULL,
    failure      TEXT,
    body         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    sent_at      INTEGER,
    delivered_at INTEGER,
    read_at      INTEGER,
    failed_at    INTEGER,
    edited_at    INTEGER,
    revoked_at   INTEGER,
    expires_at   INTEGER
);
CREATE UNIQUE INDEX message_whatsapp ON message (instance_id, whatsapp_id, chat, sender);
-- Lists by instance and by chat: the chat is in the index, so that a list of one chat passes over the
-- others without touching their rows. An index per chat would cost a page more for every message.
CREATE INDEX message_instance ON message (instance_id, id, chat);
CREATE INDEX message_pending ON message (instance_id, id, expires_at) WHERE status = 'accepted';

-- Edits, revocations and reactions that were recorded, so that each is recorded once.
CREATE TABLE amendment (
    instance_id TEXT NOT NULL,
    whatsapp_id TEXT NOT NULL,
    chat        TEXT NOT NULL,
    sender      TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (instance_id, whatsapp_id, chat, sender)
) WITHOUT ROWID;
CREATE INDEX amendment_at ON amendment (at);

CREATE TABLE event (
    tenant_id   TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    id          TEXT NOT NULL,
    instance_id TEXT,
    chat        TEXT,
    type        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX event_created ON event (created_at);

CREATE TABLE idempotency (
    tenant_id   TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);

CREATE TABLE link_state (
    instance_id TEXT NOT NULL,
    collection  INTEGER NOT NULL,
    key         TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    value       BLOB NOT NULL,
    expires_at  INTEGER,
    PRIMARY KEY (instance_id, collection, key)
);
CREATE INDEX link_state_expires ON link_state (expires_at) WHERE expires_at IS NOT NULL;
