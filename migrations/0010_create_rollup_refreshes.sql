-- Which updates each rollup has for certain: those that were there when its last refresh began.

CREATE TABLE rollup_refreshes (
    rollup text NOT NULL,
    refreshed_at timestamptz NOT NULL,
    CONSTRAINT rollup_refreshes_pkey PRIMARY KEY (rollup)
) WITH (fillfactor = 50);
COMMENT ON TABLE rollup_refreshes IS 'One row per rollup that was ever brought up to date.';
COMMENT ON COLUMN rollup_refreshes.rollup IS 'Its name.';
COMMENT ON COLUMN rollup_refreshes.refreshed_at IS
    'When the last refresh that succeeded began, on the database''s clock: what was committed before '
    'is in the rollup, or in its real-time part.';
