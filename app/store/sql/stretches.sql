-- The gaps and phases of a job, from its rollups but as exact as from its updates: a bucket is
-- opened only if it may hide one. For an hour job_speed_1h shows that, for a minute phase_varies.

-- name: minute_columns
bucket, updates, first_ms, last_ms, phase_first, phase_last, bytes_first, bytes_last,
coalesce(phase_varies, false) AS phase_varies

-- name: minutes_of_run
-- For runs of a few days: every minute, no hours.
minutes AS MATERIALIZED (
    SELECT {minute_columns}
    FROM job_speed_1m_materialised
    WHERE job_id = %(job_id)s AND bucket >= %(from_at)s AND bucket < %(before_at)s
    {stale_minutes}
),
spans AS NOT MATERIALIZED (
    SELECT {at_ms} + first_ms AS first_ms, {at_ms} + last_ms AS last_ms,
           updates::integer AS updates
    FROM minutes
),
{rhythm},
closed_hours AS (
    SELECT * FROM minutes WHERE false
)

-- name: minutes_of_suspect_hours
-- For longer runs: the hours, and the minutes of those that may hide a gap or a change of phase,
-- as far back as there are minutes.
hours AS MATERIALIZED (
    SELECT bucket, updates, first_ms, last_ms, phase_first, phase_last, bytes_first, bytes_last,
           coalesce(phase_varies, false) OR minutes < 60 AS is_suspect,
           longest_head_ms + longest_tail_ms AS longest_rest_ms
    FROM job_speed_1h_materialised
    WHERE job_id = %(job_id)s AND bucket >= %(from_at)s AND bucket < %(before_at)s
    {stale_hours}
),
stale_minutes AS MATERIALIZED (
    {minutes_of_stale_hours}
),
spans AS NOT MATERIALIZED (
    SELECT {at_ms} + first_ms AS first_ms, {at_ms} + last_ms AS last_ms,
           updates::integer AS updates
    FROM hours
    UNION ALL
    SELECT min({at_ms} + first_ms), max({at_ms} + last_ms), sum(updates)::integer
    FROM stale_minutes
    GROUP BY date_bin(INTERVAL '1 hour', bucket, TIMESTAMPTZ 'epoch')
),
{rhythm},
opened_hours AS (
    SELECT bucket
    FROM hours
    CROSS JOIN rhythm
    WHERE bucket >= %(minutes_from)s AND (is_suspect OR longest_rest_ms > gap_ms)
),
minutes AS MATERIALIZED (
    SELECT minute.*
    FROM opened_hours
    CROSS JOIN LATERAL (
        SELECT {minute_columns}
        FROM job_speed_1m_materialised
        WHERE job_id = %(job_id)s
            AND bucket >= opened_hours.bucket AND bucket < opened_hours.bucket + INTERVAL '1 hour'
        OFFSET 0  -- as below
    ) AS minute
    UNION ALL
    SELECT * FROM stale_minutes
),
closed_hours AS (
    SELECT bucket, updates, first_ms, last_ms, phase_first, phase_last, bytes_first, bytes_last,
           false AS phase_varies
    FROM hours
    WHERE bucket NOT IN (SELECT bucket FROM opened_hours)
)

-- name: at_ms
1000 * date_part('epoch', bucket)

-- name: rhythm
-- What a gap is longer than: three times the median distance of the run's updates, at least
-- `least_gap_ms`. Inside a span (a minute or an hour) each distance is taken as their mean. Until
-- there are `fewest_distances` there is no rhythm. The median itself is only needed where it may
-- exceed a third of `least_gap_ms`.
distances AS (
    SELECT updates - 1 AS distances, (last_ms - first_ms) / (updates - 1) AS ms
    FROM spans
    WHERE updates > 1
    UNION ALL
    SELECT 1, first_ms - lag(last_ms) OVER (ORDER BY first_ms)
    FROM spans
),
rhythm AS (
    SELECT CASE WHEN total < %(fewest_distances)s OR 2 * short >= total THEN %(least_gap_ms)s
                ELSE greatest(%(least_gap_ms)s, 3 * (
                    SELECT min(ms)
                    FROM (
                        SELECT ms, sum(distances) OVER (ORDER BY ms) AS no_longer
                        FROM distances
                        WHERE ms IS NOT NULL
                    ) AS sorted
                    WHERE 2 * no_longer >= total))
           END::integer AS gap_ms
    FROM (
        SELECT coalesce(sum(updates - 1) FILTER (
                   WHERE 3 * (last_ms - first_ms) <= %(least_gap_ms)s * (updates - 1)), 0) AS short,
               coalesce(sum(updates), 0) - 1 AS total
        FROM spans
    ) AS counted
)

