-- replaces: 456856ae2bcfeff5736db30408acfc8dd5cfb29ec88437dadbe08ad6cf309a4a
-- Which hours of each rollup its next refresh has to read. TimescaleDB up to 2.23 records one changed
-- range per transaction and hypertable. A backlog of a month in one transaction would make the whole
-- month stale, so ingest notes the hours that such a transaction wrote to
-- (docs/decisions/0019).

CREATE TABLE wide_writes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    series text NOT NULL,
    hours bigint[] NOT NULL,
    CONSTRAINT wide_writes_pkey PRIMARY KEY (id),
    CONSTRAINT wide_writes_some CHECK (cardinality(hours) > 1)
);
COMMENT ON TABLE wide_writes IS
    'One row per transaction that wrote rows of a series with whole hours between them. Kept until the '
    'next refresh.';
COMMENT ON COLUMN wide_writes.id IS 'In the order of writing.';
COMMENT ON COLUMN wide_writes.series IS 'The hypertable.';
COMMENT ON COLUMN wide_writes.hours IS
    'The UTC hours that it wrote to, ascending, counted from 1970-01-01.';

CREATE TABLE stale_hours (
    rollup text NOT NULL,
    hour timestamptz NOT NULL,
    claim bigint,
    CONSTRAINT stale_hours_pkey PRIMARY KEY (rollup, hour)
);
COMMENT ON TABLE stale_hours IS
    'One row per hour of a rollup in which its source has changed since it was refreshed.';
COMMENT ON COLUMN stale_hours.rollup IS 'The rollup.';
COMMENT ON COLUMN stale_hours.hour IS 'The start of the hour.';
COMMENT ON COLUMN stale_hours.claim IS
    'The refresh that has begun on it; NULL again if the source has changed since.';

ALTER TABLE rollup_refreshes ADD COLUMN refreshed_until timestamptz;
COMMENT ON COLUMN rollup_refreshes.refreshed_until IS
    'Up to when the rollup has been refreshed, apart from stale_hours. NULL: not at all.';

-- What TimescaleDB has recorded so far. The last range of a rollup has no end and begins where its
-- last refresh ended. Where the catalog has changed since, the hub finds out by refreshing everything.
DO $$
BEGIN
    INSERT INTO rollup_refreshes (rollup, refreshed_at, refreshed_until)
    SELECT user_view_name, TIMESTAMPTZ 'epoch',
           to_timestamp(max(lowest_modified_value) / 1000000.0)
    FROM _timescaledb_catalog.continuous_agg
    JOIN _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
        ON materialization_id = mat_hypertable_id
    WHERE user_view_schema = current_schema()
      AND greatest_modified_value > 9200000000000000000 AND lowest_modified_value > 0
    GROUP BY user_view_name
    ON CONFLICT (rollup) DO UPDATE SET refreshed_until = excluded.refreshed_until;

    INSERT INTO stale_hours (rollup, hour)
    SELECT DISTINCT user_view_name, to_timestamp(hour * 3600)
    FROM _timescaledb_catalog.continuous_agg
    JOIN _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
        ON materialization_id = mat_hypertable_id
    JOIN timescaledb_information.continuous_aggregates AS rollup
        ON (rollup.view_schema, rollup.view_name) = (user_view_schema, user_view_name)
    JOIN timescaledb_information.chunks USING (hypertable_schema, hypertable_name)
    CROSS JOIN LATERAL generate_series(
        greatest(lowest_modified_value / 3600000000,
                 floor(extract(epoch FROM range_start) / 3600)::bigint),
        least(greatest_modified_value / 3600000000,
              ceil(extract(epoch FROM range_end) / 3600)::bigint - 1)) AS hour
    WHERE user_view_schema = current_schema()
      AND greatest_modified_value <= 9200000000000000000;
EXCEPTION
    WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN NULL;
END
$$;
