-- Describes every table, rollup, column and function, with units, for `\d+` in psql and for other
-- tools. The comments on views are in analyst_views.sql, which is applied before this file.
-- tests/integration/test_analysts.py fails if one is missing.

DO $$
BEGIN
    COMMENT ON SCHEMA public IS
        'Telemetry Hub. bps are BYTES per second; network_*_rate_mbps are MEGABYTES per second. '
        'Instants are UTC. Start with docs/analysts.md.';
EXCEPTION
    WHEN insufficient_privilege THEN NULL;  -- the schema has another owner
END
$$;

COMMENT ON TABLE jobs IS
    'Every run of every job (backup, replication, restore…) and its current state.';
COMMENT ON COLUMN jobs.id IS 'Running number, in the order in which the hub first saw the runs.';
COMMENT ON COLUMN jobs.job_id IS
    'The key of the run, unique: the job''s id, given by its sender, and from the second run on '
    '<id>/<run>. See job_of(), run_of(), runs_of().';
COMMENT ON COLUMN jobs.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN jobs.vm_name IS 'The machine that the job is for.';
COMMENT ON COLUMN jobs.repository_id IS 'The backup''s target.';
COMMENT ON COLUMN jobs.backup_type IS 'full, incremental…';
COMMENT ON COLUMN jobs.status IS
    'pending (only registered), running, stalled (silent for a while), completed, failed or '
    'cancelled.';
COMMENT ON COLUMN jobs.current_phase IS 'snapshot, transferring, finalizing…; pending: not reported.';
COMMENT ON COLUMN jobs.bytes_transferred IS
    'Bytes moved; of a completed job the sum over its disks where each has reported its own.';
COMMENT ON COLUMN jobs.total_bytes IS 'Bytes to move in all; 0: not known.';
COMMENT ON COLUMN jobs.transfer_speed_bps IS
    'Last reported speed, bytes per second. An ended job keeps it.';
COMMENT ON COLUMN jobs.eta_seconds IS
    'Seconds left, as estimated by the sender, often wrong; 0 once completed.';
COMMENT ON COLUMN jobs.progress_percent IS
    'Percent done, 0 to 100: as reported, or from bytes that were reported later; 100 once completed.';
COMMENT ON COLUMN jobs.named_percent IS
    'The percent that the sender reported last, if progress_percent shows another; else NULL.';
COMMENT ON COLUMN jobs.error_message IS 'The sender''s error, or why the detector changed the status.';
COMMENT ON COLUMN jobs.warnings IS 'Warnings about the job: {"code": "sentence"}.';
COMMENT ON COLUMN jobs.created_at IS 'When the hub first saw it, hub''s clock.';
COMMENT ON COLUMN jobs.started_at IS
    'Time of its earliest update, sender''s clock; created_at while there is none.';
COMMENT ON COLUMN jobs.completed_at IS
    'When it ended in any way, sender''s clock; NULL: it has not ended.';
COMMENT ON COLUMN jobs.ended_by IS
    'Who ended it: sender, operator, or detector (failed as silent; an update revives it).';
COMMENT ON COLUMN jobs.newest_update_at IS 'Time of its newest update, sender''s clock.';
COMMENT ON COLUMN jobs.last_telemetry_at IS
    'When its last update arrived, hub''s clock; NULL: it never sent one. Nothing else changes it.';
COMMENT ON COLUMN jobs.last_progress_at IS
    'When an update last changed bytes, percent or phase, of the job or of a disk, hub''s clock. '
    'If it is much older than last_telemetry_at, the job hangs.';
COMMENT ON COLUMN jobs.clock_offset_seconds IS
    'Seconds added to timestamps of a sender whose clock is wrong; NULL: never needed.';
COMMENT ON COLUMN jobs.clock_skew_seconds IS
    'Seconds by which the sender''s clock is ahead of the hub''s, at least; negative: behind, at most. '
    'From the update that took the least time to arrive; NULL: all were more than 10 minutes old.';
COMMENT ON COLUMN jobs.interval_seconds IS
    'How often its sender reports, as the sender says, in seconds; NULL: it does not say. Silence '
    'is never shorter than three times that.';
COMMENT ON COLUMN jobs.pause_seconds IS
    'The longest silence, in seconds, after which the run had been called stalled or failed and '
    'reported again; NULL: none.';
COMMENT ON COLUMN jobs.performance_metrics IS
    'Summary of an ended job, kept for ever: peak_speed_bps, avg_speed_bps, min_speed_bps, '
    'duration_seconds, snapshots, chart_data [{t, s, p…}], phases, gaps. NULL until it is made.';
COMMENT ON COLUMN jobs.field_times IS
    'Internal: instants (µs since 1970) of the updates that each field''s value comes from.';
COMMENT ON COLUMN jobs.active_during IS
    'From started_at to completed_at; without an end while it is live.';
COMMENT ON COLUMN jobs.final_bytes IS 'bytes_transferred of an ended job; NULL while it is live.';
COMMENT ON COLUMN jobs.final_seconds IS
    'Seconds from started_at to completed_at; NULL while it is live.';
COMMENT ON COLUMN jobs.final_bps IS
    'Bytes per second over the whole run; 0 without any; NULL while it is live.';
COMMENT ON COLUMN jobs.begins_at IS
    'Internal: updates from then on are of this run, up to the next one; NULL: of the first one.';
COMMENT ON COLUMN jobs.is_announced IS
    'Whether the sender said with its first update that it begins a run.';
