-- The views of docs/analysts.md. Names and columns are a contract: columns are only added. Comments
-- on views belong here, because the views are created again whenever this text changes. The default
-- privileges let analyst read them. A migration that drops one must also change this text.
--
-- "gb" and "mb" are 1024^3 and 1024^2 bytes, as in the queries that these views replaced.

DROP VIEW IF EXISTS job_performance, job_updates, telemetry_history, telemetry_coverage,
    update_frequency, stale_statistics, aggregation_check, running_verdicts, backup_jobs,
    backup_disks, attention_items, series_state, series_usual;

-- Without a filter on job_id this adds up every hour of every job; with one (a constant, or = ANY
-- of an array) only those of the job, by the rollup's index. What the rollups lack is taken from the
-- finer ones, at last from the updates: nothing that was stored is missing.
CREATE VIEW job_performance AS
WITH stale AS MATERIALIZED (SELECT minutes, hours FROM stale_parts('job', '-infinity', 'infinity'))
SELECT job_id,
       nullif(max(speed_max), 0) AS peak_speed_bps,
       sum(speed_sum) / nullif(sum(moving_count), 0)::double precision AS avg_speed_bps,
       min(moving_min) AS min_speed_bps,
       sum(updates)::bigint AS snapshots,
       min(first_at) AS first_at,
       max(last_at) AS last_at
FROM (
    SELECT job_id, updates, speed_sum, moving_count, moving_min, speed_max,
           bucket + first_ms * INTERVAL '1 millisecond' AS first_at,
           bucket + last_ms * INTERVAL '1 millisecond' AS last_at
    FROM job_speed_1h_materialised
    WHERE NOT bucket <@ (SELECT hours FROM stale)
    UNION ALL
    SELECT job_id, updates, speed_sum, moving_count,
           CASE WHEN speed_min > 0 THEN speed_min ELSE moving_min END, speed_max,
           bucket + first_ms * INTERVAL '1 millisecond',
           bucket + last_ms * INTERVAL '1 millisecond'
    FROM (SELECT unnest(hours - minutes) AS part FROM stale) AS stale_hours
    JOIN job_speed_1m_materialised ON bucket >= lower(part) AND bucket < upper(part)
    UNION ALL
    SELECT job_id, 1, transfer_speed_bps, (transfer_speed_bps > 0)::integer,
           CASE WHEN transfer_speed_bps > 0 THEN transfer_speed_bps END, transfer_speed_bps,
           date_trunc('milliseconds', time), date_trunc('milliseconds', time)
    FROM (SELECT unnest(minutes) AS part FROM stale) AS stale_minutes
    JOIN job_telemetry ON time >= lower(part) AND time < upper(part)
) AS accurate
GROUP BY job_id;

CREATE VIEW job_updates AS
SELECT time,
       time + arrival_lag_ms * INTERVAL '1 millisecond' AS received_at,
       job_id, seq, status, current_phase, bytes_transferred, total_bytes, transfer_speed_bps,
       eta_seconds,
       reported_percent(progress_percent, percent_scale, bytes_transferred, total_bytes)
           AS progress_percent,
       error_message, vm_name, repository_id, backup_type, sender_time
FROM job_telemetry;

CREATE VIEW telemetry_history AS
SELECT node_id, time AS "timestamp", cpu_percent, memory_percent, memory_used_mb, memory_total_mb,
       disk_percent, disk_used_gb, disk_total_gb, network_rx_bytes, network_tx_bytes,
       network_rx_rate_mbps, network_tx_rate_mbps, uptime_seconds, process_count,
       active_connections, load_avg_1m, load_avg_5m, load_avg_15m
FROM node_telemetry;

CREATE VIEW telemetry_coverage AS
SELECT status,
       count(*) AS total,
       count(last_telemetry_at) AS with_telemetry,
       count(*) - count(last_telemetry_at) AS without_telemetry,
       round(100.0 * count(last_telemetry_at) / count(*), 1)::double precision AS coverage_percent
FROM jobs
WHERE created_at > now() - INTERVAL '24 hours'
GROUP BY status;

-- An ended job's updates are counted in its summary; only a live one's are counted here.
CREATE VIEW update_frequency AS
SELECT job_id, job_type, vm_name, status, created_at, last_telemetry_at,
       extract(epoch FROM last_telemetry_at - created_at)::double precision AS telemetry_seconds,
       updates,
       extract(epoch FROM newest_update_at - started_at)::double precision
           / nullif(updates - 1, 0) AS seconds_per_update,
       bytes_transferred / 1073741824.0::double precision AS gb_transferred,
       transfer_speed_bps / 1048576.0::double precision AS mb_per_second
