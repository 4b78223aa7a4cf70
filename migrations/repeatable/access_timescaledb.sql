-- All that the hub reads of TimescaleDB's own catalog; everything else uses its public views. A new
-- version may change the catalog: then these functions answer with what is safe to assume, and
-- `doctor` says so (docs/decisions/0028). The handlers' conditions include every unknown
-- name, a wrong type and a missing right. Applied first (by name): other files use it.

CREATE OR REPLACE FUNCTION logged_changes(rollup_name text)
    RETURNS TABLE (transaction xid, first_micros bigint, last_micros bigint)
    LANGUAGE plpgsql STABLE ROWS 10 AS $$
BEGIN
    RETURN QUERY
    SELECT log.xmin, lowest_modified_value, greatest_modified_value
    FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log AS log
    JOIN _timescaledb_catalog.continuous_agg ON hypertable_id = raw_hypertable_id
    WHERE user_view_schema = current_schema() AND user_view_name = rollup_name;
EXCEPTION
    WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
        RETURN QUERY SELECT NULL::xid, NULL::bigint, NULL::bigint;
END
$$;
COMMENT ON FUNCTION logged_changes(text) IS
    'TimescaleDB''s log of changes in the source of a rollup: one row per transaction and range '
    '(microseconds since 1970-01-01, both ends included). A row of NULL: it cannot be read, so '
    'anything may have changed.';

CREATE OR REPLACE FUNCTION unfinished_refreshes(rollup_name text)
    RETURNS TABLE (first_micros bigint, last_micros bigint)
    LANGUAGE plpgsql STABLE ROWS 1 AS $$
BEGIN
    RETURN QUERY
    SELECT lowest_modified_value, greatest_modified_value
    FROM _timescaledb_catalog.continuous_aggs_materialization_ranges
    JOIN _timescaledb_catalog.continuous_agg ON materialization_id = mat_hypertable_id
    WHERE user_view_schema = current_schema() AND user_view_name = rollup_name;
EXCEPTION
    WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN RETURN;
END
$$;
COMMENT ON FUNCTION unfinished_refreshes(text) IS
    'The ranges of a rollup that a killed refresh left (microseconds since 1970-01-01): the next one '
    'that touches such a range finishes it. No row also where they cannot be read: the hub''s own '
    'stale_hours still have them.';

-- Bit 8 of a chunk's status: rows were added after it was compressed.
CREATE OR REPLACE FUNCTION has_uncompressed_rows(chunk_schema text, chunk_name text)
    RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    chunk regclass := to_regclass(format('%I.%I', chunk_schema, chunk_name));
BEGIN
    RETURN chunk IS NOT NULL AND _timescaledb_functions.chunk_status(chunk) & 8 <> 0;
EXCEPTION
    WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN RETURN true;
END
$$;
COMMENT ON FUNCTION has_uncompressed_rows(text, text) IS
    'Whether a compressed chunk has rows that are not compressed. True where it cannot be known: '
    'compressing a compressed chunk does nothing.';
