"""Finds what needs attention now: live runs, overdue series, nodes, and the hub itself.

What follows from ended runs is found by judge_runs.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from app.auth.scopes import ENDS_SOON
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.attention import hub
from app.domain.attention.hub import FreeSpace, LateTask
from app.domain.attention.items import Finding, Kind
from app.domain.attention.live import (
    HUNG_SECONDS,
    NEVER_STARTED,
    LiveRun,
    hung_after,
    hung_finding,
    never_started_finding,
    overlap_finding,
    sender_findings,
    slow_finding,
)
from app.domain.attention.nodes import (
    DISK_CRITICAL_PERCENT,
    DISK_WARNING_PERCENT,
    HYSTERESIS_PERCENT,
    LOSING_SHOWN,
    MEMORY_PERCENT,
    losing_finding,
    node_findings,
)
from app.domain.attention.series import RETIRED_AFTER, RUN_KINDS, overdue_finding
from app.domain.rules import Maintenance, RuleSet, Subject
from app.domain.staleness import Watch, silent_since
from app.store import conditions, live_runs
from app.store import findings as findings_store
from app.store import series as series_store
from app.store.findings import Changes
from app.store.live_runs import EarlierPhase
from app.store.rules import read_maintenance, read_rules
from app.store.series import OverdueSeries
from app.store.staleness import read_watches
from app.store.tasks import read_tasks, waited_for_tasks_seconds
from jobs.attempts import Attempts

# After an absence senders deliver what they kept: a series is not overdue before.
BACKLOG_TIME = timedelta(hours=1)
MOST_THRESHOLDS = 100_000  # kept in memory, of runs that do not go on
FAILING_TIME = timedelta(minutes=15)  # of a destination that takes no messages
SPACE_TIME = timedelta(hours=6)  # over which the growth of the database is measured


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a run of the task: items opened, changed and ended."""

    opened: int
    changed: int
    ended: int


@dataclass(frozen=True, slots=True)
class Now:
    """What every look needs."""

    at: datetime
    watches: list[Watch]
    rules: RuleSet
    maintenance: Maintenance
    opened: dict[tuple[str, str], datetime]  # since when, by kind and subject

    def is_silenced(self, subject: Subject) -> bool:
        """Whether a rule mutes the subject, or it is under maintenance."""
        return self.rules.is_muted(subject, self.at) or self.maintenance.covers(subject)


def run_once(database: Database, config: Config, now: datetime | None = None) -> Found:
    """Bring the items of attention up to date that depend on the time.

    A look that fails leaves its items as they are and stops no other. Raises HubError then, at the
    end.
    """
    _learn_thresholds(database, now)
    with database.transaction() as conn:
        at, watches = read_watches(conn, now)
        kinds: tuple[Kind, ...] = ("hung", "slow", "overdue", "node_limit")
        state = Now(
            at,
            watches,
            read_rules(conn),
            read_maintenance(conn, at, grace_seconds=config.stale_after_seconds),
            findings_store.read_open(conn, kinds),
        )
        if state.rules.has_mute_ended(_last_look(conn, at, config), at):
            series_store.note_newest_runs(conn)
        series_store.note_retired(conn, at - RETIRED_AFTER, RUN_KINDS)
        changes = Changes()
        attempts = Attempts(conn, "looked for")
        for look_kinds, look in _LOOKS:
            with attempts.attempt(" and ".join(look_kinds)), conn.transaction():
                findings = look(conn, state, config)
                changes += findings_store.reconcile(conn, look_kinds, findings, at)
        with attempts.attempt("losing nodes"), conn.transaction():
            losing = _find_losing_nodes(conn, state)
            changes += findings_store.reconcile(conn, ("losing",), losing, at, prefix="node:")
        with attempts.attempt("clock and losing"), conn.transaction():
            senders = _find_troubled_senders(conn, state)
            changes += findings_store.open_missing(conn, senders, at)  # judge_runs ends them
    attempts.raise_failed()  # what was found is committed
    return Found(changes.opened, changes.changed, changes.ended)


def _last_look(conn: Connection, at: datetime, config: Config) -> datetime:
    """When mutes that ended were last looked for, or somewhat earlier."""
    recent = at - timedelta(seconds=2 * config.sweep_seconds)
    ends = [
        task.last_finished_at for task in read_tasks(conn, at) if task.task_id == "find_attention"
    ]
    return min([recent, *(end for end in ends if end is not None)])


# Live runs.


