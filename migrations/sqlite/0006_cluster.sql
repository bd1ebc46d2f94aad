-- The slot of each instance and webhook (its hash, see the crate `roost-domain`). SQL cannot compute it:
-- rows that were there before are filled when the store is opened.
ALTER TABLE instance ADD COLUMN slot bigint;
ALTER TABLE webhook ADD COLUMN slot bigint;
CREATE INDEX instance_running_slot ON instance (slot, id) WHERE desired_state = 'running';
CREATE INDEX webhook_enabled_slot ON webhook (slot, id) WHERE state = 'enabled';
CREATE INDEX instance_unplaced ON instance (id) WHERE slot IS NULL;
CREATE INDEX webhook_unplaced ON webhook (id) WHERE slot IS NULL;
