-- What agents had to drop, as they report it.
ALTER TABLE nodes
    ADD COLUMN lost_snapshots bigint NOT NULL DEFAULT 0,
    ADD COLUMN lost_at timestamptz;
CREATE INDEX nodes_lost_idx ON nodes (lost_at) WHERE lost_at IS NOT NULL;
COMMENT ON INDEX nodes_lost_idx IS 'The task find_attention: nodes that have lost snapshots lately.';
