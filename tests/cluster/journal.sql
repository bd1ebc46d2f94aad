-- What the test has PostgreSQL write down: every write of an owner, every claim of a slot and every life of a
-- node, in one order. A row is there exactly when the transaction that it is about was committed. An owner
-- holds the row of its instance or webhook before it writes, so the order of the notes is that of the writes.
CREATE SCHEMA proof;
CREATE SEQUENCE proof.n;

-- `life` is which life of which node wrote: its connections say so.
CREATE TABLE proof.effect (
    n     bigint PRIMARY KEY DEFAULT nextval('proof.n'),
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    life  text NOT NULL,
    what  text NOT NULL,
    key   text NOT NULL,
    slot  bigint NOT NULL,
    epoch bigint NOT NULL
);
-- `node` is empty for a slot that was given back.
CREATE TABLE proof.claim (
    n     bigint PRIMARY KEY DEFAULT nextval('proof.n'),
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    life  text NOT NULL,
    slot  bigint NOT NULL,
    node  text,
    epoch bigint NOT NULL
);
CREATE TABLE proof.registration (
    n           bigint PRIMARY KEY DEFAULT nextval('proof.n'),
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    life        text NOT NULL,
    incarnation bigint NOT NULL
);

CREATE FUNCTION proof.of_instance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO proof.effect (life, what, key, slot, epoch)
        SELECT current_setting('proof.life'), TG_TABLE_NAME || ' ' || TG_OP, i.id, i.slot, i.epoch
        FROM instance AS i WHERE i.id IN (SELECT f.instance_id FROM fresh AS f)
            AND current_setting('proof.life', true) <> '';
    RETURN NULL;
END $$;
CREATE FUNCTION proof.of_itself() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO proof.effect (life, what, key, slot, epoch)
        SELECT current_setting('proof.life'), TG_TABLE_NAME || ' ' || TG_OP, f.id, f.slot, f.epoch FROM fresh AS f
        WHERE f.epoch > 0 AND current_setting('proof.life', true) <> '';
    RETURN NULL;
END $$;
CREATE FUNCTION proof.of_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO proof.effect (life, what, key, slot, epoch)
        SELECT current_setting('proof.life'), TG_TABLE_NAME || ' ' || TG_OP, w.id, w.slot, w.epoch
        FROM webhook AS w WHERE w.id IN (SELECT f.webhook_id FROM fresh AS f)
            AND current_setting('proof.life', true) <> '';
    RETURN NULL;
END $$;
CREATE FUNCTION proof.of_slot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO proof.claim (life, slot, node, epoch)
        SELECT current_setting('proof.life', true), f.slot, f.node, f.epoch FROM fresh AS f;
    RETURN NULL;
END $$;
CREATE FUNCTION proof.of_node() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.incarnation <> OLD.incarnation THEN
        INSERT INTO proof.registration (life, incarnation)
            VALUES (current_setting('proof.life', true), NEW.incarnation);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER proof AFTER UPDATE ON instance REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_itself();
CREATE TRIGGER proof AFTER UPDATE ON webhook REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_itself();
CREATE TRIGGER proof AFTER INSERT ON instance_history REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_instance();
CREATE TRIGGER proof_new AFTER INSERT ON message REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_instance();
CREATE TRIGGER proof_old AFTER UPDATE ON message REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_instance();
CREATE TRIGGER proof AFTER INSERT ON event REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_instance();
CREATE TRIGGER proof_new AFTER INSERT ON link_state REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_instance();
CREATE TRIGGER proof_old AFTER UPDATE ON link_state REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_instance();
CREATE TRIGGER proof_new AFTER INSERT ON delivery REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_delivery();
CREATE TRIGGER proof_old AFTER UPDATE ON delivery REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_delivery();
CREATE TRIGGER proof AFTER UPDATE ON slot REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION proof.of_slot();
CREATE TRIGGER proof AFTER INSERT OR UPDATE ON node_lease
    FOR EACH ROW EXECUTE FUNCTION proof.of_node();
