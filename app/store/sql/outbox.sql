-- What the task notify reads and writes: changes of items, episodes, and messages on their way.

-- name: has_work
SELECT EXISTS (SELECT FROM attention_changes)
    OR EXISTS (SELECT FROM notification_routes WHERE begun_at IS NULL OR next_report_at <= %(now)s)
    OR EXISTS (SELECT FROM episodes WHERE due_at <= %(now)s)
    OR EXISTS (SELECT FROM notifications
               WHERE state = 'waiting' AND due_at <= %(now)s
                 AND (claimed_until IS NULL OR claimed_until <= %(now)s))

-- name: take_changes
DELETE FROM attention_changes
WHERE n IN (SELECT n FROM attention_changes ORDER BY n LIMIT %(limit)s)
RETURNING n, item_id, change, changed_at

-- name: read_items
SELECT {item} FROM attention WHERE id = ANY(%(ids)s::bigint[])

-- name: read_open_items
SELECT {item} FROM attention AS attention
WHERE NOT is_ended
  AND NOT EXISTS (
    SELECT FROM episodes
    WHERE route_id = %(route_id)s AND episodes.kind = attention.kind
      AND episodes.subject = attention.subject)
ORDER BY rank, since, id

-- name: read_episodes
SELECT {episode}, {item}
FROM episodes JOIN attention ON attention.id = episodes.item_id
WHERE route_id = %(route_id)s
  AND (episodes.kind, episodes.subject) IN (
      SELECT * FROM unnest(%(kinds)s::text[], %(subjects)s::text[]))

-- name: read_due_episodes
SELECT {episode}, {item}
FROM episodes JOIN attention ON attention.id = episodes.item_id
WHERE due_at <= %(until)s
ORDER BY due_at, attention.id
LIMIT %(limit)s

-- name: write_episodes
INSERT INTO episodes (
    route_id, kind, subject, item_id, state, due_at, told_rank, told_at, returns)
SELECT v.*
FROM jsonb_to_recordset(%(episodes)s::jsonb) AS v (
    route_id bigint, kind text, subject text, item_id bigint, state text, due_at timestamptz,
    told_rank smallint, told_at timestamptz, returns integer)
ON CONFLICT (route_id, kind, subject) DO UPDATE SET
    item_id = excluded.item_id, state = excluded.state, due_at = excluded.due_at,
    told_rank = excluded.told_rank, told_at = excluded.told_at, returns = excluded.returns

-- name: delete_episodes
DELETE FROM episodes
USING jsonb_to_recordset(%(episodes)s::jsonb) AS v (route_id bigint, kind text, subject text)
WHERE episodes.route_id = v.route_id AND episodes.kind = v.kind AND episodes.subject = v.subject

-- name: begin_route
UPDATE notification_routes SET begun_at = %(now)s WHERE id = %(id)s

-- name: plan_report
UPDATE notification_routes SET next_report_at = %(at)s WHERE id = %(id)s

-- name: count_recent
SELECT route_id, count(*) FROM notifications
WHERE route_id IS NOT NULL AND created_at > %(since)s
GROUP BY route_id

-- Messages of one destination that could not be delivered, or waited while the hub was away.
-- name: read_heaps
SELECT destination_id, array_agg(id ORDER BY id), max(attempts), min(due_at)
FROM notifications
WHERE state = 'waiting' AND event NOT IN ('test', 'report')
  AND (claimed_until IS NULL OR claimed_until <= %(now)s)
GROUP BY destination_id
HAVING count(*) > %(most)s AND (max(attempts) > 0 OR min(created_at) <= %(old)s)

-- name: read_messages
SELECT id, created_at, event, severity, subject, body, html, items
FROM notifications WHERE id = ANY(%(ids)s::bigint[])
ORDER BY id
FOR UPDATE

-- name: merge
UPDATE notifications SET state = 'merged', settled_at = %(now)s
WHERE id = ANY(%(ids)s::bigint[])

-- One message of each destination that has none on its way, by this process or another one.
-- name: claim
WITH next AS (
    SELECT DISTINCT ON (destination_id) id
    FROM notifications
    WHERE state = 'waiting' AND due_at <= %(now)s
      AND NOT destination_id = ANY(%(busy)s::bigint[])
      AND (%(only)s::bigint IS NULL OR destination_id = %(only)s)
      AND NOT EXISTS (
        SELECT FROM notifications AS other
        WHERE other.destination_id = notifications.destination_id AND other.state = 'waiting'
          AND other.claimed_until > %(now)s)
    ORDER BY destination_id, due_at, id
    LIMIT %(limit)s
)
UPDATE notifications SET
    attempts = attempts + 1,
    claim = %(claim)s,
    claimed_until = %(now)s::timestamptz + %(lease)s
FROM next
WHERE notifications.id = next.id
RETURNING notifications.id, notifications.destination_id, created_at, event, severity, subject,
          body, html, items, attempts, give_up_at

-- name: read_addresses
SELECT destination_id, sealed FROM destination_addresses
WHERE %(ids)s::bigint[] IS NULL OR destination_id = ANY(%(ids)s::bigint[])

-- name: write_address
UPDATE destination_addresses SET sealed = %(sealed)s WHERE destination_id = %(id)s

-- name: settle
UPDATE notifications SET
    state = %(state)s, settled_at = %(now)s, error = %(error)s, claim = NULL, claimed_until = NULL
WHERE id = %(id)s AND claim = %(claim)s

-- name: postpone
UPDATE notifications SET
    due_at = %(due_at)s, error = %(error)s, claim = NULL, claimed_until = NULL
WHERE id = %(id)s AND claim = %(claim)s

-- name: note_success
UPDATE destinations SET last_sent_at = %(now)s, last_error = NULL, failing_since = NULL
WHERE id = %(id)s

-- name: note_failure
UPDATE destinations SET
    last_failed_at = %(now)s, last_error = %(error)s, failing_since = coalesce(failing_since, %(now)s)
WHERE id = %(id)s

-- name: read_environment
SELECT id, name, sealed
FROM destinations LEFT JOIN destination_addresses ON destination_id = id
WHERE source = 'environment'
ORDER BY id

-- name: delete_environment
DELETE FROM destinations WHERE source = 'environment' AND name <> ALL(%(names)s::text[])

-- name: delete_settled
DELETE FROM notifications WHERE settled_at < %(before)s