COMMENT ON COLUMN jobs.registered_at IS
    'When it was registered, hub''s clock; NULL: never, or before the hub kept this.';
COMMENT ON COLUMN jobs.registered IS 'Internal: values from POST /jobs, by field.';
COMMENT ON COLUMN jobs.before_verdict IS
    'Internal: the sender''s values that a status change by the detector hides: {"error_message": '
    'text or null, "disks": {disk_index: status}}. Restored by an update that revives the job.';
COMMENT ON TABLE job_runs IS 'The jobs that have several runs.';
COMMENT ON COLUMN job_runs.job_id IS 'The job''s id, which is the key of its first run.';
COMMENT ON COLUMN job_runs.runs IS 'How many runs it has.';
COMMENT ON COLUMN job_runs.newest IS 'The key (jobs.job_id) of the run that took place last.';
COMMENT ON TABLE job_disks IS 'Every disk of every job, and its current state.';
COMMENT ON COLUMN job_disks.job_id IS 'The job.';
COMMENT ON COLUMN job_disks.disk_index IS 'Number of the disk in its job, from 0.';
COMMENT ON COLUMN job_disks.status IS
    'pending, transferring, completed, failed or cancelled.';
COMMENT ON COLUMN job_disks.size_bytes IS 'Size as registered, bytes; NULL: not registered.';
COMMENT ON COLUMN job_disks.bytes_transferred IS 'Bytes moved.';
COMMENT ON COLUMN job_disks.total_bytes IS 'Bytes to move in all; 0: not known.';
COMMENT ON COLUMN job_disks.transfer_speed_bps IS 'Last reported speed, bytes per second.';
COMMENT ON COLUMN job_disks.progress_percent IS
    'Percent done, 0 to 100: as reported, or from bytes that were reported later.';
COMMENT ON COLUMN job_disks.named_percent IS
    'The percent that the sender reported last, if progress_percent shows another; else NULL.';
COMMENT ON COLUMN job_disks.error_message IS 'The sender''s error text about this disk.';
COMMENT ON COLUMN job_disks.newest_update_at IS
    'Time of the newest update that named the disk, sender''s clock.';
COMMENT ON COLUMN job_disks.field_times IS
    'Internal: instants (µs since 1970) of the updates that each field''s value comes from.';

COMMENT ON TABLE job_counts IS
    'Internal: how many jobs there are of each type, repository and status. Add those of '
    'job_count_changes; SELECT count(*) FROM jobs gives the same.';
COMMENT ON COLUMN job_counts.job_type IS 'As in jobs.';
COMMENT ON COLUMN job_counts.repository_id IS 'As in jobs.';
COMMENT ON COLUMN job_counts.status IS 'As in jobs.';
COMMENT ON COLUMN job_counts.jobs IS 'How many jobs were counted when changes were last added.';
COMMENT ON TABLE machine_job_counts IS
    'Internal: the same for each machine. Jobs without a machine are not in it.';
COMMENT ON COLUMN machine_job_counts.vm_name IS 'As in jobs.';
COMMENT ON COLUMN machine_job_counts.job_type IS 'As in jobs.';
COMMENT ON COLUMN machine_job_counts.repository_id IS 'As in jobs.';
COMMENT ON COLUMN machine_job_counts.status IS 'As in jobs.';
COMMENT ON COLUMN machine_job_counts.jobs IS
    'How many jobs were counted when changes were last added.';
COMMENT ON TABLE job_count_changes IS
    'Internal: changes of these counts since then, written by triggers of jobs. The task '
    'fold_job_counts adds them once a minute and deletes them.';
COMMENT ON COLUMN job_count_changes.vm_name IS 'As in jobs.';
COMMENT ON COLUMN job_count_changes.job_type IS 'As in jobs.';
COMMENT ON COLUMN job_count_changes.repository_id IS 'As in jobs.';
COMMENT ON COLUMN job_count_changes.status IS 'As in jobs.';
COMMENT ON COLUMN job_count_changes.jobs IS
    'By how much the number of these jobs changed; negative: fewer.';
COMMENT ON TABLE job_ends IS
    'Internal: how many runs have ended, for the counter hub_job_ends_total. Sums over these rows '
    'never decrease. A run that was failed for its silence and went on has two ends.';
COMMENT ON COLUMN job_ends.n IS 'Ascending in the order of the first end of each kind.';
COMMENT ON COLUMN job_ends.job_type IS 'As in jobs.';
COMMENT ON COLUMN job_ends.status IS 'As in jobs.';
COMMENT ON COLUMN job_ends.ended_by IS 'As in jobs.';
COMMENT ON COLUMN job_ends.ends IS 'How many such ends this row counts.';

COMMENT ON TABLE destinations IS
    'Who is told: mail, chat, a webhook… (docs/notifications.md). Addresses are elsewhere.';
COMMENT ON COLUMN destinations.id IS 'The number by which it is tested and deleted.';
COMMENT ON COLUMN destinations.name IS 'Its name, unique.';
COMMENT ON COLUMN destinations.service IS 'webhook, alertmanager, file, or a service of Apprise.';
COMMENT ON COLUMN destinations.source IS
    'Where its address comes from: table, file or environment (HUB_NOTIFY_URLS).';
