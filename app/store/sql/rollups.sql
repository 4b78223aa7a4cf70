-- Refreshes rollups, compresses and drops chunks. `now` is for tests: by default the database's
-- clock counts.
--
-- Only _timescaledb_catalog, which every user may read, shows what is not materialised and whether
-- a chunk has uncompressed rows. Its instants are microseconds since 1970.

-- name: read_clock
SELECT coalesce(%(now)s::timestamptz, clock_timestamp())

-- A refresh of a rollup of a rollup reads the other's view, in which TimescaleDB 2.23 computes the
-- watermark for each row unless it bounds an index scan: 3.5 s instead of 0.5 s for an hour of
-- 5,000 jobs. JIT compilation takes 0.5 s more.
-- name: plan_for_refreshes
SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)

-- A refresh finds the updates of a minute by BRIN indexes. It reads all blocks that were added
-- since the last call: the refresh of an hour takes 17 us per row for that (see above) and blocks
-- the embedded engine. On a server autovacuum does this.
-- name: summarise_block_ranges
SELECT brin_summarize_new_values(index.oid)
FROM pg_class AS index
JOIN pg_am ON pg_am.oid = index.relam
WHERE index.relkind = 'i' AND pg_am.amname = 'brin'

-- One refresh, compression or drop at a time in all processes (timescaledb#10219): concurrent
-- refreshes may lose an invalidation, and an edge must not move during one. No effect on the
-- embedded engine, which is one session: it runs one statement at a time, and the tasks of a
-- process wait for each other.
-- name: lock
SELECT pg_advisory_lock(7305118043)

-- name: unlock
SELECT pg_advisory_unlock(7305118043)

-- name: read_edges
SELECT series, CASE WHEN isfinite(dropped_before) THEN dropped_before END FROM series_edges

-- name: advance_edge
UPDATE series_edges SET dropped_before = greatest(dropped_before, %(edge)s)
WHERE series = %(series)s

-- Status 8: rows were added after the chunk was compressed, and are not compressed yet.
-- name: read_chunks
SELECT chunks.chunk_schema AS schema, chunks.chunk_name AS name,
       chunks.range_start AS start, chunks.range_end AS end,
       chunks.is_compressed, (catalog.status & 8) <> 0 AS is_partial
FROM timescaledb_information.chunks
JOIN _timescaledb_catalog.chunk AS catalog
  ON (catalog.schema_name, catalog.table_name) = (chunks.chunk_schema, chunks.chunk_name)
LEFT JOIN timescaledb_information.continuous_aggregates AS rollup
  ON (rollup.materialization_hypertable_schema, rollup.materialization_hypertable_name)
   = (chunks.hypertable_schema, chunks.hypertable_name)
WHERE coalesce(rollup.view_schema, chunks.hypertable_schema) = current_schema()
  AND coalesce(rollup.view_name, chunks.hypertable_name) = %(series)s
ORDER BY chunks.range_start

-- The hours of a window in which the source has chunks and the rollup is not up to date: new rows,
-- ranges that a killed refresh left, and everything after the last refresh. Consecutive hours are
-- joined, up to `most_hours`.
-- name: read_stale_windows
WITH made_from AS (
    SELECT mat_hypertable_id, raw_hypertable_id
    FROM _timescaledb_catalog.continuous_agg
    WHERE format('%%I.%%I', user_view_schema, user_view_name)::regclass = %(rollup)s::regclass
), wanted AS (
    SELECT (extract(epoch FROM %(start)s::timestamptz) * 1000000)::bigint AS start,
           (extract(epoch FROM %(end)s::timestamptz) * 1000000)::bigint AS before
), stale AS (
    SELECT lowest_modified_value AS lowest, greatest_modified_value AS greatest
    FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
    JOIN made_from ON hypertable_id = raw_hypertable_id
    UNION ALL
    SELECT lowest_modified_value, greatest_modified_value
    FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
    JOIN made_from ON materialization_id = mat_hypertable_id
    UNION ALL
    SELECT lowest_modified_value, greatest_modified_value
    FROM _timescaledb_catalog.continuous_aggs_materialization_ranges
    JOIN made_from ON materialization_id = mat_hypertable_id
), parts AS (
    SELECT greatest(stale.lowest, slice.range_start, wanted.start) AS lowest,
           least(stale.greatest, slice.range_end - 1, wanted.before - 1) AS greatest
    FROM made_from
    JOIN _timescaledb_catalog.chunk ON chunk.hypertable_id = raw_hypertable_id
    JOIN _timescaledb_catalog.chunk_constraint AS member ON member.chunk_id = chunk.id
    JOIN _timescaledb_catalog.dimension_slice AS slice ON slice.id = member.dimension_slice_id
    CROSS JOIN wanted
    CROSS JOIN stale
), hours AS (
    SELECT DISTINCT hour
    FROM parts
    CROSS JOIN LATERAL generate_series(lowest / 3600000000, greatest / 3600000000) AS hour
    WHERE lowest <= greatest
)
SELECT greatest(to_timestamp(min(hour) * 3600), %(start)s),
       least(to_timestamp((max(hour) + 1) * 3600), %(end)s)
FROM (SELECT hour, hour - row_number() OVER (ORDER BY hour) AS run FROM hours) AS numbered
GROUP BY run, hour / %(most_hours)s
ORDER BY 1

-- A refresh replaces rows. In a compressed chunk that an earlier refresh had partly decompressed,
-- TimescaleDB 2.23.1 kept the old rows beside the new ones.
-- name: decompress_chunks
SELECT decompress_chunk(format('%%I.%%I', chunks.chunk_schema, chunks.chunk_name)::regclass)
FROM timescaledb_information.continuous_aggregates AS rollup
JOIN timescaledb_information.chunks
  ON (chunks.hypertable_schema, chunks.hypertable_name)
   = (rollup.materialization_hypertable_schema, rollup.materialization_hypertable_name)
WHERE rollup.view_schema = current_schema() AND rollup.view_name = %(rollup)s
  AND chunks.is_compressed
  AND chunks.range_start < %(end)s AND chunks.range_end > %(start)s

-- name: refresh
CALL refresh_continuous_aggregate(
    %(rollup)s::regclass, refreshable_from(%(source)s, %(start)s::timestamptz),
    %(end)s::timestamptz, force => %(force)s)

-- A compressed column of 16 or 32 bits a value then fills one or two blocks of 1,996 bytes, in which
-- large values are stored; with 1,000 rows it needs one more (docs/performance.md).
-- name: fit_batches
SELECT set_config(name, '920', false)
FROM pg_settings
WHERE name = 'timescaledb.compression_batch_size_limit'

-- Also compresses rows that were added to a compressed chunk. The first compression truncates the
-- chunk at its end, which waits for readers. Returns no row for a chunk that has been dropped.
-- name: compress_chunk
SELECT compress_chunk(chunk, if_not_compressed => true)
FROM to_regclass(%(chunk)s) AS chunk
WHERE chunk IS NOT NULL

-- name: read_lock_wait
SELECT current_setting('lock_timeout')

-- name: limit_lock_waits
SELECT set_config('lock_timeout', %(wait)s, false)

-- name: note_refresh
INSERT INTO rollup_refreshes (rollup, refreshed_at) VALUES (%(rollup)s, %(began_at)s)
ON CONFLICT (rollup) DO UPDATE SET refreshed_at = excluded.refreshed_at

-- The rollup's own table, and the watermark, from which on its view reads the source.
-- name: read_materialization
SELECT materialization_hypertable_schema, materialization_hypertable_name,
       greatest(_timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(id)),
                TIMESTAMPTZ 'epoch')
