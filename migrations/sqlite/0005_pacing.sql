-- `pacing` is JSON.
ALTER TABLE instance ADD COLUMN pacing TEXT;
ALTER TABLE instance ADD COLUMN reply_only INTEGER NOT NULL DEFAULT 0;

-- Chats in which somebody has written to the instance, under every name the other side had then. Kept
-- for as long as the instance, however short messages are kept.
CREATE TABLE known_chat (
    instance_id TEXT NOT NULL,
    chat        TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    PRIMARY KEY (instance_id, chat)
) WITHOUT ROWID;

INSERT INTO known_chat (instance_id, chat, tenant_id)
    WITH inbound AS MATERIALIZED (
        SELECT m.instance_id, m.tenant_id, m.chat,
               CASE WHEN json_valid(m.body) THEN m.body ->> '$.chat_phone_number' END AS phone_number,
               CASE WHEN json_valid(m.body) THEN m.body ->> '$.chat_lid' END AS lid
        FROM message AS m JOIN instance AS i ON i.id = m.instance_id WHERE m.direction = 'inbound'
    )
    SELECT b.instance_id, b.chat, b.tenant_id FROM inbound AS b
    UNION
    SELECT b.instance_id, substr(b.phone_number, 2) || '@s.whatsapp.net', b.tenant_id
    FROM inbound AS b WHERE b.phone_number IS NOT NULL
    UNION
    SELECT b.instance_id, b.lid, b.tenant_id FROM inbound AS b WHERE b.lid IS NOT NULL;
