-- Text compares by bytes everywhere (COLLATE "C"), as in SQLite: keys and cursors rely on it.

-- Facts about the database itself: the check value of the master key, the epoch counter.
CREATE TABLE meta (
    name  text COLLATE "C" PRIMARY KEY NOT NULL,
    value text COLLATE "C" NOT NULL
);

-- One row that is rewritten to prove that the database takes writes.
CREATE TABLE heartbeat (
    id bigint PRIMARY KEY NOT NULL,
    at bigint NOT NULL
);

CREATE TABLE tenant (
    id         text COLLATE "C" PRIMARY KEY NOT NULL,
    name       text COLLATE "C" NOT NULL,
    key_salt   bytea NOT NULL,
    created_at bigint NOT NULL
);

-- The counter from which a tenant's events take their seq. Apart from `tenant`, because it is
-- rewritten with every commit.
CREATE TABLE tenant_log (
    tenant_id text COLLATE "C" PRIMARY KEY NOT NULL,
    last_seq  bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE api_key (
    id         text COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id  text COLLATE "C",
    name       text COLLATE "C" NOT NULL,
    prefix     text COLLATE "C" NOT NULL UNIQUE,
    hash       bytea NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE instance (
    id            text COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id     text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    state         text COLLATE "C" NOT NULL,
    state_reason  text COLLATE "C",
    desired_state text COLLATE "C" NOT NULL,
    phone_number  text COLLATE "C",
    lid           text COLLATE "C",
    push_name     text COLLATE "C",
    proxy         bytea,
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    connected_at  bigint,
    epoch         bigint NOT NULL,
    history_count bigint NOT NULL
);
CREATE INDEX instance_tenant ON instance (tenant_id, id);
CREATE INDEX instance_running ON instance (id) WHERE desired_state = 'running';

CREATE TABLE instance_history (
    instance_id text COLLATE "C" NOT NULL,
    number      bigint NOT NULL,
    tenant_id   text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL,
    reason      text COLLATE "C",
    at          bigint NOT NULL,
    PRIMARY KEY (instance_id, number)
);

-- `sender` is empty for what the account itself wrote. `body` is JSON: the other names of chat and
-- sender, the content, the quoted message.
CREATE TABLE message (
    id           text COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id    text COLLATE "C" NOT NULL,
    instance_id  text COLLATE "C" NOT NULL,
    direction    text COLLATE "C" NOT NULL,
    chat         text COLLATE "C" NOT NULL,
    sender       text COLLATE "C" NOT NULL,
    whatsapp_id  text COLLATE "C" NOT NULL,
    status       text COLLATE "C" NOT NULL,
    failure      text COLLATE "C",
    body         text COLLATE "C" NOT NULL,
    created_at   bigint NOT NULL,
    sent_at      bigint,
    delivered_at bigint,
    read_at      bigint,
    failed_at    bigint,
    edited_at    bigint,
    revoked_at   bigint,
    expires_at   bigint
);
CREATE UNIQUE INDEX message_whatsapp ON message (instance_id, whatsapp_id, chat, sender);
-- Lists by instance and by chat: the chat is in the index, so that a list of one chat passes over the
-- others without touching their rows. An index per chat would cost a page more for every message.
CREATE INDEX message_instance ON message (instance_id, id, chat);
CREATE INDEX message_pending ON message (instance_id, id, expires_at) WHERE status = 'accepted';

-- Edits, revocations and reactions that were recorded, so that each is recorded once.
CREATE TABLE amendment (
    instance_id text COLLATE "C" NOT NULL,
    whatsapp_id text COLLATE "C" NOT NULL,
    chat        text COLLATE "C" NOT NULL,
    sender      text COLLATE "C" NOT NULL,
    tenant_id   text COLLATE "C" NOT NULL,
    at          bigint NOT NULL,
    PRIMARY KEY (instance_id, whatsapp_id, chat, sender)
);
CREATE INDEX amendment_at ON amendment (at);

CREATE TABLE event (
    tenant_id   text COLLATE "C" NOT NULL,
    seq         bigint NOT NULL,
    id          text COLLATE "C" NOT NULL,
    instance_id text COLLATE "C",
    chat        text COLLATE "C",
    type        text COLLATE "C" NOT NULL,
    payload     text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX event_created ON event (created_at);

CREATE TABLE idempotency (
    tenant_id   text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    status      bigint NOT NULL,
    body        text COLLATE "C" NOT NULL,
    expires_at  bigint NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);

CREATE TABLE link_state (
    instance_id text COLLATE "C" NOT NULL,
    collection  bigint NOT NULL,
    key         text COLLATE "C" NOT NULL,
    tenant_id   text COLLATE "C" NOT NULL,
    value       bytea NOT NULL,
    expires_at  bigint,
    PRIMARY KEY (instance_id, collection, key)
);
CREATE INDEX link_state_expires ON link_state (expires_at) WHERE expires_at IS NOT NULL;
