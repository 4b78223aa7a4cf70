-- Whether each node still reports, since when, and every change of it. And where the chart of a
-- node begins, so that no rollup is searched for it.

ALTER TABLE nodes
    ADD COLUMN state text NOT NULL DEFAULT 'online',
    ADD COLUMN state_since timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN oldest_snapshot_at timestamptz NOT NULL DEFAULT 'infinity',
    ADD CONSTRAINT nodes_state_known CHECK (state IN ('online', 'offline'));
UPDATE nodes SET
    state_since = first_seen_at,
    oldest_snapshot_at = coalesce(
        (SELECT min(time) FROM node_telemetry WHERE node_telemetry.node_id = nodes.node_id),
        'infinity');
COMMENT ON COLUMN nodes.state IS
    'online, or offline after HUB_NODE_OFFLINE_SECONDS without a snapshot while the hub took them; '
    'the next new snapshot brings it back.';
COMMENT ON COLUMN nodes.state_since IS
    'When the state last changed, or the node was first seen; the hub''s clock.';
COMMENT ON COLUMN nodes.oldest_snapshot_at IS
    'Time of the earliest snapshot ever stored, dropped ones included; infinity before the first. '
    'The sender''s clock.';

CREATE INDEX nodes_online_idx ON nodes (last_seen_at, node_id) WHERE state = 'online';
COMMENT ON INDEX nodes_online_idx IS
    'The task detect_offline_nodes: online nodes by their last sign of life.';

CREATE TABLE node_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    node_id text NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    from_state text NOT NULL,
    to_state text NOT NULL,
    reason text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT node_events_pkey PRIMARY KEY (id),
    CONSTRAINT node_events_node_fkey FOREIGN KEY (node_id) REFERENCES nodes (node_id)
        ON DELETE CASCADE,
    CONSTRAINT node_events_states_known CHECK (
        from_state IN ('online', 'offline') AND to_state IN ('online', 'offline')
        AND from_state <> to_state)
);
COMMENT ON TABLE node_events IS
    'One row per change of a node''s state, written in the transaction that changes it.';
COMMENT ON COLUMN node_events.id IS 'Ascending in the order in which a node''s events happened.';
COMMENT ON COLUMN node_events.node_id IS 'The node, as in nodes.';
COMMENT ON COLUMN node_events.time IS 'When it changed; the hub''s clock.';
COMMENT ON COLUMN node_events.from_state IS 'The state before: online or offline.';
COMMENT ON COLUMN node_events.to_state IS 'The state after: online or offline.';
COMMENT ON COLUMN node_events.reason IS 'Why, as a sentence.';
COMMENT ON COLUMN node_events.evidence IS
    'What it was judged by: {"last_seen": arrival of the last snapshot before, RFC 3339, '
    '"silent_seconds": from then to the change, "threshold_seconds": only when going offline}.';

CREATE INDEX node_events_node_idx ON node_events (node_id, id);
COMMENT ON INDEX node_events_node_idx IS 'GET /nodes/{node_id}/events, newest first.';
