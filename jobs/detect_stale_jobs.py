"""Marks silent jobs as stalled, and later as failed; each step is an event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rules import Maintenance, RuleSet, Subject, subject_of
from app.domain.staleness import (
    Reach,
    SilenceRules,
    Threshold,
    Thresholds,
    Watch,
    fail_text,
    silent_since,
    stall_text,
)
from app.store import staleness as store
from app.store.rules import read_maintenance, read_rules
from app.store.staleness import ChangedJob, SilentJob, Verdict
from jobs.pages import change_page, read_pages

MOST_KNOWN = 20_000  # thresholds, of 0.4 KiB

logger = logging.getLogger("hub.tasks.stale")


@dataclass(frozen=True, slots=True)
class Sweep:
    """The result of a run. `errors`: jobs whose row could not be changed; see the log.

    `watched_seconds`: how long web processes have been taking updates; None: there are none, and no
    status is changed.
    """

    stalled: int
    failed: int
    errors: int
    watched_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Step:
    """One of the two changes of status: of which jobs, at which of their thresholds."""

    status: str
    reach: Callable[[SilenceRules], Reach]
    threshold: Callable[[Thresholds], Threshold]
    text: Callable[[int], str]
    change: Callable[[Connection, Sequence[Verdict], datetime, datetime | None], list[ChangedJob]]


_FAIL = _Step(
    "stalled",
    SilenceRules.reach_of_fail,
    lambda thresholds: thresholds.fail,
    fail_text,
    store.fail_jobs,
)
_STALL = _Step(
    "running",
    SilenceRules.reach_of_stall,
    lambda thresholds: thresholds.stall,
    stall_text,
    store.stall_jobs,
)


Known = dict[tuple[object, ...], Thresholds]
_known: tuple[object, Known] = (None, {})


def _known_by(rules: RuleSet, config: Config) -> Known:
    """The thresholds that earlier sweeps have found, if the rules and settings are the same."""
    global _known
    basis = (rules.rules, config.stale_after_seconds, config.fail_after_seconds)
    if _known[0] != basis:
        _known = (basis, {})
    return _known[1]


def _subject(job: SilentJob) -> Subject:
    return subject_of(job.job_type, job.phase, job.vm_name, job.key)


def run_once(database: Database, config: Config, now: datetime | None = None) -> Sweep:
    """Mark the jobs stalled or failed that have been silent for too long."""
    is_by_clock = now is None
    with database.reading() as conn:
        now, watches = store.read_watches(conn, now)
        rules = read_rules(conn)
        maintenance = read_maintenance(conn, now)
        if ahead := store.reset_future_jobs(conn, now):
            logger.warning(
                "the clock was set back; the silence of %d jobs is counted from now", ahead
            )
    detector = _Detector(
        database, config, now if is_by_clock else None, watches, rules, maintenance
    )
    # Failed first, so that a job that is stalled in this run is failed in a later one.
    failed, not_failed = detector.run(_FAIL)
    stalled, not_stalled = detector.run(_STALL)
    watched = max((watch.seconds for watch in watches), default=None)
    return Sweep(stalled, failed, not_failed + not_stalled, watched)


class _Detector:
    """One sweep: which jobs are due a status, by the rules of the moment."""

    def __init__(
        self,
        database: Database,
        config: Config,
        clock: datetime | None,
        watches: list[Watch],
        rules: RuleSet,
        maintenance: Maintenance,
    ) -> None:
        """`clock`: see `store.stall_jobs`. The moment is that of the maintenance."""
        self._database = database
        self._clock = clock
        self._watches = watches
        self._maintenance = maintenance
        self._rules = SilenceRules(rules, config.stale_after_seconds, config.fail_after_seconds)
        self._known = _known_by(rules, config)
        self._silent_since: dict[int, datetime | None] = {}  # by threshold

    def run(self, step: _Step) -> tuple[int, int]:
        """Change the silent jobs of a status; return how many were changed, and could not be."""
        reach = step.reach(self._rules)
        since, least_since = self._since(reach.seconds), self._since(reach.least_seconds)
        if least_since is None:
            return 0, 0
        changed = errors = 0

        def read(conn: Connection, after: SilentJob | None, limit: int) -> list[SilentJob]:
            return store.read_silent_jobs(
                conn,
                step.status,
                since,
                least_since=least_since,
                conditions=reach.conditions,
                after=after,
                limit=limit,
            )

        for page in read_pages(self._database, read):
            due = {job.id: verdict for job in page if (verdict := self._judge(step, job))}
            if due:
                page_changed, page_errors = self._change(step, due)
                changed += page_changed
                errors += page_errors
        return changed, errors

    def _judge(self, step: _Step, job: SilentJob) -> Verdict | None:
        """What the job is due, unless it has not been silent for its own threshold yet."""
        threshold = step.threshold(self._thresholds(job))
        since = self._since(threshold.seconds)
        if since is None or job.last_telemetry_at > since:
            return None
        planned = self._maintenance.last_covered(_subject(job))
        if planned is not None and planned > since:
            return None
        return Verdict(job.id, since, threshold, step.text(threshold.seconds))

    def _thresholds(self, job: SilentJob) -> Thresholds:
        """Kept for the next sweeps: many jobs are looked at again and again."""
        key = (
            job.job_type,
            job.phase,
            job.vm_name,
            job.key,
            job.interval_seconds,
            job.pause_seconds,
        )
        thresholds = self._known.get(key)
        if thresholds is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            thresholds = self._rules.of(_subject(job), job.interval_seconds, job.pause_seconds)
            self._known[key] = thresholds
        return thresholds

    def _since(self, threshold_seconds: int) -> datetime | None:
        if threshold_seconds not in self._silent_since:
            self._silent_since[threshold_seconds] = silent_since(self._watches, threshold_seconds)
        return self._silent_since[threshold_seconds]

    def _change(self, step: _Step, due: dict[int, Verdict]) -> tuple[int, int]:
        def change(conn: Connection, ids: Sequence[int]) -> list[ChangedJob]:
            verdicts = [due[each] for each in ids]
            return step.change(conn, verdicts, self._maintenance.now, self._clock)

        jobs, errors = change_page(self._database, list(due), change, "stale job with id")
        for job in jobs:
            logger.warning(
                "Stale job %s: %s",
                job.job_id,
                job.text,
                extra={"job_id": job.job_id, "silent_seconds": round(job.silent_seconds, 1)},
            )
        return len(jobs), errors
