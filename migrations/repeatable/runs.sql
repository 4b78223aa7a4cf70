-- The runs of jobs (docs/decisions/0025).

CREATE OR REPLACE FUNCTION find_run(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT CASE split_part(name, '/', 2)
       WHEN '' THEN coalesce((SELECT newest FROM job_runs WHERE job_id = name), name)
       WHEN '1' THEN split_part(name, '/', 1)
       ELSE name END
$$;
COMMENT ON FUNCTION find_run(text) IS
    'The jobs.job_id of a run by its name: a job''s id is its newest run, `<id>/1` the first.';

CREATE OR REPLACE FUNCTION runs_of(of_job text) RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT of_job || ARRAY(
              SELECT of_job || '/' || run
              FROM job_runs, generate_series(2, runs) AS run
              WHERE job_id = of_job) $$;
COMMENT ON FUNCTION runs_of(text) IS 'The jobs.job_id of all runs of a job.';

-- With the rights of the tables' owner, because the web workers may not change an update: this only
-- changes which run of a job it belongs to. Without a limit, because a run may have any number of
-- updates in compressed chunks.
CREATE OR REPLACE FUNCTION move_updates(source text, target text, from_at timestamptz)
    RETURNS timestamptz[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0 AS $$
DECLARE
    hours timestamptz[];
BEGIN
    IF job_of(source) <> job_of(target) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'updates stay in their job';
    END IF;
    SELECT coalesce(array_agg(DISTINCT date_trunc('hour', time)), '{}') INTO hours
    FROM (
        SELECT time FROM job_telemetry WHERE job_id = source AND time >= from_at
        UNION ALL
        SELECT time FROM disk_telemetry WHERE job_id = source AND time >= from_at
    ) AS moved;
    UPDATE job_telemetry SET job_id = target WHERE job_id = source AND time >= from_at;
    UPDATE disk_telemetry SET job_id = target WHERE job_id = source AND time >= from_at;
    UPDATE sender_losses SET job_id = target WHERE job_id = source AND time >= from_at;
    RETURN hours;
END
$$;
REVOKE EXECUTE ON FUNCTION move_updates(text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION move_updates(text, text, timestamptz) IS
    'Lets the updates of a run from an instant on belong to another run of its job; returns the '
    'hours in which it had some.';