COMMENT ON COLUMN destinations.changed_at IS 'When it was made or last changed, hub''s clock.';
COMMENT ON COLUMN destinations.last_sent_at IS 'When a message was last delivered, hub''s clock.';
COMMENT ON COLUMN destinations.last_failed_at IS 'When an attempt last failed, hub''s clock.';
COMMENT ON COLUMN destinations.failing_since IS
    'When the first of the attempts failed since the last message was delivered; NULL: none did.';
COMMENT ON COLUMN destinations.last_error IS 'Why the last attempt failed; NULL: it did not.';

COMMENT ON TABLE destination_addresses IS
    'Addresses of destinations, encrypted. Analysts may not read them.';
COMMENT ON COLUMN destination_addresses.destination_id IS 'The destination.';
COMMENT ON COLUMN destination_addresses.sealed IS
    'The address, or file: and a path, as a Fernet token.';

COMMENT ON TABLE notification_routes IS
    'What is told to a destination, and when. A condition that is NULL is met by every item.';
COMMENT ON COLUMN notification_routes.id IS 'The number by which it is deleted.';
COMMENT ON COLUMN notification_routes.name IS 'Its name, unique.';
COMMENT ON COLUMN notification_routes.destination_id IS 'Where its messages go.';
COMMENT ON COLUMN notification_routes.kinds IS 'Condition: kinds of items.';
COMMENT ON COLUMN notification_routes.severities IS 'Condition: severities of items.';
COMMENT ON COLUMN notification_routes.job_types IS 'Condition: types of jobs, or shell patterns.';
COMMENT ON COLUMN notification_routes.machines IS 'Condition: machines and nodes, or shell patterns.';
COMMENT ON COLUMN notification_routes.digest IS
    'at_once, five_minutes (one message at most), or daily or weekly (a report, and no items).';
COMMENT ON COLUMN notification_routes.minimum_age_seconds IS
    'How long an item must have been so, seconds.';
COMMENT ON COLUMN notification_routes.repeat_hours IS
    'After how many hours an open item is told again; NULL: never.';
COMMENT ON COLUMN notification_routes.tells_recovery IS 'Whether the end of an item is told.';
COMMENT ON COLUMN notification_routes.quiet_from IS 'When its quiet hours begin, in its time zone.';
COMMENT ON COLUMN notification_routes.quiet_to IS 'When its quiet hours end.';
COMMENT ON COLUMN notification_routes.report_hour IS 'The hour of its reports, 0 to 23.';
COMMENT ON COLUMN notification_routes.timezone IS 'IANA time zone of quiet hours and reports.';
COMMENT ON COLUMN notification_routes.changed_at IS 'When it was made or last changed, hub''s clock.';
COMMENT ON COLUMN notification_routes.begun_at IS
    'When it told what was open already; NULL: it has yet to.';
COMMENT ON COLUMN notification_routes.next_report_at IS
    'When its next report is due; NULL: it sends none.';

COMMENT ON TABLE attention_changes IS
    'Internal: items of attention that were opened, became worse or ended, until the task notify has seen it.';
COMMENT ON COLUMN attention_changes.n IS 'In the order of the changes.';
COMMENT ON COLUMN attention_changes.item_id IS 'The item: attention.id.';
COMMENT ON COLUMN attention_changes.change IS 'opened, worse or ended.';
COMMENT ON COLUMN attention_changes.changed_at IS 'When, hub''s clock.';

COMMENT ON TABLE episodes IS
    'What a route has told of a condition that is or was just now open.';
COMMENT ON COLUMN episodes.route_id IS 'The route.';
COMMENT ON COLUMN episodes.kind IS 'The kind of the items: attention.kind.';
COMMENT ON COLUMN episodes.subject IS 'Their subject: attention.subject.';
COMMENT ON COLUMN episodes.item_id IS 'The newest item: attention.id.';
COMMENT ON COLUMN episodes.state IS
    'waiting (to be told), told, or ending (over, but perhaps not for good).';
COMMENT ON COLUMN episodes.due_at IS 'When something is to be told of it next; NULL: nothing is.';
COMMENT ON COLUMN episodes.told_rank IS
    'The rank of the severity that was told; NULL: it was not told.';
COMMENT ON COLUMN episodes.told_at IS 'When it was last told, hub''s clock.';
COMMENT ON COLUMN episodes.returns IS 'How often it was over for a moment and came back.';

COMMENT ON TABLE notifications IS
    'The outbox: messages to destinations. Kept for 30 days.';
COMMENT ON COLUMN notifications.id IS 'Running number; webhooks get it as webhook-id.';
COMMENT ON COLUMN notifications.destination_id IS 'Where it goes.';
COMMENT ON COLUMN notifications.route_id IS 'The route that made it; NULL: none, or a deleted one.';
COMMENT ON COLUMN notifications.event IS
    'opened, recovered, open (again, or since before), digest (several of these), report or test.';
COMMENT ON COLUMN notifications.severity IS 'Of the worst item: critical, warning or info.';
COMMENT ON COLUMN notifications.subject IS 'Its first line.';
COMMENT ON COLUMN notifications.body IS 'Its text.';
COMMENT ON COLUMN notifications.html IS 'Its text as HTML, for mail; NULL: it has none.';
COMMENT ON COLUMN notifications.items IS 'The items that it tells of, for programs.';
COMMENT ON COLUMN notifications.state IS
    'waiting, sent, dead (given up after a day) or merged (part of a later one).';
