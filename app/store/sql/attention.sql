-- Reads items of attention, and notes that someone has seen one.

-- name: read_item
SELECT {columns} FROM attention WHERE id = %(id)s

-- `{conditions}`: see app/store/attention.py.
-- name: list_items
SELECT {columns}
FROM attention
WHERE {conditions}
ORDER BY is_ended, rank, since, id
LIMIT %(limit)s

-- name: acknowledge
UPDATE attention SET
    acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_by = coalesce(acknowledged_by, %(by)s),
    note = coalesce(%(note)s, note)
WHERE id = %(id)s
RETURNING id
