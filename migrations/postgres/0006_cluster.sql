-- The slot of each instance and webhook (its hash, see the crate `roost-domain`). SQL cannot compute it:
-- rows that were there before are filled when the store is opened.
ALTER TABLE instance ADD COLUMN slot bigint;
ALTER TABLE webhook ADD COLUMN slot bigint;
CREATE INDEX instance_running_slot ON instance (slot, id) WHERE desired_state = 'running';
CREATE INDEX webhook_enabled_slot ON webhook (slot, id) WHERE state = 'enabled';
CREATE INDEX instance_unplaced ON instance (id) WHERE slot IS NULL;
CREATE INDEX webhook_unplaced ON webhook (id) WHERE slot IS NULL;

-- How keys are cut into slots. A release that does it otherwise may not join.
CREATE TABLE cluster_layout (
    id    bigint PRIMARY KEY NOT NULL,
    slots bigint NOT NULL,
    hash  text COLLATE "C" NOT NULL
);
INSERT INTO cluster_layout (id, slots, hash) VALUES (1, 1024, 'xxh3_64');

-- One row per node. Its lease holds until `expires_at`, unless it was ended before. Whoever finds it expired
-- ends it before taking anything, so that a renewal that is under way sees a changed row. `incarnation` is
-- never given twice.
CREATE TABLE node_lease (
    node          text COLLATE "C" PRIMARY KEY NOT NULL,
    incarnation   bigint NOT NULL,
    address       text COLLATE "C" NOT NULL,
    http_address  text COLLATE "C" NOT NULL,
    version       text COLLATE "C" NOT NULL,
    registered_at timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    draining      boolean NOT NULL
) WITH (fillfactor = 50);

-- Who owns each slot: the node in that life of it, for as long as the lease of that life holds.
CREATE TABLE slot (
    slot        bigint PRIMARY KEY NOT NULL,
    node        text COLLATE "C",
    incarnation bigint,
    epoch       bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO slot (slot, epoch) SELECT n, 0 FROM generate_series(0, 1023) AS n;

-- The one counter of epochs and incarnations. Whoever has raised it goes first until the commit: lives begin,
-- and slots are taken, one after the other.
INSERT INTO meta (name, value) VALUES ('epoch', '0') ON CONFLICT (name) DO NOTHING;
CREATE FUNCTION cluster_count() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    UPDATE meta SET value = CAST(CAST(value AS bigint) + 1 AS text) WHERE name = 'epoch'
    RETURNING CAST(value AS bigint)
$$;

-- Ends every lease that has expired by the given time. A renewal that came first is waited for, and counts.
CREATE FUNCTION cluster_end_expired(moment timestamptz) RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE node_lease SET ended_at = moment WHERE ended_at IS NULL AND expires_at <= moment
$$;

-- Begins a life of a node, in a function because each of its statements sees what was committed before the
-- counter came free. `outcome` is `registered`, or why not, and then who is in the way.
CREATE FUNCTION cluster_register(
    new_node text, new_address text, new_http_address text, new_version text, ttl_ms bigint,
    known_slots bigint, known_hash text, local_node text
) RETURNS TABLE (outcome text, number bigint, other_node text, other_address text) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    life bigint := cluster_count();
    moment timestamptz := clock_timestamp();
    other node_lease%ROWTYPE;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM cluster_layout AS l WHERE l.slots = known_slots AND l.hash = known_hash) THEN
        RETURN QUERY SELECT 'layout', NULL::bigint, NULL, l.slots || ' slots by ' || l.hash FROM cluster_layout AS l;
        RETURN;
    END IF;
    PERFORM cluster_end_expired(moment);
    SELECT * INTO other FROM node_lease AS n
        WHERE n.ended_at IS NULL AND ((n.node = new_node AND n.address <> new_address)
            OR (n.node <> new_node AND local_node IN (n.node, new_node)))
        ORDER BY n.node LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT
            CASE WHEN local_node IN (other.node, new_node) THEN 'not_alone' ELSE 'taken' END,
            NULL::bigint, other.node, other.address;
        RETURN;
    END IF;
    DELETE FROM node_lease AS n WHERE n.expires_at < moment - interval '1 day' AND n.node <> new_node
        AND NOT EXISTS (SELECT 1 FROM slot AS s WHERE s.node = n.node AND s.incarnation = n.incarnation);
    INSERT INTO node_lease AS n
        (node, incarnation, address, http_address, version, registered_at, expires_at, ended_at, draining)
        VALUES (new_node, life, new_address, new_http_address, new_version, clock_timestamp(),
            clock_timestamp() + ttl_ms * interval '1 millisecond', NULL, false)
        ON CONFLICT (node) DO UPDATE SET incarnation = excluded.incarnation, address = excluded.address,
            http_address = excluded.http_address, version = excluded.version,
            registered_at = excluded.registered_at, expires_at = excluded.expires_at,
            ended_at = excluded.ended_at, draining = excluded.draining;
    PERFORM pg_notify('roost_cluster', '');
    RETURN QUERY SELECT 'registered', life, NULL, NULL;
END
$$;

-- Takes those of the wanted slots that are nobody's, all under one new epoch. No row at all when the lease
-- of the taker is over; else one row of NULLs and one per slot that was taken.
CREATE FUNCTION cluster_claim(my_node text, my_incarnation bigint, wanted bigint[])
RETURNS TABLE (taken bigint, under bigint) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    new_epoch bigint := cluster_count();
    moment timestamptz := clock_timestamp();
BEGIN
    PERFORM cluster_end_expired(moment);
    IF NOT EXISTS (SELECT 1 FROM node_lease AS n
            WHERE n.node = my_node AND n.incarnation = my_incarnation AND n.ended_at IS NULL) THEN
        RETURN;
    END IF;
    RETURN NEXT;
    RETURN QUERY UPDATE slot AS s SET node = my_node, incarnation = my_incarnation, epoch = new_epoch
        WHERE s.slot = ANY (wanted) AND NOT EXISTS (SELECT 1 FROM node_lease AS n
            WHERE n.node = s.node AND n.incarnation = s.incarnation AND n.ended_at IS NULL)
        RETURNING s.slot, s.epoch;
    IF FOUND THEN
        PERFORM pg_notify('roost_cluster', '');
    END IF;
END
$$;