COMMENT ON COLUMN notifications.attempts IS 'How often it was sent.';
COMMENT ON COLUMN notifications.created_at IS 'When it was written, hub''s clock.';
COMMENT ON COLUMN notifications.due_at IS 'When the next attempt is due.';
COMMENT ON COLUMN notifications.give_up_at IS 'When it is given up.';
COMMENT ON COLUMN notifications.claimed_until IS 'Until when the process that sends it now has it.';
COMMENT ON COLUMN notifications.claim IS 'The process that sends it now; NULL: none.';
COMMENT ON COLUMN notifications.settled_at IS
    'When it was delivered, given up or merged; NULL: it waits.';
COMMENT ON COLUMN notifications.error IS 'Why the last attempt failed.';

COMMENT ON TABLE rules IS
    'Thresholds by job, machine, node, phase and job type. For each setting the most specific rule '
    'applies that sets it; where none does, the hub''s settings (docs/operations.md).';
COMMENT ON COLUMN rules.id IS 'The number by which it is deleted. A later rule has a higher one.';
COMMENT ON COLUMN rules.job_id IS
    'Condition: the job''s name, without the number of a run, or a shell pattern; NULL: any.';
COMMENT ON COLUMN rules.vm_name IS 'Condition: the machine, or a shell pattern; NULL: any.';
COMMENT ON COLUMN rules.node_id IS 'Condition: the node, or a shell pattern; NULL: any.';
COMMENT ON COLUMN rules.phase IS 'Condition: the current phase; NULL: any.';
COMMENT ON COLUMN rules.job_type IS 'Condition: the type of the job; NULL: any.';
COMMENT ON COLUMN rules.stall_after_seconds IS
    'Setting: silence after which a job is stalled; NULL: not set.';
COMMENT ON COLUMN rules.fail_after_seconds IS
    'Setting: silence after which a job is failed; NULL: not set.';
COMMENT ON COLUMN rules.hung_after_seconds IS
    'Setting: time without progress after which a reporting job is hung; NULL: not set.';
COMMENT ON COLUMN rules.overdue_after_seconds IS
    'Setting: time since the last good run after which a series is overdue; NULL: not set.';
COMMENT ON COLUMN rules.schedule IS
    'Setting: when runs are due, as a cron expression of five fields; NULL: not set.';
COMMENT ON COLUMN rules.timezone IS 'The IANA time zone of the schedule; NULL: no schedule.';
COMMENT ON COLUMN rules.unusual_factor IS
    'Setting: how many times larger or smaller than usual is unusual; NULL: not set.';
COMMENT ON COLUMN rules.disk_percent_warning IS
    'Setting: percent of a node''s disk in use that is a warning; NULL: not set.';
COMMENT ON COLUMN rules.disk_percent_critical IS
    'Setting: percent of a node''s disk in use that is critical; NULL: not set.';
COMMENT ON COLUMN rules.memory_percent IS
    'Setting: percent of a node''s memory in use that is too much; NULL: not set.';
COMMENT ON COLUMN rules.mute_until IS
    'Setting: until when what the rule matches needs no attention; NULL: not set.';
COMMENT ON COLUMN rules.changed_at IS 'When it was made or last changed, hub''s clock.';

COMMENT ON TABLE series IS
    'The series of runs: those of one type, repository and backup type of a machine, or of a job '
    'without a machine. What is usual for each, and its state.';
COMMENT ON COLUMN series.id IS 'The number of the series.';
COMMENT ON COLUMN series.vm_name IS 'The machine; NULL: its runs name none.';
COMMENT ON COLUMN series.job_id IS 'The job, where no machine is named; else NULL.';
COMMENT ON COLUMN series.name IS 'vm_name, or job_id: what lists are sorted by.';
COMMENT ON COLUMN series.job_type IS 'backup, replication, restore…';
COMMENT ON COLUMN series.repository_id IS 'The repository; NULL: none is named.';
COMMENT ON COLUMN series.backup_type IS 'full, incremental…; NULL: none is named.';
COMMENT ON COLUMN series.state IS
    'Of the newest ended run: good, warning, failed or cancelled; running or new if none has ended.';
COMMENT ON COLUMN series.runs IS 'How many runs it has.';
COMMENT ON COLUMN series.last_run IS 'The newest run: the key in jobs.';
COMMENT ON COLUMN series.last_started_at IS 'When it began, sender''s clock.';
COMMENT ON COLUMN series.last_ended_at IS 'When it ended; NULL: it is live.';
COMMENT ON COLUMN series.last_bytes IS
    'Bytes that the newest ended run moved; NULL: none has ended, or it reported none.';
COMMENT ON COLUMN series.last_seconds IS 'How long that run took; NULL: none has ended.';
COMMENT ON COLUMN series.last_good_run IS
    'The newest run that completed without a contradiction: the key in jobs; NULL: none is known.';
COMMENT ON COLUMN series.last_good_at IS 'When it ended.';
COMMENT ON COLUMN series.failures IS 'Failed runs since the last completed one.';
COMMENT ON COLUMN series.usual IS
    'Median, low and high of bytes, seconds and bytes per second of the good runs, and how many '
    'runs were counted; see series_usual.';
COMMENT ON COLUMN series.distance_seconds IS
    'The usual time between two starts, seconds; NULL: it has no rhythm.';
COMMENT ON COLUMN series.next_expected_at IS 'When the next run is expected.';
COMMENT ON COLUMN series.overdue_at IS 'When the series is overdue, unless a good run comes.';
COMMENT ON COLUMN series.pace_step_seconds IS 'The step of pace_low, seconds.';
COMMENT ON COLUMN series.pace_low IS
    'What earlier runs had moved at least after one step, two steps and so on, bytes.';

