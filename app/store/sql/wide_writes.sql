-- What a transaction has written to series, if the next refresh may not find it by itself (see
-- changed_hours).

-- name: note_write
INSERT INTO wide_writes (series, hours) SELECT unnest(%(series)s::text[]), %(hours)s::bigint[]
