-- The hours that a transaction has written to, where others lie in between (see changed_hours).

-- name: note_hours
INSERT INTO scattered_writes (series, hours) VALUES (%(series)s, %(hours)s::bigint[])
