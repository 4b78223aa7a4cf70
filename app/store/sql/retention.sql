-- The clock of retention.

-- name: read_clock
SELECT trusted_at, runs_ahead FROM retention_clock

-- name: write_clock
INSERT INTO retention_clock (trusted_at, runs_ahead) VALUES (%(trusted_at)s, %(runs_ahead)s)
ON CONFLICT (is_only) DO UPDATE SET
    trusted_at = excluded.trusted_at, runs_ahead = excluded.runs_ahead

-- Each series by itself: TimescaleDB then begins with the newest chunk, and reads no other.
-- name: read_newest
SELECT greatest(
    (SELECT time FROM job_telemetry ORDER BY time DESC LIMIT 1),
    (SELECT time FROM node_telemetry ORDER BY time DESC LIMIT 1))
