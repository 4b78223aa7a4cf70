-- The state of nodes and of the hub itself, as the task find_attention looks at them.

-- Nodes that are offline, or whose disk or memory is above the least of all limits. The least memory
-- is read for the few that are.
-- name: read_nodes
SELECT nodes.node_id, state, state_since, last_seen_at, disk_percent, memory_percent,
       CASE WHEN memory_percent >= %(memory_percent)s THEN
           (SELECT CASE WHEN min(time) <= nodes.newest_snapshot_at
                                          - 0.9 * make_interval(secs => %(memory_seconds)s)
                        THEN min(recent.memory_percent) END
            FROM node_telemetry AS recent
            WHERE recent.node_id = nodes.node_id
              AND recent.time BETWEEN
                  nodes.newest_snapshot_at - 1.5 * make_interval(secs => %(memory_seconds)s)
                  AND nodes.newest_snapshot_at) END
FROM nodes
WHERE state = 'offline' OR disk_percent >= %(disk_percent)s OR memory_percent >= %(memory_percent)s

-- name: read_losing_nodes
SELECT node_id, lost_snapshots, lost_at FROM nodes WHERE lost_at > %(since)s ORDER BY node_id

-- name: read_presence
SELECT last_beat_at FROM ingest_presence

-- The end of the last absence that was longer than a restart.
-- name: read_last_return
SELECT max(to_at) FROM hub_absences
WHERE to_at > %(now)s - interval '1 day' AND to_at - from_at > interval '5 minutes'

-- name: read_engine_start
SELECT pg_postmaster_start_time(), (SELECT min(up_since) FROM ingest_beats)

-- name: read_ending_tokens
SELECT id, name, expires_at
FROM tokens
WHERE revoked_at IS NULL
  AND expires_at BETWEEN %(now)s - interval '14 days' AND %(now)s + %(ends_soon)s

-- name: read_failing_destinations
SELECT id, name, failing_since FROM destinations WHERE failing_since <= %(before)s ORDER BY id

-- name: read_retention
SELECT trusted_at FROM retention_clock WHERE runs_ahead > 0