def _learn_thresholds(database: Database, now: datetime | None) -> None:
    """Read what motionless runs are allowed, with a short transaction for each.

    Storage that hangs stops many runs at once: one transaction for all of them would block the
    embedded database.
    """
    with database.reading() as conn:
        _, watches = read_watches(conn, now)
        since = _motionless_since(watches, read_rules(conn))
        runs = [] if since is None else live_runs.read_motionless(conn, since)
    for run in runs:
        if _threshold_key(run) not in _thresholds:
            with database.reading() as conn:
                _learned_threshold(conn, run)


def _motionless_since(watches: list[Watch], rules: RuleSet) -> datetime | None:
    base = min(HUNG_SECONDS, rules.least("hung_after_seconds") or HUNG_SECONDS)
    return silent_since(watches, base)


def _find_hung(conn: Connection, now: Now, config: Config) -> list[Finding]:
    since = _motionless_since(now.watches, now.rules)
    if since is None:
        return _kept(conn, now)
    found = []
    for run in live_runs.read_motionless(conn, since):
        assert run.last_progress_at is not None
        if now.is_silenced(run.rule_subject):
            continue
        threshold = _hung_threshold(conn, now, run)
        if threshold is None:
            continue
        long_silent = silent_since(now.watches, round(threshold))
        if _stays_hung(now, run, threshold) or (
            long_silent is not None and run.last_progress_at <= long_silent
        ):
            found.append(hung_finding(run, threshold))
    return found


def _kept(conn: Connection, now: Now) -> list[Finding]:
    """The open items of hung runs, while the hub has not watched long enough to find others."""
    return [
        hung_finding(run, threshold)
        for run in live_runs.read_motionless(conn, now.at)
        if ("hung", run.item_subject) in now.opened
        and not now.is_silenced(run.rule_subject)
        and (threshold := _hung_threshold(conn, now, run)) is not None
        and _stays_hung(now, run, threshold)
    ]


def _stays_hung(now: Now, run: LiveRun, threshold_seconds: float) -> bool:
    """Whether its item is open already and a rule does not allow it more time by now."""
    since = now.opened.get(("hung", run.item_subject))
    return (
        since == run.last_progress_at
        and since is not None
        and (now.at - since >= timedelta(seconds=threshold_seconds))
    )


# By run and its last progress: while a run does not go on, neither do its pauses.
_thresholds: dict[tuple[str, datetime | None, float], float | None] = {}


def _hung_threshold(conn: Connection, now: Now, run: LiveRun) -> float | None:
    applied = now.rules.setting("hung_after_seconds", run.rule_subject)
    if applied is not None:
        return float(applied.value)
    return _learned_threshold(conn, run)


def _learned_threshold(conn: Connection, run: LiveRun) -> float | None:
    key = _threshold_key(run)
    if key not in _thresholds:
        if len(_thresholds) >= MOST_THRESHOLDS:
            _thresholds.clear()
        _thresholds[key] = _learn_threshold(conn, run)
    return _thresholds[key]


def _threshold_key(run: LiveRun) -> tuple[str, datetime | None, float]:
    return run.key, run.last_progress_at, HUNG_SECONDS


def _learn_threshold(conn: Connection, run: LiveRun) -> float | None:
    pause = live_runs.read_longest_pause(conn, run)
    earlier = EarlierPhase()
    if run.series_id is not None and run.phase is not None:
        earlier = live_runs.read_earlier_phase(conn, run.series_id, run.phase)
    return hung_after(
        HUNG_SECONDS,
        pause,
        reports_progress=run.reports_progress,
        may_be_still=run.may_be_still,
        earlier_runs=earlier.runs,
        earlier_seconds=earlier.longest_seconds,
        earlier_moved=earlier.moves_bytes,
        earlier_pause=earlier.longest_pause,
    )


def _find_slow(conn: Connection, now: Now, config: Config) -> list[Finding]:
    return [
        slow_finding(slow)
        for slow in live_runs.read_slow(conn)
        if not now.is_silenced(slow.run.rule_subject)
    ]


def _find_overlapping(conn: Connection, now: Now, config: Config) -> list[Finding]:
    return [
        overlap_finding(overlap)
        for overlap in live_runs.read_overlapping(conn)
        if not now.is_silenced(overlap.series.rule_subject)
    ]


def _find_troubled_senders(conn: Connection, now: Now) -> list[Finding]:
    return [
        finding
        for run in live_runs.read_troubled_senders(conn)
        if not now.is_silenced(run.rule_subject)
        for finding in sender_findings(run)
    ]


# Missing runs.


