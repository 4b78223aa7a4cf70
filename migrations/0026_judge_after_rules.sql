-- A rule that changes may change what is noticed about every series: their newest runs are judged
-- again.

CREATE FUNCTION note_newest_runs() RETURNS void LANGUAGE sql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO changed_runs (id)
    SELECT jobs.id FROM series JOIN jobs ON jobs.job_id = series.last_run ORDER BY series.id
$$;
CREATE FUNCTION note_changed_rules() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM note_newest_runs();
    RETURN NULL;
END $$;
CREATE TRIGGER note_changed_rules AFTER INSERT OR UPDATE OR DELETE ON rules
    FOR EACH STATEMENT EXECUTE FUNCTION note_changed_rules();