FROM jobs
CROSS JOIN LATERAL (
    SELECT coalesce(
        (performance_metrics ->> 'snapshots')::bigint,
        (SELECT snapshots FROM job_performance WHERE job_performance.job_id = jobs.job_id)
    ) AS updates) AS counted
WHERE last_telemetry_at IS NOT NULL;

CREATE VIEW stale_statistics AS
SELECT status, error_message, count(*) AS total,
       min(last_telemetry_at) AS oldest_telemetry_at, max(last_telemetry_at) AS newest_telemetry_at
FROM jobs
WHERE status = 'stalled' OR ended_by = 'detector'
GROUP BY status, error_message;

CREATE VIEW aggregation_check AS
SELECT job_id, job_type, vm_name, completed_at, bytes_transferred,
       disks, disk_bytes, bytes_transferred - disk_bytes AS difference_bytes,
       (bytes_transferred > 0 AND coalesce(bytes_transferred = disk_bytes, true))::integer
           AS aggregation_correct
FROM jobs
CROSS JOIN LATERAL (
    SELECT count(*) AS disks, sum(job_disks.bytes_transferred) AS disk_bytes
    FROM job_disks
    WHERE job_disks.job_id = jobs.job_id) AS summed
WHERE status = 'completed';

-- A view cannot read the hub's settings: the thresholds are the defaults of app/config.py, unless
-- set for the session or the database, as in SET hub.stale_after_seconds = '120'. A process without
-- a beat for 15 s does not count (app/domain/staleness.py). Which rule is the most specific is decided
-- in app/domain/rules.py: where one may set other thresholds, or maintenance may cover the silence,
-- the view says so.
CREATE VIEW running_verdicts AS
SELECT job_id, job_type, vm_name, status, last_telemetry_at, silent_seconds,
       CASE WHEN by_rule THEN 'by_rule'
            WHEN silent_seconds > fail_after_seconds THEN 'should_be_failed'
            WHEN silent_seconds > stale_after_seconds AND status = 'running'
            THEN 'should_be_stalled'
            ELSE 'OK' END AS verdict,
       stale_after_seconds, fail_after_seconds,
       (SELECT max(extract(epoch FROM beat_at - up_since))::double precision
        FROM ingest_beats
        WHERE beat_at >= now() - INTERVAL '15 seconds') AS watched_seconds
FROM (
    SELECT job_id, job_type, vm_name, status, last_telemetry_at,
           extract(epoch FROM now() - last_telemetry_at)::double precision AS silent_seconds,
           stall + delay AS stale_after_seconds, fail + delay AS fail_after_seconds,
           EXISTS (
               SELECT FROM (
                   SELECT job_id, vm_name, node_id, phase, job_type FROM rules
                   WHERE num_nonnulls(stall_after_seconds, fail_after_seconds) > 0
                   UNION ALL
                   SELECT job_id, vm_name, node_id, phase, job_type FROM maintenance
                   WHERE from_at <= now() AND to_at > jobs.last_telemetry_at) AS given
               WHERE node_id IS NULL
                 AND coalesce(given.job_type, jobs.job_type) = jobs.job_type
                 AND coalesce(given.phase, jobs.current_phase) = jobs.current_phase
                 AND (given.vm_name IS NULL OR given.vm_name = jobs.vm_name
                      OR given.vm_name ~ '[*?[]')
                 AND (given.job_id IS NULL OR given.job_id = job_of(jobs.job_id)
                      OR given.job_id ~ '[*?[]')) AS by_rule
    FROM jobs
    CROSS JOIN LATERAL (SELECT
        coalesce(nullif(current_setting('hub.stale_after_seconds', true), ''), '60')::integer
            AS stall,
        coalesce(nullif(current_setting('hub.fail_after_seconds', true), ''), '300')::integer
            AS fail) AS setting
    -- As judge_silence() in app/domain/staleness.py.
    CROSS JOIN LATERAL (SELECT greatest(
        3 * coalesce(interval_seconds, 0) - stall,
        least(3 * coalesce(pause_seconds, 0), greatest(fail, 10 * stall)) - stall, 0)
            AS delay) AS raised
    WHERE status IN ('running', 'stalled')) AS live;

