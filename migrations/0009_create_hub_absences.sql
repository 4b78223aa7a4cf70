-- When no web process took updates: a gap in a job's series that fell into such a time says nothing
-- about the job.

CREATE TABLE ingest_presence (
    is_only boolean NOT NULL DEFAULT true,
    last_beat_at timestamptz NOT NULL,
    CONSTRAINT ingest_presence_pkey PRIMARY KEY (is_only),
    CONSTRAINT ingest_presence_one_row CHECK (is_only)
) WITH (fillfactor = 50);
COMMENT ON TABLE ingest_presence IS
    'One row: the last beat of any web process, also of those that have ended.';
COMMENT ON COLUMN ingest_presence.is_only IS 'Always true: there is one row.';
COMMENT ON COLUMN ingest_presence.last_beat_at IS 'When a web process last took updates.';

CREATE TABLE hub_absences (
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    CONSTRAINT hub_absences_pkey PRIMARY KEY (from_at),
    CONSTRAINT hub_absences_order CHECK (from_at < to_at)
);
COMMENT ON TABLE hub_absences IS
    'Times in which no web process took updates, for longer than a few missed beats.';
COMMENT ON COLUMN hub_absences.from_at IS 'The last beat before it; the database''s clock.';
COMMENT ON COLUMN hub_absences.to_at IS 'The first beat after it; the database''s clock.';