COMMENT ON TABLE series_runs IS 'The series that each run belongs to, and its result.';
COMMENT ON COLUMN series_runs.id IS 'The run: jobs.id.';
COMMENT ON COLUMN series_runs.series_id IS 'Its series.';
COMMENT ON COLUMN series_runs.started_at IS 'When it began, sender''s clock: jobs.started_at.';
COMMENT ON COLUMN nodes.lost_snapshots IS
    'Snapshots that its agent had to drop so far, as far as it says.';
COMMENT ON COLUMN nodes.lost_at IS 'When it last said so, hub''s clock; NULL: never.';
COMMENT ON COLUMN series_runs.is_live IS 'Whether it was running or stalled when it was last judged.';
COMMENT ON COLUMN series_runs.result IS
    'Of a completed run: good or warning. NULL: it has not been judged, or did not complete.';
COMMENT ON COLUMN series_runs.findings IS
    'Why it is a warning: kind (suspicious or unusual), summary and evidence of each reason.';

COMMENT ON TABLE changed_runs IS 'The runs that have changed since they were judged.';
COMMENT ON COLUMN changed_runs.n IS 'Counts the changes, in their order.';
COMMENT ON COLUMN changed_runs.id IS 'The run: jobs.id.';

COMMENT ON TABLE attention IS
    'What needed or needs attention, and since when (docs/attention.md); see attention_items.';
COMMENT ON COLUMN attention.id IS 'The number by which it is acknowledged.';
COMMENT ON COLUMN attention.kind IS
    'silent, hung, failed, suspicious, unusual, overdue, overlapping, slow, node_offline, node_limit, '
    'clock, losing or hub.';
COMMENT ON COLUMN attention.severity IS 'critical, warning or info.';
COMMENT ON COLUMN attention.is_ended IS 'Whether it has ended: until is set.';
COMMENT ON COLUMN attention.rank IS 'The severity as a number: 1 is the worst.';
COMMENT ON COLUMN attention.subject IS
    'What it is about, as one text. A subject has at most one open item of a kind.';
COMMENT ON COLUMN attention.series_id IS 'The series; NULL: it is about a node or the hub.';
COMMENT ON COLUMN attention.job_id IS 'The run: the key in jobs; NULL: none.';
COMMENT ON COLUMN attention.node_id IS 'The node; NULL: none.';
COMMENT ON COLUMN attention.vm_name IS 'The machine; NULL: none.';
COMMENT ON COLUMN attention.job_type IS 'The type of the series or run; NULL: none.';
COMMENT ON COLUMN attention.repository_id IS 'The repository; NULL: none.';
COMMENT ON COLUMN attention.since IS 'When the condition began.';
COMMENT ON COLUMN attention.noticed_at IS 'When the hub noticed it.';
COMMENT ON COLUMN attention.until IS 'When the hub noticed its end; NULL: it is open.';
COMMENT ON COLUMN attention.summary IS 'What is wrong, as a sentence.';
COMMENT ON COLUMN attention.advice IS 'What to check.';
COMMENT ON COLUMN attention.evidence IS 'The numbers behind it.';
COMMENT ON COLUMN attention.acknowledged_at IS 'When it was acknowledged; NULL: it was not.';
COMMENT ON COLUMN attention.acknowledged_by IS 'By whom: the name of a token.';
COMMENT ON COLUMN attention.note IS 'What they wrote.';

COMMENT ON TABLE maintenance IS
    'Windows of planned silence: what matches is neither stalled nor failed then, and needs no '
    'attention.';
COMMENT ON COLUMN maintenance.id IS 'The number by which it is ended.';
COMMENT ON COLUMN maintenance.from_at IS 'When it begins, hub''s clock.';
COMMENT ON COLUMN maintenance.to_at IS
    'When it ends or was ended, hub''s clock; the same as from_at: cancelled before it began.';
COMMENT ON COLUMN maintenance.job_id IS
    'Condition: the job''s name, without the number of a run, or a shell pattern; NULL: any.';
COMMENT ON COLUMN maintenance.vm_name IS 'Condition: the machine, or a shell pattern; NULL: any.';
COMMENT ON COLUMN maintenance.node_id IS 'Condition: the node, or a shell pattern; NULL: any.';
COMMENT ON COLUMN maintenance.phase IS 'Condition: the current phase; NULL: any.';
COMMENT ON COLUMN maintenance.job_type IS 'Condition: the type of the job; NULL: any.';
COMMENT ON COLUMN maintenance.reason IS 'Why, as written by who planned it.';
COMMENT ON COLUMN maintenance.created_at IS 'When it was planned, hub''s clock.';

COMMENT ON TABLE job_events IS 'Log of each job: changes of its status, warnings, and what it logged, in order.';
COMMENT ON COLUMN job_events.id IS 'Running number: the order of events.';
COMMENT ON COLUMN job_events.job_id IS 'The job.';
COMMENT ON COLUMN job_events.time IS 'When the hub recorded it, hub''s clock.';
COMMENT ON COLUMN job_events.kind IS 'transition, warning or log.';
COMMENT ON COLUMN job_events.from_status IS
    'Status before; NULL for a job''s first event and for warnings.';
