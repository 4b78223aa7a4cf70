-- Thresholds by type, phase, machine or job (rules), planned silence (maintenance), and what the hub
-- knows of a run's cadence (docs/decisions/0032).

-- A condition or setting that is NULL is not part of the rule.
CREATE TABLE rules (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job_id text,
    vm_name text,
    node_id text,
    phase text,
    job_type text,
    stall_after_seconds integer,
    fail_after_seconds integer,
    hung_after_seconds integer,
    overdue_after_seconds integer,
    schedule text,
    timezone text,
    unusual_factor double precision,
    disk_percent_warning double precision,
    disk_percent_critical double precision,
    memory_percent double precision,
    mute_until timestamptz,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rules_pkey PRIMARY KEY (id),
    CONSTRAINT rules_set_something CHECK (num_nonnulls(
        stall_after_seconds, fail_after_seconds, hung_after_seconds, overdue_after_seconds,
        schedule, unusual_factor, disk_percent_warning, disk_percent_critical, memory_percent,
        mute_until) > 0),
    CONSTRAINT rules_seconds_positive CHECK (
        least(stall_after_seconds, fail_after_seconds, hung_after_seconds, overdue_after_seconds) > 0),
    CONSTRAINT rules_fails_later CHECK (fail_after_seconds > stall_after_seconds),
    CONSTRAINT rules_one_rhythm CHECK (overdue_after_seconds IS NULL OR schedule IS NULL),
    CONSTRAINT rules_schedule_has_zone CHECK ((schedule IS NULL) = (timezone IS NULL)),
    CONSTRAINT rules_factor_above_one CHECK (unusual_factor > 1),
    CONSTRAINT rules_percents CHECK (
        least(disk_percent_warning, disk_percent_critical, memory_percent) > 0
        AND greatest(disk_percent_warning, disk_percent_critical, memory_percent) <= 100),
    CONSTRAINT rules_critical_above CHECK (disk_percent_critical > disk_percent_warning)
);

CREATE UNIQUE INDEX rules_conditions_once ON rules (job_id, vm_name, node_id, phase, job_type)
    NULLS NOT DISTINCT;
COMMENT ON INDEX rules_conditions_once IS
    'Two rules with the same conditions would contradict each other.';

CREATE TABLE maintenance (
    id bigint GENERATED ALWAYS AS IDENTITY,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    job_id text,
    vm_name text,
    node_id text,
    phase text,
    job_type text,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT maintenance_pkey PRIMARY KEY (id),
    -- Equal: it was cancelled before it began.
    CONSTRAINT maintenance_ends_later CHECK (to_at >= from_at)
);
CREATE INDEX maintenance_to_idx ON maintenance (to_at);
COMMENT ON INDEX maintenance_to_idx IS 'The windows that are open or recent: read_maintenance.';

ALTER TABLE jobs
    ADD COLUMN interval_seconds integer,
    ADD COLUMN pause_seconds integer,
    ADD CONSTRAINT jobs_interval_positive CHECK (interval_seconds > 0),
    ADD CONSTRAINT jobs_pause_positive CHECK (pause_seconds > 0);
