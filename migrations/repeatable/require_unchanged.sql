-- Fails a statement that has written on the strength of what its process knew (see update_jobs and
-- write_at_once in app/store/sql/ingest.sql), as if transactions had conflicted.
CREATE OR REPLACE FUNCTION require_unchanged(is_unchanged boolean) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    IF NOT is_unchanged THEN
        RAISE serialization_failure USING MESSAGE = 'the rows have been changed by others';
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION require_unchanged(boolean) IS
    'Raises serialization_failure unless what a process knew of the rows still holds.';