COMMENT ON COLUMN job_events.to_status IS 'Status after; NULL for warnings and logs.';
COMMENT ON COLUMN job_events.actor IS 'Who caused it: sender, detector, operator or hub.';
COMMENT ON COLUMN job_events.reason IS 'Why, as a sentence.';
COMMENT ON COLUMN job_events.evidence IS
    'The evidence: {"time"…}; from the detector last_seen, silent_seconds, threshold_seconds.';

COMMENT ON TABLE job_telemetry IS
    'Series of every update, as stored; the view job_updates shows it as it was reported. Kept for '
    'HUB_RAW_RETENTION_DAYS (30).';
COMMENT ON COLUMN job_telemetry.time IS
    'The update''s timestamp, sender''s clock; the hub''s where the sender gave none or its clock '
    'was wrong (see sender_time).';
COMMENT ON COLUMN job_telemetry.arrival_lag_ms IS
    'Milliseconds from time (sender''s clock) to arrival (hub''s clock): delay and clock '
    'difference together; negative when the sender''s clock is ahead.';
COMMENT ON COLUMN job_telemetry.job_id IS 'The job.';
COMMENT ON COLUMN job_telemetry.seq IS
    'Tells apart different updates of one job with one timestamp: 0, 1, 2… in order of arrival.';
COMMENT ON COLUMN job_telemetry.status IS 'As reported: running, completed, failed or cancelled.';
COMMENT ON COLUMN job_telemetry.current_phase IS
    'As reported: snapshot, transferring, finalizing…';
COMMENT ON COLUMN job_telemetry.bytes_transferred IS 'Bytes moved since the job''s start.';
COMMENT ON COLUMN job_telemetry.total_bytes IS 'Bytes to move in all.';
COMMENT ON COLUMN job_telemetry.transfer_speed_bps IS 'Speed, bytes per second.';
COMMENT ON COLUMN job_telemetry.eta_seconds IS 'Seconds left, as estimated by the sender.';
COMMENT ON COLUMN job_telemetry.progress_percent IS
    'Percent as reported, unless it can be computed from the bytes: see reported_percent().';
COMMENT ON COLUMN job_telemetry.percent_scale IS
    'How to compute the reported percent from the bytes; NULL: not possible. See '
    'percent_by_bytes().';
COMMENT ON COLUMN job_telemetry.error_message IS 'The sender''s error text.';
COMMENT ON COLUMN job_telemetry.vm_name IS 'The machine, where the update names it.';
COMMENT ON COLUMN job_telemetry.repository_id IS 'The backup''s target, where the update names it.';
COMMENT ON COLUMN job_telemetry.backup_type IS 'full, incremental…, where the update names it.';
COMMENT ON COLUMN job_telemetry.sender_time IS
    'The sender''s timestamp where it was too wrong to be kept as time; NULL for all others.';

COMMENT ON TABLE disk_telemetry IS
    'Series of the disk part of every update, as reported. NULL: not named, which means unchanged. '
    'Kept as long as job_telemetry.';
COMMENT ON COLUMN disk_telemetry.time IS 'Time of the update it is part of: job_telemetry.time.';
COMMENT ON COLUMN disk_telemetry.job_id IS 'The job.';
COMMENT ON COLUMN disk_telemetry.seq IS 'job_telemetry.seq of the update it is part of.';
COMMENT ON COLUMN disk_telemetry.disk_index IS 'Number of the disk in its job, from 0.';
COMMENT ON COLUMN disk_telemetry.status IS
    'As reported: pending, transferring, completed or failed.';
COMMENT ON COLUMN disk_telemetry.bytes_transferred IS 'Bytes moved of this disk.';
COMMENT ON COLUMN disk_telemetry.total_bytes IS 'Bytes of this disk to move in all.';
COMMENT ON COLUMN disk_telemetry.transfer_speed_bps IS 'Speed, bytes per second.';
COMMENT ON COLUMN disk_telemetry.progress_percent IS 'Percent done, 0 to 100, as reported.';
COMMENT ON COLUMN disk_telemetry.error_message IS 'The sender''s error text about this disk.';

COMMENT ON TABLE nodes IS 'Every machine with an agent, with its newest snapshot.';
COMMENT ON COLUMN nodes.node_id IS 'The node''s name, given by its agent; unique.';
COMMENT ON COLUMN nodes.first_seen_at IS 'When its first snapshot arrived, hub''s clock.';
COMMENT ON COLUMN nodes.last_seen_at IS 'When its last snapshot arrived, hub''s clock.';
COMMENT ON COLUMN nodes.newest_snapshot_at IS 'Time of the snapshot shown here, node''s clock.';
COMMENT ON COLUMN nodes.clock_offset_seconds IS
    'Seconds added to timestamps of a node whose clock is wrong; NULL: never needed.';

COMMENT ON TABLE node_telemetry IS
    'Series of every snapshot. NULL: not named. Kept for HUB_RAW_RETENTION_DAYS (30).';
COMMENT ON COLUMN node_telemetry.time IS
    'The snapshot''s timestamp, node''s clock; the hub''s where the node gave none or its clock '
    'was wrong (see sender_time).';
COMMENT ON COLUMN node_telemetry.received_at IS 'When the hub stored it, database''s clock.';
COMMENT ON COLUMN node_telemetry.node_id IS 'The node.';
COMMENT ON COLUMN node_telemetry.seq IS
    'Tells apart different snapshots of one node with one timestamp: 0, 1, 2…';
COMMENT ON COLUMN node_telemetry.sender_time IS
    'The node''s timestamp where it was too wrong to be kept as time; NULL for all others.';