CREATE VIEW backup_jobs AS
SELECT job_id AS id,
       vm_name || '/' || repository_id AS vm_backup_context_id,
       vm_name AS vm_context_id,
       vm_name, repository_id, backup_type, status,
       NULL::text AS repository_path,
       created_at, started_at, completed_at, bytes_transferred, total_bytes, current_phase,
       transfer_speed_bps, eta_seconds, progress_percent, last_telemetry_at, error_message,
       performance_metrics
FROM jobs
WHERE job_type = 'backup';

CREATE VIEW backup_disks AS
SELECT job_disks.job_id AS backup_job_id, disk_index, job_disks.bytes_transferred,
       job_disks.progress_percent, job_disks.status, job_disks.error_message,
       round(coalesce(size_bytes, nullif(job_disks.total_bytes, 0)) / 1073741824.0, 2) AS size_gb
FROM job_disks
JOIN jobs USING (job_id)
WHERE job_type = 'backup';

CREATE VIEW attention_items AS
SELECT id, kind, severity, subject, since, noticed_at, until,
       extract(epoch FROM coalesce(until, now()) - since)::double precision AS lasted_seconds,
       until IS NULL AS is_open, summary, advice, evidence, series_id, job_id, node_id, vm_name,
       job_type, repository_id, acknowledged_at, acknowledged_by, note
FROM attention;

CREATE VIEW series_state AS
SELECT id AS series_id, vm_name, job_id, job_type, repository_id, backup_type, state, runs,
       failures, last_run, last_started_at, last_ended_at, last_good_run, last_good_at,
       distance_seconds, next_expected_at, overdue_at, coalesce(overdue_at <= now(), false) AS is_late,
       last_bytes, last_seconds
FROM series;

