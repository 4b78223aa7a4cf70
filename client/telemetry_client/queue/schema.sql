-- What is still to be sent. `held_until` is in seconds of the system's monotonic clock, which all
-- processes share: until then an entry is leased (`leased_by` is set) or waits for its next try.
CREATE TABLE telemetry_queue (
    id integer PRIMARY KEY AUTOINCREMENT,
    stream text,                            -- its job or node; NULL: no order to keep
    payload text NOT NULL,
    rank integer NOT NULL,                  -- 0 ordinary, 1 important, 2 final: evicted last
    queued_at real NOT NULL,                -- seconds since the epoch
    tries integer NOT NULL DEFAULT 0,
    handed_out integer NOT NULL DEFAULT 0,  -- how often; afterwards its payload never changes
    held_until real NOT NULL DEFAULT 0,
    leased_by text,
    leased_thread integer
);
-- The order within a stream, and the next entry after an evicted one.
CREATE INDEX telemetry_queue_by_stream ON telemetry_queue (stream, id);
-- What to evict from a full queue.
CREATE INDEX telemetry_queue_by_rank ON telemetry_queue (rank, id);
-- What the hub refused, or failed to store too often.
CREATE TABLE telemetry_dead (
    id integer PRIMARY KEY,
    stream text,
    payload text NOT NULL,
    rank integer NOT NULL,
    tries integer NOT NULL,
    reason text NOT NULL,
    died_at real NOT NULL
);
-- What was evicted of a job or node, and no later entry of it could report.
CREATE TABLE telemetry_losses (
    stream text PRIMARY KEY,
    count integer NOT NULL
) WITHOUT ROWID;
CREATE TABLE telemetry_counters (
    name text PRIMARY KEY,
    count integer NOT NULL
) WITHOUT ROWID;
