-- When a rollup was last rebuilt. A rebuild changes charts without changing their jobs, so it is part
-- of the version of a chart that the hub keeps ready (docs/decisions/0021).

ALTER TABLE rollup_refreshes ADD COLUMN rebuilt_at timestamptz;
COMMENT ON COLUMN rollup_refreshes.rebuilt_at IS
    'When a rebuild (`repair --rollups`) last changed it, database''s clock; NULL: never.';
