-- Refreshes rollups, compresses and drops chunks. `now` is for tests: by default the database's
-- clock counts.

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

-- name: read_chunks
SELECT chunks.chunk_schema AS schema, chunks.chunk_name AS name,
       chunks.range_start AS start, chunks.range_end AS end, chunks.is_compressed,
       chunks.is_compressed AND has_uncompressed_rows(chunks.chunk_schema, chunks.chunk_name)
           AS is_partial
FROM timescaledb_information.chunks
LEFT JOIN timescaledb_information.continuous_aggregates AS rollup
  ON (rollup.materialization_hypertable_schema, rollup.materialization_hypertable_name)
   = (chunks.hypertable_schema, chunks.hypertable_name)
WHERE coalesce(rollup.view_schema, chunks.hypertable_schema) = current_schema()
  AND coalesce(rollup.view_name, chunks.hypertable_name) = %(series)s
ORDER BY chunks.range_start

-- The hours of a window in which the rollup is not up to date: stale hours, ranges that a killed
-- refresh left, and everything after the last refresh. Only where the source has chunks. Consecutive
-- hours are joined, up to `most_hours`.
-- name: read_stale_windows
WITH slices AS (
    SELECT greatest(range_start, %(start)s::timestamptz) AS start,
           least(range_end, %(end)s::timestamptz) AS before
    FROM source_chunks(%(rollup)s)
), ranges AS (
    SELECT to_timestamp(first_micros / 1000000.0) AS start,
           to_timestamp(last_micros / 1000000.0) AS last
    FROM unfinished_refreshes(%(rollup)s)
    UNION ALL
    SELECT coalesce(
               (SELECT refreshed_until FROM rollup_refreshes WHERE rollup = %(rollup)s),
               '-infinity'),
           'infinity'
), hours AS (
    SELECT extract(epoch FROM hour)::bigint / 3600 AS hour
    FROM stale_hours
    WHERE rollup = %(rollup)s
      AND EXISTS (SELECT FROM slices WHERE hour < before AND hour + interval '1 hour' > start)
    UNION
    SELECT hour
    FROM changed_hours(%(rollup)s) AS hour
    WHERE EXISTS (
        SELECT FROM slices
        WHERE to_timestamp(hour * 3600) < before AND to_timestamp((hour + 1) * 3600) > start)
    UNION
    SELECT generate_series(
        floor(extract(epoch FROM greatest(ranges.start, slices.start)) / 3600)::bigint,
        ceil(extract(epoch FROM least(ranges.last, slices.before)) / 3600)::bigint - 1)
    FROM ranges
    JOIN slices ON ranges.start < slices.before AND ranges.last >= slices.start
)
SELECT greatest(to_timestamp(min(hour) * 3600), %(start)s),
       least(to_timestamp((max(hour) + 1) * 3600), %(end)s)
FROM (SELECT hour, hour - row_number() OVER (ORDER BY hour) AS run FROM hours) AS numbered
GROUP BY run, hour / %(most_hours)s
ORDER BY 1

-- name: is_refreshed
SELECT refreshed_until IS NOT NULL FROM rollup_refreshes WHERE rollup = %(rollup)s

-- name: forget_stale_hours
DELETE FROM stale_hours WHERE rollup = %(rollup)s AND claim = %(claim)s

-- name: forget_dropped_hours
DELETE FROM stale_hours WHERE rollup = %(rollup)s AND hour < %(edge)s

-- Unless something before the part has never been refreshed: then a chunk, which takes longer to
-- find out than that the part follows the last one. `epoch`: no refresh of everything has succeeded
-- yet.
-- name: note_refreshed_until
INSERT INTO rollup_refreshes AS known (rollup, refreshed_at, refreshed_until)
SELECT %(rollup)s, TIMESTAMPTZ 'epoch', %(end)s
FROM (SELECT coalesce(
        (SELECT refreshed_until FROM rollup_refreshes WHERE rollup = %(rollup)s), '-infinity')
    ) AS last (until)
WHERE until >= %(start)s
   OR NOT EXISTS (
       SELECT FROM source_chunks(%(rollup)s) WHERE range_start < %(start)s AND range_end > until)
ON CONFLICT (rollup) DO UPDATE
    SET refreshed_until = greatest(known.refreshed_until, excluded.refreshed_until)

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

-- Both functions run in the first transaction of the refresh. TimescaleDB from 2.28 on would commit
-- every ten buckets, the newest first: readers would miss what is before them until the end.
-- name: refresh
CALL refresh_continuous_aggregate(
    record_stale_hours(%(rollup)s, %(start)s, %(end)s, %(claim)s),
    refreshable_from(%(source)s, %(start)s::timestamptz), %(end)s::timestamptz,
    force => %(force)s, options => '{"buckets_per_batch": 0}')

-- The parameter cannot be set for one CALL: it is refused inside a transaction.
-- name: begin_one_snapshot
SET default_transaction_isolation TO 'repeatable read'

-- name: end_one_snapshot
RESET default_transaction_isolation

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

-- name: read_materialization
SELECT materialization_hypertable_schema, materialization_hypertable_name
FROM timescaledb_information.continuous_aggregates
WHERE view_schema = current_schema() AND view_name = %(rollup)s

-- A killed refresh leaves its unfinished ranges; the next one that touches such a range finishes
-- it.
-- name: has_unfinished_refresh
SELECT EXISTS (
    SELECT FROM unfinished_refreshes(%(rollup)s)
    WHERE first_micros < extract(epoch FROM %(before)s::timestamptz) * 1000000)

-- name: knows_changes
SELECT knows_changes(%(rollup)s)

-- name: count_rows
SELECT count(*) FROM {series} WHERE time >= %(start)s AND time < %(end)s

-- name: count_materialised
SELECT coalesce(sum({rows}), 0) FROM {table} WHERE bucket >= %(start)s AND bucket < %(end)s

-- name: lock_chunk
LOCK TABLE {chunk} IN SHARE MODE

-- name: drop_chunk
SELECT drop_chunks(
    %(series)s::regclass, older_than => %(end)s::timestamptz, newer_than => %(start)s::timestamptz)