FROM timescaledb_information.continuous_aggregates
JOIN _timescaledb_catalog.hypertable
  ON (schema_name, table_name)
   = (materialization_hypertable_schema, materialization_hypertable_name)
WHERE view_schema = current_schema() AND view_name = %(rollup)s

-- A killed refresh leaves its unfinished ranges; the next one that touches such a range finishes
-- it.
-- name: has_unfinished_refresh
SELECT EXISTS (
    SELECT FROM _timescaledb_catalog.continuous_aggs_materialization_ranges
    JOIN _timescaledb_catalog.continuous_agg ON materialization_id = mat_hypertable_id
    WHERE user_view_schema = current_schema() AND user_view_name = %(rollup)s
      AND lowest_modified_value < extract(epoch FROM %(before)s::timestamptz) * 1000000)

-- name: count_rows
SELECT count(*) FROM {series} WHERE time >= %(start)s AND time < %(end)s

-- name: count_materialised
SELECT coalesce(sum({rows}), 0) FROM {table} WHERE bucket >= %(start)s AND bucket < %(end)s

-- name: lock_chunk
LOCK TABLE {chunk} IN SHARE MODE

-- name: drop_chunk
SELECT drop_chunks(
    %(series)s::regclass, older_than => %(end)s::timestamptz, newer_than => %(start)s::timestamptz)
