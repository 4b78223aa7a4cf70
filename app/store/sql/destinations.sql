-- Destinations, routes and the outbox, as administrators see and change them.

-- name: list_destinations
SELECT id, name, service, source, changed_at, last_sent_at, last_failed_at, failing_since,
       last_error,
       (SELECT count(*) FROM notifications
        WHERE destination_id = destinations.id AND state = 'waiting') AS waiting,
       (SELECT count(*) FROM notifications
        WHERE destination_id = destinations.id AND state = 'dead') AS dead
FROM destinations
ORDER BY name

-- One of the environment is not replaced: no row is returned then.
-- name: put_destination
INSERT INTO destinations (name, service, source)
VALUES (%(name)s, %(service)s, %(source)s)
ON CONFLICT (name) DO UPDATE SET
    service = excluded.service, source = excluded.source, changed_at = now(), last_error = NULL,
    failing_since = NULL
WHERE (destinations.source = 'environment') = (excluded.source = 'environment')
RETURNING id, xmax = 0 AS is_new, (SELECT count(*) FROM destinations) AS destinations

-- name: put_address
INSERT INTO destination_addresses (destination_id, sealed)
VALUES (%(id)s, %(sealed)s)
ON CONFLICT (destination_id) DO UPDATE SET sealed = excluded.sealed

-- name: delete_destination
DELETE FROM destinations WHERE id = %(id)s AND source <> 'environment' RETURNING name

-- name: list_routes
SELECT notification_routes.*, destinations.name AS destination
FROM notification_routes JOIN destinations ON destinations.id = destination_id
ORDER BY notification_routes.name

-- What is open when a route begins, or begins to match it, is told in one message: `begun_at`.
-- name: put_route
INSERT INTO notification_routes (
    name, destination_id, kinds, severities, job_types, machines, digest, minimum_age_seconds,
    repeat_hours, tells_recovery, quiet_from, quiet_to, report_hour, timezone)
VALUES (
    %(name)s, %(destination_id)s, %(kinds)s, %(severities)s, %(job_types)s, %(machines)s,
    %(digest)s, %(minimum_age_seconds)s, %(repeat_hours)s, %(tells_recovery)s, %(quiet_from)s,
    %(quiet_to)s, %(report_hour)s, %(timezone)s)
ON CONFLICT (name) DO UPDATE SET
    destination_id = excluded.destination_id,
    kinds = excluded.kinds,
    severities = excluded.severities,
    job_types = excluded.job_types,
    machines = excluded.machines,
    digest = excluded.digest,
    minimum_age_seconds = excluded.minimum_age_seconds,
    repeat_hours = excluded.repeat_hours,
    tells_recovery = excluded.tells_recovery,
    quiet_from = excluded.quiet_from,
    quiet_to = excluded.quiet_to,
    report_hour = excluded.report_hour,
    timezone = excluded.timezone,
    changed_at = now(),
    begun_at = NULL,
    next_report_at = NULL
RETURNING *, xmax = 0 AS is_new, (SELECT count(*) FROM notification_routes) AS routes

-- name: delete_route
DELETE FROM notification_routes WHERE id = %(id)s RETURNING name

-- name: list_outbox
SELECT notifications.id, destinations.name AS destination, notification_routes.name AS route,
       event, severity, subject, body, state, attempts, created_at, due_at, give_up_at,
       settled_at, error, jsonb_array_length(items) AS items
FROM notifications
JOIN destinations ON destinations.id = notifications.destination_id
LEFT JOIN notification_routes ON notification_routes.id = notifications.route_id
WHERE (%(states)s::text[] IS NULL OR state = ANY(%(states)s::text[]))
  AND (%(destination_id)s::bigint IS NULL OR notifications.destination_id = %(destination_id)s)
  AND (%(before)s::bigint IS NULL OR notifications.id < %(before)s)
  AND (%(id)s::bigint IS NULL OR notifications.id = %(id)s)
ORDER BY notifications.id DESC
LIMIT %(limit)s

-- name: insert_notifications
INSERT INTO notifications (
    destination_id, route_id, event, severity, subject, body, html, items, created_at, due_at,
    give_up_at, attempts)
SELECT v.destination_id, v.route_id, v.event, v.severity, v.subject, v.body, v.html, v.items,
       v.created_at, v.due_at, v.give_up_at, v.attempts
FROM jsonb_to_recordset(%(messages)s::jsonb) AS v (
    destination_id bigint, route_id bigint, event text, severity text, subject text, body text,
    html text, items jsonb, created_at timestamptz, due_at timestamptz, give_up_at timestamptz, attempts integer)
RETURNING id

-- name: retry
UPDATE notifications SET
    state = 'waiting', due_at = now(), give_up_at = now() + %(give_up)s, settled_at = NULL, attempts = 0
WHERE id = %(id)s AND state = 'dead'