def _find_overdue(conn: Connection, now: Now, config: Config) -> list[Finding]:
    returned_at = conditions.read_last_return(conn, now.at)
    waits = not now.watches or (returned_at is not None and now.at < returned_at + BACKLOG_TIME)
    found = [
        overdue_finding(late.series, late.rhythm, late.last_run, late.last_good_at)
        for late in series_store.read_overdue(conn, now.at, now.at - RETIRED_AFTER)
        if _is_overdue(late, now)
    ]
    registered_from = now.at - RETIRED_AFTER
    found += [
        never_started_finding(run)
        for run in live_runs.read_never_started(conn, registered_from, now.at - NEVER_STARTED)
        if not now.is_silenced(run.rule_subject)
    ]
    if waits:
        return [finding for finding in found if finding.key in now.opened]
    return found


def _is_overdue(late: OverdueSeries, now: Now) -> bool:
    """Whether a series is overdue also without the time that it was under maintenance."""
    subject = late.series.rule_subject
    rhythm = late.rhythm
    planned = now.maintenance.seconds_covered(subject, rhythm.next_at, now.at)
    return not now.is_silenced(subject) and (
        rhythm.overdue_at + timedelta(seconds=planned) <= now.at
    )


# Nodes and the hub.


def _find_nodes(conn: Connection, now: Now, config: Config) -> list[Finding]:
    rules = now.rules
    disk = min(
        DISK_WARNING_PERCENT,
        DISK_CRITICAL_PERCENT,
        *(
            rules.least(name) or DISK_WARNING_PERCENT
            for name in ("disk_percent_warning", "disk_percent_critical")
        ),
    )
    memory = min(MEMORY_PERCENT, rules.least("memory_percent") or MEMORY_PERCENT)
    open_subjects = {subject for kind, subject in now.opened if kind == "node_limit"}
    slack = HYSTERESIS_PERCENT
    return [
        finding
        for node in conditions.read_nodes(conn, disk - slack, memory - slack)
        if not now.is_silenced(Subject(node_id=node.node_id))
        for finding in node_findings(node, rules, open_subjects)
    ]


def _find_losing_nodes(conn: Connection, now: Now) -> list[Finding]:
    return [
        losing_finding(node)
        for node in conditions.read_losing_nodes(conn, now.at - LOSING_SHOWN)
        if not now.is_silenced(Subject(node_id=node.node_id))
    ]


def _find_hub(conn: Connection, now: Now, config: Config) -> list[Finding]:
    found: list[Finding] = []
    up_seconds = waited_for_tasks_seconds(conn, now.at)
    for task in read_tasks(conn, now.at):
        since = task.last_finished_at or now.at
        # After a start of the hub every task is behind for a moment.
        is_late = task.is_late and up_seconds > task.late_after_seconds
        if is_late or task.last_error:
            error = None if is_late else task.last_error
            late = LateTask(task.task_id, since, task.interval_seconds, error)
            found.append(hub.task_finding(late))
    if not now.watches:
        last_beat_at = conditions.read_presence(conn)
        if last_beat_at is not None:
            found.append(hub.ingest_finding(last_beat_at))
    paused = conditions.read_paused_retention(conn)
    if paused is not None:
        found.append(hub.retention_finding(paused))
    found += [
        hub.token_finding(token, now.at, ENDS_SOON)
        for token in conditions.read_ending_tokens(conn, now.at, ENDS_SOON)
    ]
    found += [
        hub.destination_finding(*failing)
        for failing in conditions.read_failing_destinations(conn, now.at - FAILING_TIME)
    ]
    if config.is_embedded:
        found += _find_engine(conn, now, config)
    return found


def _find_engine(conn: Connection, now: Now, config: Config) -> list[Finding]:
    found = []
    restarted_at = conditions.read_engine_restart(conn)
    if restarted_at is not None and now.at - restarted_at < hub.RESTART_SHOWN:
        found.append(hub.restart_finding(restarted_at))
    space = hub.space_finding(_measure_space(config.data_dir, now.at))
    if space is not None:
        found.append(space)
    return found


_samples: deque[FreeSpace] = deque()


def _measure_space(directory: Path, at: datetime) -> Sequence[FreeSpace]:
    """What was free in the last hours, as far as this process has looked; ascending."""
    usage = shutil.disk_usage(directory)
    _samples.append(FreeSpace(at, usage.free, usage.total))
    while _samples[0].at < at - SPACE_TIME:
        _samples.popleft()
    return _samples


Look = Callable[[Connection, Now, Config], Iterable[Finding]]
_LOOKS: tuple[tuple[tuple[Kind, ...], Look], ...] = (
    (("hung",), _find_hung),
    (("slow",), _find_slow),
    (("overlapping",), _find_overlapping),
    (("overdue",), _find_overdue),
    (("node_offline", "node_limit"), _find_nodes),
    (("hub",), _find_hub),
)