COMMENT ON VIEW job_speed_1m IS
    'Rollup of job_telemetry: one row a job and UTC minute with updates. Sums and counts, so that '
    'rows can be added up. Kept for HUB_ROLLUP_1M_RETENTION_DAYS (365).';
COMMENT ON VIEW job_speed_1h IS
    'Rollup of job_speed_1m: one row a job and UTC hour with updates. Kept for ever.';
COMMENT ON VIEW disk_speed_1m IS
    'Rollup of disk_telemetry: one row a disk and UTC minute with updates. Kept for '
    'HUB_ROLLUP_1M_RETENTION_DAYS (365).';
COMMENT ON VIEW disk_speed_1h IS
    'Rollup of disk_speed_1m: one row a disk and UTC hour with updates. Kept for ever.';
COMMENT ON COLUMN disk_speed_1m.disk_index IS 'Number of the disk in its job, from 0.';
COMMENT ON COLUMN disk_speed_1h.disk_index IS 'Number of the disk in its job, from 0.';
COMMENT ON COLUMN job_speed_1h.minutes IS 'Minutes of the hour with updates.';
COMMENT ON COLUMN job_speed_1h.longest_head_ms IS
    'Longest time from the start of a minute to its first update, milliseconds.';
COMMENT ON COLUMN job_speed_1h.longest_tail_ms IS
    'Longest time from a minute''s last update to its end, milliseconds.';

COMMENT ON VIEW node_telemetry_1m IS
    'Rollup of node_telemetry: one row a node and UTC minute with snapshots; five columns a '
    'metric. _min, _max and _last are NULL where one snapshot reported the metric: then they are '
    '_sum. Kept for HUB_ROLLUP_1M_RETENTION_DAYS (365).';
COMMENT ON VIEW node_telemetry_1h IS
    'Rollup of node_telemetry_1m: one row a node and UTC hour with snapshots; five columns a '
    'metric. Kept for ever.';
COMMENT ON COLUMN node_telemetry_1m.node_id IS 'The node.';
COMMENT ON COLUMN node_telemetry_1m.bucket IS 'Start of the minute, UTC, on the node''s clock.';
COMMENT ON COLUMN node_telemetry_1m.snapshots IS 'Snapshots in it.';
COMMENT ON COLUMN node_telemetry_1h.node_id IS 'The node.';
COMMENT ON COLUMN node_telemetry_1h.bucket IS 'Start of the hour, UTC, on the node''s clock.';
COMMENT ON COLUMN node_telemetry_1h.snapshots IS 'Snapshots in it.';

COMMENT ON TABLE retention_clock IS
    'One row: the clock that retention trusts. Nothing is dropped while it is a day or more ahead.';
COMMENT ON COLUMN retention_clock.is_only IS 'Always true: there is one row.';
COMMENT ON COLUMN retention_clock.trusted_at IS
    'The database''s clock at the last run of the task that trusted it.';
COMMENT ON COLUMN retention_clock.runs_ahead IS
    'How many runs since have found it more than a day ahead; after 24 it is trusted again.';

COMMENT ON TABLE series_edges IS
    'How far back each series reaches: older rows were dropped.';
COMMENT ON COLUMN series_edges.series IS 'The series or the rollup.';
COMMENT ON COLUMN series_edges.dropped_before IS
    'Rows before this instant are gone; -infinity: nothing was ever dropped.';

COMMENT ON TABLE tasks IS
    'One row per scheduled task: the process that runs it, and the result of its last run.';
COMMENT ON COLUMN tasks.task_id IS 'The task: detect_stale_jobs, refresh_rollups…';
COMMENT ON COLUMN tasks.interval_seconds IS 'How often it is due, seconds.';
COMMENT ON COLUMN tasks.created_at IS 'When it was first claimed.';
COMMENT ON COLUMN tasks.lease_holder IS
    'The process that runs it now; NULL while none does. Void once lease_expires_at has passed.';
COMMENT ON COLUMN tasks.lease_expires_at IS 'When the holder''s lease expires.';
COMMENT ON COLUMN tasks.last_started_at IS 'When its last run began.';
COMMENT ON COLUMN tasks.last_finished_at IS 'When its last run ended, with or without success.';
COMMENT ON COLUMN tasks.last_duration_seconds IS 'How long that run took, seconds.';
COMMENT ON COLUMN tasks.last_result IS 'What the last run returned; NULL after a failure.';
COMMENT ON COLUMN tasks.last_error IS 'Why the last run failed; NULL after a success.';

COMMENT ON TABLE ingest_beats IS
    'One row per web process that takes updates, without a gap from up_since to beat_at. A job''s '
    'silence counts only while one does.';
COMMENT ON COLUMN ingest_beats.process_id IS 'The process: host, number and a random part.';
COMMENT ON COLUMN ingest_beats.up_since IS 'The time since which it takes updates without a gap.';
COMMENT ON COLUMN ingest_beats.beat_at IS 'Its last beat.';

COMMENT ON TABLE schema_migrations IS 'Ledger of the applied files of migrations/.';
COMMENT ON COLUMN schema_migrations.name IS 'The file.';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of its text when it was applied.';
COMMENT ON COLUMN schema_migrations.applied_at IS 'When it was last applied.';