-- name: no_minutes
SELECT {minute_columns} FROM job_speed_1m_materialised WHERE false

-- name: stale_minutes
-- This and the next two are left out where nothing is stale: see accurate_minutes and accurate_hours
-- in history.sql.
AND NOT bucket <@ %(stale_minutes)s::tstzmultirange
UNION ALL
{fresh_minutes}

-- name: stale_hours
AND NOT bucket <@ %(stale_hours)s::tstzmultirange

-- name: minutes_of_stale_hours
SELECT minute.*
FROM unnest(%(stale_hours)s::tstzmultirange - %(stale_minutes)s::tstzmultirange) AS part
CROSS JOIN LATERAL (
    SELECT {minute_columns}
    FROM job_speed_1m_materialised
    WHERE job_id = %(job_id)s AND bucket >= lower(part) AND bucket < upper(part)
    OFFSET 0  -- as below
) AS minute
UNION ALL
{fresh_minutes}

-- name: fresh_minutes
SELECT {minute_columns}
FROM job_minutes_of_updates(%(job_id)s, %(stale_minutes)s::tstzmultirange) AS fresh

-- name: read_stretches
WITH {minutes},
gap_length AS (
    SELECT gap_ms * INTERVAL '1 millisecond' AS gap FROM rhythm
),
opened AS MATERIALIZED (
    -- The minutes to open, not all if the phase changes all the time: for the others the first and
    -- last phases are used.
    SELECT bucket
    FROM minutes
    WHERE phase_varies AND bucket >= %(updates_from)s AND updates <= %(most_opened_updates)s
    ORDER BY bucket
    LIMIT %(most_opened)s
),
cells AS (
    SELECT bucket + first_ms * INTERVAL '1 millisecond' AS first_at,
           bucket + last_ms * INTERVAL '1 millisecond' AS last_at,
           0 AS seq, phase_first, phase_last, bytes_first, bytes_last
    FROM (
        SELECT * FROM closed_hours
        UNION ALL
        SELECT * FROM minutes WHERE NOT EXISTS (
            SELECT FROM opened WHERE opened.bucket = minutes.bucket)
    ) AS closed
    UNION ALL
    SELECT time, time, seq, current_phase, current_phase, bytes_transferred, bytes_transferred
    FROM opened
    CROSS JOIN LATERAL (
        SELECT time, seq, current_phase, bytes_transferred
        FROM job_telemetry
        WHERE job_id = %(job_id)s
            AND time >= opened.bucket AND time < opened.bucket + INTERVAL '1 minute'
        OFFSET 0  -- or else it may read all updates of the job, and then look for the minutes
    ) AS updates
),
neighbours AS (
    -- Each cell with what it needs of the one before. Cells do not overlap, so the order of cells is
    -- the order of time.
    SELECT cells.*, row_number() OVER in_order AS cell,
           lag(last_at) OVER in_order AS last_at_before,
           lag(phase_last) OVER in_order AS phase_before,
           lag(bytes_last) OVER in_order AS bytes_before,
           lead(first_at) OVER in_order IS NULL AS is_newest
    FROM cells
    WINDOW in_order AS (ORDER BY first_at, seq)
),
steps AS (
    -- The first and last end of each cell, each with its predecessor. Only of the few cells in which
    -- something may change: a cell a minute for a day is much to work on.
    SELECT 2 * cell + is_last::integer AS n, date_trunc('milliseconds', ends.at) AS at, is_last,
           ends.phase, ends.bytes, date_trunc('milliseconds', ends.at_before) AS at_before,
           ends.phase_before, ends.bytes_before, is_last AND is_newest AS is_newest
    FROM neighbours
    CROSS JOIN LATERAL (
        VALUES (first_at, false, phase_first, bytes_first,
                last_at_before, neighbours.phase_before, neighbours.bytes_before),
               (last_at, true, phase_last, bytes_last, first_at, phase_first, bytes_first)
    ) AS ends (at, is_last, phase, bytes, at_before, phase_before, bytes_before)
    WHERE last_at_before IS NULL
        OR is_newest
        OR first_at - last_at_before
            > (SELECT gap FROM gap_length) - INTERVAL '1 millisecond'
        OR phase_first IS DISTINCT FROM neighbours.phase_before
        OR phase_last IS DISTINCT FROM phase_first
        OR (bytes_first IS NULL) <> (neighbours.bytes_before IS NULL)
        OR (bytes_last IS NULL) <> (bytes_first IS NULL)
),
turns AS (
    -- The few steps at which something changes; the rest is computed from these. An absent value
    -- means "unchanged", and lag() sees one step back: where bytes appear or disappear both sides
    -- are kept, so that the last known value is available.
    SELECT steps.*,
           NOT is_last AND at - at_before > (SELECT gap FROM gap_length) AS ends_gap
    FROM steps
    WHERE at_before IS NULL
        OR is_newest
        OR (NOT is_last AND at - at_before > (SELECT gap FROM gap_length))
        OR (phase IS NOT NULL AND phase IS DISTINCT FROM phase_before)
        OR (bytes IS NULL) <> (bytes_before IS NULL)
),
gaps AS (
    SELECT n, at_before, at,
           greatest(at_before, %(window_from_at)s) AS from_at,
           least(at, %(window_before_at)s) AS to_at,
           count(*) OVER () AS found
    FROM (
        SELECT n, at_before, at FROM turns WHERE ends_gap
        UNION ALL  -- the silence of a live job
        SELECT n + 1, at, %(silent_until)s::timestamptz
        FROM turns
        WHERE is_newest AND %(silent_until)s::timestamptz - at > (SELECT gap FROM gap_length)
    ) AS ended
    WHERE at_before < %(window_before_at)s AND at > %(window_from_at)s
    ORDER BY least(at, %(window_before_at)s) - greatest(at_before, %(window_from_at)s) DESC, n
    LIMIT %(most)s
),
explained AS (
    -- hub_away: without the time in which the hub took no updates it would not be a gap.
    -- sender_lost: the update that ends it, known to the millisecond, reports lost updates.
    SELECT 'gap' AS kind, n,
           CASE WHEN at - at_before - coalesce(away, INTERVAL '0')
                     <= (SELECT gap FROM gap_length)
                THEN 'hub_away'
                WHEN EXISTS (
                    SELECT FROM sender_losses AS loss
                    WHERE loss.job_id = %(job_id)s
                        AND loss.time >= gaps.at
                        AND loss.time < gaps.at + INTERVAL '1 millisecond')
                THEN 'sender_lost'
                ELSE 'silence' END AS name,
           from_at, to_at, NULL::bigint AS bytes, found
    FROM gaps
    CROSS JOIN LATERAL (
        -- On the sender's clock, as the series is.
        SELECT sum(least(to_at + skew, at) - greatest(absence.from_at + skew, at_before)) AS away
        FROM hub_absences AS absence
        CROSS JOIN (
            SELECT coalesce(sum(clock_skew_seconds) FILTER (WHERE abs(clock_skew_seconds) > 5), 0)
                * INTERVAL '1 second' AS skew
            FROM jobs
            WHERE job_id = %(job_id)s
        ) AS senders
        WHERE absence.from_at + skew < at AND absence.to_at + skew > at_before
    ) AS absent
),
known AS (
    -- For each turn the last phase before it, and the last bytes up to it.
    SELECT n, at, phase, is_newest,
           last(phase, n) FILTER (WHERE phase IS NOT NULL) OVER earlier AS phase_before,
           coalesce(bytes, bytes_before,
                    last(coalesce(bytes, bytes_before), n)
                        FILTER (WHERE coalesce(bytes, bytes_before) IS NOT NULL) OVER earlier)
               AS bytes,
           first(bytes, n) FILTER (WHERE bytes IS NOT NULL) OVER (ORDER BY n
               ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS bytes_first
    FROM turns
    WINDOW earlier AS (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
runs AS (
    SELECT n, phase, begins, at AS from_at, lead(at, 1, at) OVER later AS to_at,
           greatest(lead(bytes, 1, bytes) OVER later - coalesce(bytes, bytes_first), 0) AS bytes,
           lead(bytes, 1, bytes) OVER later IS NULL AS is_unknown
    FROM (
        SELECT known.*, phase IS NOT NULL AND phase IS DISTINCT FROM phase_before AS begins
        FROM known
    ) AS begun
    WHERE begins OR is_newest
    WINDOW later AS (ORDER BY n)
),
phases AS (
    SELECT 'phase' AS kind, n, phase AS name, from_at, to_at,
           CASE WHEN NOT is_unknown THEN bytes END AS bytes,
           count(*) OVER () AS found
    FROM runs
    WHERE begins
    ORDER BY to_at - from_at DESC, n
    LIMIT %(most)s
)
SELECT kind, name, from_at, to_at, bytes, found
FROM (
    SELECT * FROM explained
    UNION ALL
    SELECT * FROM phases
    UNION ALL
    SELECT 'rhythm', 0, NULL, NULL, NULL, gap_ms, 1 FROM rhythm
) AS stretches
ORDER BY kind, n
