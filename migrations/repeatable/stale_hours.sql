-- The hours in which rollups are stale. The functions with a string body do not depend on
-- TimescaleDB's views, which an upgrade of the extension may replace.

CREATE OR REPLACE FUNCTION source_chunks(rollup_name text)
    RETURNS TABLE (range_start timestamptz, range_end timestamptz) LANGUAGE sql STABLE AS $$
SELECT chunks.range_start, chunks.range_end
FROM timescaledb_information.continuous_aggregates AS rollup
JOIN timescaledb_information.chunks USING (hypertable_schema, hypertable_name)
WHERE rollup.view_schema = current_schema() AND rollup.view_name = rollup_name
$$;
COMMENT ON FUNCTION source_chunks(text) IS 'The ranges of the chunks that a rollup is made from.';

-- Only where the source has chunks: a range may reach far beyond them.
CREATE OR REPLACE FUNCTION changed_hours(rollup_name text) RETURNS SETOF bigint
    LANGUAGE sql STABLE AS $$
SELECT DISTINCT generate_series(
    greatest(first_micros / 3600000000, slices.first_hour),
    least(last_micros / 3600000000, slices.last_hour))
FROM changed_ranges(rollup_name)
CROSS JOIN (
    SELECT extract(epoch FROM range_start)::bigint / 3600 AS first_hour,
           extract(epoch FROM range_end)::bigint / 3600 - 1 AS last_hour
    FROM source_chunks(rollup_name)
) AS slices
$$;
COMMENT ON FUNCTION changed_hours(text) IS
    'The hours of a rollup, counted from 1970-01-01, in which its source has changed and that '
    'stale_hours does not hold yet.';

CREATE OR REPLACE FUNCTION knows_changes(rollup_name text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT NOT EXISTS (SELECT FROM logged_changes(rollup_name) WHERE first_micros IS NULL)
$$;
COMMENT ON FUNCTION knows_changes(text) IS
    'Whether TimescaleDB''s log of changes can be read. If not, changed_hours returns every hour.';

-- Called in the arguments of refresh_continuous_aggregate, whose first transaction empties
-- TimescaleDB's log: with one snapshot (REPEATABLE READ) both see the same ranges. The hours of the
-- window get the claim: if another process records one of them again, it stays after this refresh.
CREATE OR REPLACE FUNCTION record_stale_hours(
    rollup_name text, window_start timestamptz, window_end timestamptz, claimed_by bigint)
    RETURNS regclass LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stale_hours AS known (rollup, hour)
    SELECT rollup_name, to_timestamp(hour * 3600) FROM changed_hours(rollup_name) AS hour
    WHERE knows_changes(rollup_name)
    ON CONFLICT (rollup, hour) DO UPDATE SET claim = NULL;
    DELETE FROM wide_writes
    USING timescaledb_information.continuous_aggregates
    WHERE view_schema = current_schema() AND view_name = rollup_name AND hypertable_name = series;
    UPDATE stale_hours SET claim = claimed_by
    WHERE rollup = rollup_name AND hour < window_end
      AND hour + interval '1 hour' > window_start;
    RETURN rollup_name::regclass;
END
$$;
COMMENT ON FUNCTION record_stale_hours(text, timestamptz, timestamptz, bigint) IS
    'Moves what changed_hours returns for a rollup to stale_hours, and claims the hours of a window; '
    'returns the rollup.';
