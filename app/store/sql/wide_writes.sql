-- What a transaction has written to a series, if whole hours lie in between (see changed_hours).

-- name: note_write
INSERT INTO wide_writes (series, hours) VALUES (%(series)s, %(hours)s::bigint[])