CREATE VIEW series_usual AS
SELECT id AS series_id, vm_name, job_id, job_type, repository_id, backup_type, value.name,
       value.unit, (usual ->> 'runs')::integer AS counted_runs,
       (usual #>> ARRAY[value.name, 'median'])::double precision AS median,
       (usual #>> ARRAY[value.name, 'low'])::double precision AS low,
       (usual #>> ARRAY[value.name, 'high'])::double precision AS high
FROM series
CROSS JOIN (VALUES ('bytes', 'bytes'), ('seconds', 'seconds'), ('bps', 'bytes per second'))
    AS value (name, unit)
WHERE usual ? value.name;

COMMENT ON VIEW job_performance IS
    'Speeds of each job with telemetry, over all its history. Filter by job_id: otherwise it reads '
    'every job.';
COMMENT ON COLUMN job_performance.job_id IS 'The job.';
COMMENT ON COLUMN job_performance.peak_speed_bps IS
    'Highest reported speed, bytes per second; NULL when none above zero was reported.';
COMMENT ON COLUMN job_performance.avg_speed_bps IS
    'Mean of the reported speeds above zero, bytes per second; each update counts once.';
COMMENT ON COLUMN job_performance.min_speed_bps IS
    'Lowest reported speed above zero, bytes per second.';
COMMENT ON COLUMN job_performance.snapshots IS 'Updates stored, with or without a speed.';
COMMENT ON COLUMN job_performance.first_at IS
    'Time of the first update, to the millisecond, on the sender''s clock.';
COMMENT ON COLUMN job_performance.last_at IS
    'Time of the last update, to the millisecond, on the sender''s clock.';

COMMENT ON VIEW job_updates IS
    'Every update as it was reported, one row each. NULL: the update did not name the field, which '
    'means unchanged. Kept as long as job_telemetry. Filter by job_id, or by a range of time.';
COMMENT ON COLUMN job_updates.time IS
    'The update''s timestamp, sender''s clock; the hub''s where the sender gave none or its clock '
    'was wrong (see sender_time).';
COMMENT ON COLUMN job_updates.received_at IS
    'When the hub stored it, database''s clock, to the millisecond.';
COMMENT ON COLUMN job_updates.job_id IS 'The job.';
COMMENT ON COLUMN job_updates.seq IS
    'Tells apart different updates of one job with one timestamp: 0, 1, 2… in order of arrival.';
COMMENT ON COLUMN job_updates.status IS 'As reported: running, completed, failed or cancelled.';
COMMENT ON COLUMN job_updates.current_phase IS 'As reported: snapshot, transferring, finalizing…';
COMMENT ON COLUMN job_updates.bytes_transferred IS 'Bytes moved since the job''s start.';
COMMENT ON COLUMN job_updates.total_bytes IS 'Bytes to move in all.';
COMMENT ON COLUMN job_updates.transfer_speed_bps IS 'Speed, bytes per second.';
COMMENT ON COLUMN job_updates.eta_seconds IS 'Seconds left, as estimated by the sender.';
COMMENT ON COLUMN job_updates.progress_percent IS 'Percent done, 0 to 100, as reported.';
COMMENT ON COLUMN job_updates.error_message IS 'The sender''s error text.';
COMMENT ON COLUMN job_updates.vm_name IS 'The machine, where the update names it.';
COMMENT ON COLUMN job_updates.repository_id IS 'The backup''s target, where the update names it.';
COMMENT ON COLUMN job_updates.backup_type IS 'full, incremental…, where the update names it.';
COMMENT ON COLUMN job_updates.sender_time IS
    'The sender''s timestamp where it was too wrong to be kept as time; NULL for all others.';

COMMENT ON VIEW telemetry_history IS
    'Every snapshot of every node, one row each; NULL: the snapshot did not name it. Kept as long '
    'as node_telemetry.';
COMMENT ON COLUMN telemetry_history.node_id IS 'The node.';
COMMENT ON COLUMN telemetry_history."timestamp" IS 'When the node took it, node''s clock.';
COMMENT ON COLUMN telemetry_history.cpu_percent IS 'Processor use, percent.';
COMMENT ON COLUMN telemetry_history.memory_percent IS 'Memory in use, percent.';
COMMENT ON COLUMN telemetry_history.memory_used_mb IS 'Memory in use, megabytes of 1024² bytes.';
COMMENT ON COLUMN telemetry_history.memory_total_mb IS 'Memory installed, megabytes of 1024² bytes.';
COMMENT ON COLUMN telemetry_history.disk_percent IS 'Disk space in use, percent.';
COMMENT ON COLUMN telemetry_history.disk_used_gb IS 'Disk space in use, gigabytes of 1024³ bytes.';
COMMENT ON COLUMN telemetry_history.disk_total_gb IS 'Disk space in all, gigabytes of 1024³ bytes.';
COMMENT ON COLUMN telemetry_history.network_rx_bytes IS
    'Bytes received since the node''s start; falls when it restarts.';
COMMENT ON COLUMN telemetry_history.network_tx_bytes IS
    'Bytes sent since the node''s start; falls when it restarts.';
COMMENT ON COLUMN telemetry_history.network_rx_rate_mbps IS
    'Received, MEGABYTES per second (not megabits, despite the name).';
COMMENT ON COLUMN telemetry_history.network_tx_rate_mbps IS
    'Sent, MEGABYTES per second (not megabits, despite the name).';
COMMENT ON COLUMN telemetry_history.uptime_seconds IS 'Seconds since the node''s start.';
COMMENT ON COLUMN telemetry_history.process_count IS 'Processes.';
COMMENT ON COLUMN telemetry_history.active_connections IS 'Open network connections.';
COMMENT ON COLUMN telemetry_history.load_avg_1m IS 'Load average over 1 minute.';
COMMENT ON COLUMN telemetry_history.load_avg_5m IS 'Load average over 5 minutes.';
COMMENT ON COLUMN telemetry_history.load_avg_15m IS 'Load average over 15 minutes.';

COMMENT ON VIEW telemetry_coverage IS
    'Jobs created in the last 24 hours by status: how many sent telemetry. Aim for 100 percent.';
COMMENT ON COLUMN telemetry_coverage.status IS 'The jobs'' status now.';
COMMENT ON COLUMN telemetry_coverage.total IS 'Jobs.';
COMMENT ON COLUMN telemetry_coverage.with_telemetry IS 'Jobs that have sent an update.';
COMMENT ON COLUMN telemetry_coverage.without_telemetry IS
    'Jobs that have not: only registered, or ended by an older sender.';
COMMENT ON COLUMN telemetry_coverage.coverage_percent IS 'with_telemetry of total, percent.';

COMMENT ON VIEW update_frequency IS
    'How often each job with telemetry reports, and what it moved. Filter by created_at or job_id.';
COMMENT ON COLUMN update_frequency.job_id IS 'The job.';
COMMENT ON COLUMN update_frequency.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN update_frequency.vm_name IS 'The machine that the job is for.';
COMMENT ON COLUMN update_frequency.status IS 'Its status now.';
COMMENT ON COLUMN update_frequency.created_at IS 'When the hub first saw it, hub''s clock.';
COMMENT ON COLUMN update_frequency.last_telemetry_at IS
    'When its last update arrived, hub''s clock.';
COMMENT ON COLUMN update_frequency.telemetry_seconds IS
    'Seconds from created_at to last_telemetry_at.';
COMMENT ON COLUMN update_frequency.updates IS 'Updates stored.';
COMMENT ON COLUMN update_frequency.seconds_per_update IS
    'Mean distance of its updates on the sender''s clock, seconds; senders aim for 5.';
COMMENT ON COLUMN update_frequency.gb_transferred IS 'Moved so far, units of 1024^3 bytes.';
COMMENT ON COLUMN update_frequency.mb_per_second IS
    'Last reported speed, units of 1024^2 bytes per second.';

COMMENT ON VIEW stale_statistics IS
    'Jobs that the detector has stalled or failed because they were silent, by status and message, '
    'without jobs that came back.';
COMMENT ON COLUMN stale_statistics.status IS 'stalled or failed.';
COMMENT ON COLUMN stale_statistics.error_message IS 'The detector''s text.';
COMMENT ON COLUMN stale_statistics.total IS 'Jobs.';
COMMENT ON COLUMN stale_statistics.oldest_telemetry_at IS
    'The earliest last sign of life among them, hub''s clock.';
COMMENT ON COLUMN stale_statistics.newest_telemetry_at IS
    'The latest last sign of life among them, hub''s clock.';

COMMENT ON VIEW aggregation_check IS
    'Completed jobs: whether their bytes are the sum of their disks. `python -m app repair` '
    'corrects them where possible.';
COMMENT ON COLUMN aggregation_check.job_id IS 'The job.';
COMMENT ON COLUMN aggregation_check.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN aggregation_check.vm_name IS 'The machine that the job is for.';
COMMENT ON COLUMN aggregation_check.completed_at IS 'When it completed, sender''s clock.';
COMMENT ON COLUMN aggregation_check.bytes_transferred IS 'The job''s bytes.';
COMMENT ON COLUMN aggregation_check.disks IS 'Disks known of it; 0: there is nothing to compare.';
COMMENT ON COLUMN aggregation_check.disk_bytes IS 'Sum of the disks'' bytes; NULL without disks.';
COMMENT ON COLUMN aggregation_check.difference_bytes IS
    'bytes_transferred less disk_bytes; NULL without disks.';
COMMENT ON COLUMN aggregation_check.aggregation_correct IS
    '1: bytes were moved, and the disks (if any) add up to them. 0: look at this job.';

COMMENT ON VIEW running_verdicts IS
    'Running and stalled jobs, and the status that follows from their silence. If a difference '
    'persists, the detector does not run.';
COMMENT ON COLUMN running_verdicts.job_id IS 'The job.';
COMMENT ON COLUMN running_verdicts.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN running_verdicts.vm_name IS 'The machine that the job is for.';
COMMENT ON COLUMN running_verdicts.status IS 'running or stalled.';
COMMENT ON COLUMN running_verdicts.last_telemetry_at IS
    'When its last update arrived, hub''s clock; NULL: an older sender, never stalled or failed.';
COMMENT ON COLUMN running_verdicts.silent_seconds IS
    'Seconds since then, including time in which the hub was down, which the detector ignores.';
COMMENT ON COLUMN running_verdicts.verdict IS
    'OK, should_be_stalled, should_be_failed; or by_rule: a rule or maintenance may decide otherwise.';
COMMENT ON COLUMN running_verdicts.stale_after_seconds IS
    'The threshold used: the setting hub.stale_after_seconds of this session, else 60.';
COMMENT ON COLUMN running_verdicts.fail_after_seconds IS
    'The threshold used: the setting hub.fail_after_seconds of this session, else 300.';
COMMENT ON COLUMN running_verdicts.watched_seconds IS
    'For how long the hub has been taking updates without a gap; NULL: it takes none now. The '
    'detector counts no silence longer than this.';

COMMENT ON VIEW backup_jobs IS
    'Jobs of the type backup under the older names of their columns. New queries use jobs.';
COMMENT ON COLUMN backup_jobs.id IS 'jobs.job_id.';
COMMENT ON COLUMN backup_jobs.vm_backup_context_id IS
    'Machine and repository as vm_name/repository_id, for grouping; NULL where one is not known.';
COMMENT ON COLUMN backup_jobs.vm_context_id IS 'The machine: vm_name.';
COMMENT ON COLUMN backup_jobs.vm_name IS 'The machine.';
COMMENT ON COLUMN backup_jobs.repository_id IS 'The backup''s target.';
COMMENT ON COLUMN backup_jobs.backup_type IS 'full, incremental…';
COMMENT ON COLUMN backup_jobs.status IS
    'pending, running, stalled, completed, failed or cancelled.';
COMMENT ON COLUMN backup_jobs.repository_path IS 'Always NULL: senders do not report it.';
COMMENT ON COLUMN backup_jobs.created_at IS 'When the hub first saw it, hub''s clock.';
COMMENT ON COLUMN backup_jobs.started_at IS 'Time of its first update, sender''s clock.';
COMMENT ON COLUMN backup_jobs.completed_at IS 'When it ended in any way, sender''s clock.';
COMMENT ON COLUMN backup_jobs.bytes_transferred IS 'Bytes moved.';
COMMENT ON COLUMN backup_jobs.total_bytes IS 'Bytes to move in all; 0: not known.';
COMMENT ON COLUMN backup_jobs.current_phase IS 'snapshot, transferring, finalizing…';
COMMENT ON COLUMN backup_jobs.transfer_speed_bps IS 'Last reported speed, bytes per second.';
COMMENT ON COLUMN backup_jobs.eta_seconds IS 'Seconds left, as estimated by the sender.';
COMMENT ON COLUMN backup_jobs.progress_percent IS 'Percent done, 0 to 100.';
COMMENT ON COLUMN backup_jobs.last_telemetry_at IS
    'When its last update arrived, hub''s clock; NULL: it never sent one.';
COMMENT ON COLUMN backup_jobs.error_message IS 'The sender''s error, or why the detector changed the status.';
COMMENT ON COLUMN backup_jobs.performance_metrics IS 'Summary of the ended job: see jobs.';

COMMENT ON VIEW backup_disks IS
    'Disks of jobs of the type backup under their older names. New queries use job_disks.';
COMMENT ON COLUMN backup_disks.backup_job_id IS 'backup_jobs.id.';
COMMENT ON COLUMN backup_disks.disk_index IS 'Number of the disk in its job, from 0.';
COMMENT ON COLUMN backup_disks.bytes_transferred IS 'Bytes moved.';
COMMENT ON COLUMN backup_disks.progress_percent IS 'Percent done, 0 to 100.';
COMMENT ON COLUMN backup_disks.status IS
    'pending, transferring, completed, failed or cancelled.';
COMMENT ON COLUMN backup_disks.error_message IS 'The sender''s error text.';
COMMENT ON COLUMN backup_disks.size_gb IS
    'Size, units of 1024^3 bytes: as registered, else the bytes to move; NULL: not known.';

COMMENT ON VIEW attention_items IS
    'What needed or needs attention (docs/attention.md): one row each, for ever. Open: until is NULL.';
COMMENT ON COLUMN attention_items.id IS 'The number by which it is acknowledged.';
COMMENT ON COLUMN attention_items.kind IS
    'silent, hung, failed, suspicious, unusual, overdue, overlapping, slow, node_offline, node_limit, '
    'clock, losing or hub.';
COMMENT ON COLUMN attention_items.severity IS 'critical, warning or info.';
COMMENT ON COLUMN attention_items.subject IS
    'What it is about, as one text. A subject has at most one open item of a kind.';
COMMENT ON COLUMN attention_items.since IS 'When the condition began.';
COMMENT ON COLUMN attention_items.noticed_at IS 'When the hub noticed it.';
COMMENT ON COLUMN attention_items.until IS 'When the hub noticed its end; NULL: it is open.';
COMMENT ON COLUMN attention_items.lasted_seconds IS 'Seconds from since to until, or to now.';
COMMENT ON COLUMN attention_items.is_open IS 'Whether it is open.';
COMMENT ON COLUMN attention_items.summary IS 'What is wrong, as a sentence.';
COMMENT ON COLUMN attention_items.advice IS 'What to check.';
COMMENT ON COLUMN attention_items.evidence IS 'The numbers behind it.';
COMMENT ON COLUMN attention_items.series_id IS 'The series; NULL: it is about a node or the hub.';
COMMENT ON COLUMN attention_items.job_id IS 'The run: the key in jobs; NULL: none.';
COMMENT ON COLUMN attention_items.node_id IS 'The node; NULL: none.';
COMMENT ON COLUMN attention_items.vm_name IS 'The machine; NULL: none.';
COMMENT ON COLUMN attention_items.job_type IS 'The type of the series or run; NULL: none.';
COMMENT ON COLUMN attention_items.repository_id IS 'The repository; NULL: none.';
COMMENT ON COLUMN attention_items.acknowledged_at IS 'When it was acknowledged; NULL: it was not.';
COMMENT ON COLUMN attention_items.acknowledged_by IS 'By whom: the name of a token.';
COMMENT ON COLUMN attention_items.note IS 'What they wrote.';

COMMENT ON VIEW series_state IS
    'The state of each series: the runs of one type, repository and backup type of a machine, or of '
    'a job without a machine.';
COMMENT ON COLUMN series_state.series_id IS 'The number of the series.';
COMMENT ON COLUMN series_state.vm_name IS 'The machine; NULL: its runs name none.';
COMMENT ON COLUMN series_state.job_id IS 'The job, where no machine is named; else NULL.';
COMMENT ON COLUMN series_state.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN series_state.repository_id IS 'The repository; NULL: none is named.';
COMMENT ON COLUMN series_state.backup_type IS 'full, incremental…; NULL: none is named.';
COMMENT ON COLUMN series_state.state IS
    'Of the newest ended run: good, warning, failed or cancelled; running or new if none has ended.';
COMMENT ON COLUMN series_state.runs IS 'How many runs it has.';
COMMENT ON COLUMN series_state.failures IS 'Failed runs since the last completed one.';
COMMENT ON COLUMN series_state.last_run IS 'The newest run: the key in jobs.';
COMMENT ON COLUMN series_state.last_started_at IS 'When it began, sender''s clock.';
COMMENT ON COLUMN series_state.last_ended_at IS 'When it ended; NULL: it is live.';
COMMENT ON COLUMN series_state.last_good_run IS
    'The newest run that completed without a contradiction: the key in jobs; NULL: none is known.';
COMMENT ON COLUMN series_state.last_good_at IS 'When it ended.';
COMMENT ON COLUMN series_state.distance_seconds IS
    'The usual time between two starts, seconds; NULL: it has no rhythm.';
COMMENT ON COLUMN series_state.next_expected_at IS 'When the next run is expected.';
COMMENT ON COLUMN series_state.overdue_at IS 'When the series is overdue, unless a good run comes.';
COMMENT ON COLUMN series_state.is_late IS
    'Whether that time is over. The item of kind overdue takes account of absences and maintenance.';
COMMENT ON COLUMN series_state.last_bytes IS
    'Bytes that the newest ended run moved; NULL: none has ended, or it reported none.';
COMMENT ON COLUMN series_state.last_seconds IS 'How long that run took; NULL: none has ended.';

COMMENT ON VIEW series_usual IS
    'What is usual for each series that has at least five good runs: one row for size, duration and '
    'mean speed each. Below low and above high is unusual.';
COMMENT ON COLUMN series_usual.series_id IS 'The number of the series.';
COMMENT ON COLUMN series_usual.vm_name IS 'The machine; NULL: its runs name none.';
COMMENT ON COLUMN series_usual.job_id IS 'The job, where no machine is named; else NULL.';
COMMENT ON COLUMN series_usual.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN series_usual.repository_id IS 'The repository; NULL: none is named.';
COMMENT ON COLUMN series_usual.backup_type IS 'full, incremental…; NULL: none is named.';
COMMENT ON COLUMN series_usual.name IS 'bytes, seconds or bps.';
COMMENT ON COLUMN series_usual.unit IS 'The unit of the following values.';
COMMENT ON COLUMN series_usual.counted_runs IS 'The good runs that were counted, 20 at most.';
COMMENT ON COLUMN series_usual.median IS 'Their median.';
COMMENT ON COLUMN series_usual.low IS 'The lowest usual value.';
COMMENT ON COLUMN series_usual.high IS 'The highest usual value.';
