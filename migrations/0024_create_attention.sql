-- What needs attention, and what is usual: the series of runs, the result of each run, and the items
-- that are open (docs/decisions/0031).

-- One row per series: the runs of one type, repository and backup type of a machine.
CREATE TABLE series (
    id bigint GENERATED ALWAYS AS IDENTITY,
    vm_name text,
    job_id text,
    name text NOT NULL,
    job_type text NOT NULL,
    repository_id text,
    backup_type text,
    state text NOT NULL DEFAULT 'new',
    runs integer NOT NULL DEFAULT 0,
    last_run text,
    last_started_at timestamptz,
    last_ended_at timestamptz,
    last_good_run text,
    last_good_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    usual jsonb,
    distance_seconds double precision,
    next_expected_at timestamptz,
    overdue_at timestamptz,
    pace_step_seconds double precision,
    pace_low bigint[],
    CONSTRAINT series_pkey PRIMARY KEY (id),
    CONSTRAINT series_of_something CHECK ((vm_name IS NULL) <> (job_id IS NULL)),
    CONSTRAINT series_state_known CHECK (
        state IN ('new', 'running', 'good', 'warning', 'failed', 'cancelled'))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX series_key ON series (vm_name, job_id, job_type, repository_id, backup_type)
    NULLS NOT DISTINCT;
CREATE INDEX series_overdue_idx ON series (overdue_at) WHERE overdue_at IS NOT NULL;
COMMENT ON INDEX series_overdue_idx IS 'The task find_attention: series without a run for too long.';
CREATE INDEX series_name_idx ON series (name, id);
COMMENT ON INDEX series_name_idx IS 'GET /series, by keyset.';

-- A table of its own: a change of a live job's row by another process makes its next update slower
-- (docs/decisions/0022).
CREATE TABLE series_runs (
    id bigint NOT NULL,
    series_id bigint NOT NULL,
    started_at timestamptz NOT NULL,
    is_live boolean NOT NULL,
    result text,
    findings jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT series_runs_pkey PRIMARY KEY (id),
    CONSTRAINT series_runs_job_fkey FOREIGN KEY (id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT series_runs_result_known CHECK (result IN ('good', 'warning'))
);
CREATE INDEX series_runs_series_idx ON series_runs (series_id, started_at DESC, id DESC);
COMMENT ON INDEX series_runs_series_idx IS 'The newest runs of a series.';
CREATE INDEX series_runs_live_idx ON series_runs (series_id, started_at, id) WHERE is_live;
COMMENT ON INDEX series_runs_live_idx IS 'The task find_attention: live runs.';
CREATE INDEX series_runs_warning_idx ON series_runs (series_id, id) WHERE result = 'warning';
COMMENT ON INDEX series_runs_warning_idx IS
    'GET /jobs?result=warning, counts of completed runs by result.';

-- Appended to by triggers, so that ingest computes nothing.
CREATE TABLE changed_runs (
    n bigint GENERATED ALWAYS AS IDENTITY,
    id bigint NOT NULL,
    CONSTRAINT changed_runs_pkey PRIMARY KEY (n)
);

-- With the owner's rights: who may write jobs need not be able to write this table.
CREATE FUNCTION note_inserted_runs() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO changed_runs (id) SELECT id FROM inserted;
    RETURN NULL;
END $$;
CREATE FUNCTION note_changed_run() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO changed_runs (id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER note_inserted_runs AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION note_inserted_runs();
-- The summary is written when an ended run has got no update for a moment: then it is judged.
CREATE TRIGGER note_changed_run AFTER UPDATE ON jobs
    FOR EACH ROW
    WHEN ((OLD.status, OLD.job_type, OLD.vm_name, OLD.repository_id, OLD.backup_type)
          IS DISTINCT FROM
          (NEW.status, NEW.job_type, NEW.vm_name, NEW.repository_id, NEW.backup_type)
          OR (OLD.performance_metrics IS NULL AND NEW.performance_metrics IS NOT NULL))
    EXECUTE FUNCTION note_changed_run();

-- The runs so far, those of a machine together: each series is then judged once or twice.
INSERT INTO changed_runs (id) SELECT id FROM jobs ORDER BY vm_name, started_at, id;

CREATE TABLE attention (
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    severity text NOT NULL,
    rank smallint NOT NULL,
    is_ended boolean NOT NULL DEFAULT false,
    subject text NOT NULL,
    series_id bigint,
    job_id text,
    node_id text,
    vm_name text,
    job_type text,
    repository_id text,
    since timestamptz NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    until timestamptz,
    summary text NOT NULL,
    advice text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}',
    acknowledged_at timestamptz,
    acknowledged_by text,
    note text,
    CONSTRAINT attention_pkey PRIMARY KEY (id),
    CONSTRAINT attention_severity_known CHECK (severity IN ('critical', 'warning', 'info')),
    CONSTRAINT attention_ends_once CHECK (is_ended = (until IS NOT NULL)),
    CONSTRAINT attention_acknowledged_by_someone CHECK (
        (acknowledged_at IS NULL) = (acknowledged_by IS NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX attention_open_key ON attention (kind, subject) WHERE until IS NULL;
COMMENT ON INDEX attention_open_key IS 'A subject has at most one open item of a kind.';
CREATE INDEX attention_order_idx ON attention (is_ended, rank, since, id);
COMMENT ON INDEX attention_order_idx IS 'GET /attention: open items first, the worst and oldest first.';
CREATE INDEX attention_series_idx ON attention (series_id) WHERE series_id IS NOT NULL;
COMMENT ON INDEX attention_series_idx IS 'The items of a series.';
CREATE INDEX attention_job_idx ON attention (job_id) WHERE job_id IS NOT NULL;
COMMENT ON INDEX attention_job_idx IS 'The items of a run.';
