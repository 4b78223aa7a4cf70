-- The clock that retention trusts: a clock that is wrong must not decide what is dropped
-- (docs/decisions/0029).
CREATE TABLE retention_clock (
    is_only boolean NOT NULL DEFAULT true,
    trusted_at timestamptz NOT NULL,
    runs_ahead integer NOT NULL DEFAULT 0,
    CONSTRAINT retention_clock_pkey PRIMARY KEY (is_only),
    CONSTRAINT retention_clock_one_row CHECK (is_only)
);

-- The machine's clock may be wrong already.
INSERT INTO retention_clock (trusted_at)
SELECT last_finished_at FROM tasks
WHERE task_id = 'drop_expired_chunks' AND last_finished_at IS NOT NULL;