COMMENT ON FUNCTION count_inserted_jobs() IS 'Trigger of jobs: logs how many were inserted.';
COMMENT ON FUNCTION note_inserted_runs() IS 'Trigger of jobs: notes new runs, to be judged.';
COMMENT ON FUNCTION note_changed_run() IS
    'Trigger of jobs: notes a run whose status, identity or summary changed, to be judged.';
COMMENT ON FUNCTION note_newest_runs() IS 'Lets the newest run of every series be judged again.';
COMMENT ON FUNCTION note_changed_rules() IS
    'Trigger of rules: lets the newest run of every series be judged again.';
COMMENT ON FUNCTION note_opened_items() IS 'Trigger of attention: notes new items, to be told.';
COMMENT ON FUNCTION note_changed_item() IS
    'Trigger of attention: notes an item that ended or became worse, to be told.';
COMMENT ON FUNCTION count_deleted_jobs() IS 'Trigger of jobs: logs how many were deleted.';
COMMENT ON FUNCTION count_moved_job() IS
    'Trigger of jobs: logs that a job has another status, type, machine or repository.';
COMMENT ON FUNCTION count_no_jobs() IS 'Trigger of jobs: empties the counts after a TRUNCATE.';
COMMENT ON FUNCTION job_of(text) IS 'The job''s id, from the job_id of a run.';
COMMENT ON FUNCTION run_of(text) IS 'The number of a run, from 1, from its job_id.';
COMMENT ON FUNCTION from_micros(bigint) IS 'The instant for microseconds since 1970.';
COMMENT ON FUNCTION reported_percent(double precision, smallint, bigint, bigint) IS
    'The percent an update reported, from progress_percent, percent_scale, bytes_transferred and '
    'total_bytes of job_telemetry.';
COMMENT ON FUNCTION percent_by_bytes(bigint, bigint, smallint) IS
    'Percent of total that bytes are, rounded to 1/scale; scale 0 and -1: not rounded.';
COMMENT ON FUNCTION percent_scale_of(double precision, bigint, bigint) IS
    'The scale at which percent_by_bytes() gives exactly this percent; NULL where none does.';
COMMENT ON FUNCTION series_place(timestamptz, integer) IS
    'Orders updates by time and seq, for first() and last(), which order by one value.';
COMMENT ON FUNCTION basis_points(double precision) IS 'A percent in hundredths of a percent.';
COMMENT ON FUNCTION milliseconds_between(timestamptz, timestamptz) IS
    'Milliseconds from one instant to another, cut off.';

-- The columns that all rollups of speeds have.
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT attrelid::regclass AS rollup, name, meaning
        FROM (VALUES
            ('job_id', 'The job.'),
            ('bucket', 'Start of the bucket, UTC, on the sender''s clock.'),
            ('updates', 'Updates in it.'),
            ('speed_sum', 'Sum of reported speeds, bytes per second; divide by speed_count.'),
            ('speed_count', 'Updates that reported a speed.'),
            ('speed_min', 'Lowest reported speed, zero included, bytes per second.'),
            ('speed_max', 'Highest reported speed, bytes per second.'),
            ('moving_count', 'Updates that reported a speed above zero.'),
            ('moving_min', 'Lowest reported speed above zero, bytes per second.'),
            ('bytes_first', 'bytes_transferred of the first update that reports it.'),
            ('bytes_last', 'bytes_transferred of the last update that reports it.'),
            ('progress_last_bp', 'Last reported percent, in hundredths: 5000 is 50 %.'),
            ('first_ms', 'Milliseconds from bucket to the first update in it.'),
            ('last_ms', 'Milliseconds from bucket to the last update in it.'),
            ('phase_first', 'First reported phase.'),
            ('phase_last', 'Last reported phase.'),
            ('phase_varies', 'Whether its updates reported several phases, or only some one.')
        ) AS common (name, meaning)
        JOIN pg_attribute ON attname = name
            AND attrelid = ANY (
                '{job_speed_1m, job_speed_1h, disk_speed_1m, disk_speed_1h}'::regclass[])
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', each.rollup, each.name, each.meaning);
    END LOOP;
END
$$;
COMMENT ON COLUMN job_speed_1m.moving_min IS
    'Lowest reported speed above zero, bytes per second; kept only where it is not speed_min: CASE '
    'WHEN speed_min > 0 THEN speed_min ELSE moving_min END.';
COMMENT ON COLUMN disk_speed_1m.moving_min IS
    'Lowest reported speed above zero, bytes per second; kept only where it is not speed_min: CASE '
    'WHEN speed_min > 0 THEN speed_min ELSE moving_min END.';

-- The metrics of nodes, described as in telemetry_history.
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT target.attrelid::regclass AS relation, target.attname AS name,
               part.meaning || col_description(metric.attrelid, metric.attnum) AS meaning
        FROM pg_attribute AS metric
        CROSS JOIN (VALUES
            ('', ''),
            ('_count', 'Snapshots that report it. '),
            ('_sum', 'Sum; divide by _count for the mean. '),
            ('_min', 'Lowest. '),
            ('_max', 'Highest. '),
            ('_last', 'Last reported. ')
        ) AS part (suffix, meaning)
        JOIN pg_attribute AS target ON target.attname = metric.attname || part.suffix
            AND target.attrelid = ANY (
                '{nodes, node_telemetry, node_telemetry_1m, node_telemetry_1h}'::regclass[])
        WHERE metric.attrelid = 'telemetry_history'::regclass
          AND metric.attname NOT IN ('node_id', 'timestamp')
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', each.relation, each.name, each.meaning);
    END LOOP;
END
$$;
