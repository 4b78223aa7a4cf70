"""What is wrong with the hub itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.attention.items import Finding, Severity
from app.domain.attention.words import duration, instant, size

DISK_SHARE = 0.1  # of the disk that should be free
DISK_TIME = timedelta(days=1)  # that the free space should last at the present rate
RESTART_SHOWN = timedelta(hours=1)
_LEAST_SPAN = timedelta(minutes=30)  # of two measurements that give a rate


@dataclass(frozen=True, slots=True)
class LateTask:
    """A scheduled task that is late or failed."""

    task_id: str
    since: datetime
    interval_seconds: int
    error: str | None  # None: it is late


@dataclass(frozen=True, slots=True)
class ExpiringToken:
    """A token that expires soon or has expired lately."""

    token_id: str
    name: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """What was free on the disk of the database, bytes."""

    at: datetime
    free: int
    total: int


def task_finding(task: LateTask) -> Finding:
    """A scheduled task does not do its work."""
    if task.error is None:
        usual = duration(task.interval_seconds)
        summary = (
            f"The task {task.task_id}, due every {usual}, has not run since {instant(task.since)}."
        )
    else:
        summary = f"The task {task.task_id} failed: {task.error}"
    evidence = {"task_id": task.task_id, "error": task.error}
    subject = f"task:{task.task_id}"
    return Finding("hub", "critical", subject, task.since, summary, evidence=evidence)


def ingest_finding(last_beat_at: datetime) -> Finding:
    """No web process accepts updates."""
    summary = f"No web process has accepted updates since {instant(last_beat_at)}."
    evidence = {"last_beat_at": last_beat_at}
    return Finding("hub", "critical", "ingest", last_beat_at, summary, evidence=evidence)


def retention_finding(trusted_at: datetime) -> Finding:
    """The clock jumped, so that nothing is dropped."""
    summary = (
        "Nothing is dropped at present: the hub's clock was set ahead. Old updates take up space "
        "until it has kept this time for a day."
    )
    evidence = {"clock_trusted_at": trusted_at}
    return Finding("hub", "warning", "retention", trusted_at, summary, evidence=evidence)


def restart_finding(started_at: datetime) -> Finding:
    """The embedded database was restarted while the hub ran."""
    summary = f"The embedded database ended and was started again {instant(started_at)}."
    evidence = {"started_at": started_at}
    return Finding("hub", "warning", "engine", started_at, summary, evidence=evidence)


def token_finding(token: ExpiringToken, now: datetime, ends_soon: timedelta) -> Finding:
    """A token expires within two weeks, or has expired."""
    has_expired = token.expires_at <= now
    severity: Severity = "critical" if has_expired else "warning"
    verb = "expired" if has_expired else "expires"
    summary = f"The token “{token.name}” {verb} {instant(token.expires_at)}."
    evidence = {"token_id": token.token_id, "expires_at": token.expires_at}
    since = token.expires_at - ends_soon
    return Finding("hub", severity, f"token:{token.token_id}", since, summary, evidence=evidence)


def destination_finding(destination_id: int, name: str, since: datetime) -> Finding:
    """A destination of messages has not taken any for some time."""
    summary = f"The destination “{name}” has not taken messages since {instant(since)}."
    evidence = {"failing_since": since}
    subject = f"destination:{destination_id}"
    return Finding("hub", "warning", subject, since, summary, evidence=evidence)


def space_finding(samples: Sequence[FreeSpace]) -> Finding | None:
    """The disk of the database is nearly full, or will be within a day. `samples` ascending."""
    if not samples:
        return None
    first, last = samples[0], samples[-1]
    seconds = (last.at - first.at).total_seconds()
    left = None
    if last.at - first.at >= _LEAST_SPAN and last.free < first.free:
        left = last.free / ((first.free - last.free) / seconds)
    is_short = last.free < DISK_SHARE * last.total
    if not is_short and (left is None or left > DISK_TIME.total_seconds()):
        return None
    evidence = {"free_bytes": last.free, "total_bytes": last.total}
    if is_short:
        severity: Severity = "critical" if last.free < DISK_SHARE / 2 * last.total else "warning"
        summary = (
            f"Less than {DISK_SHARE:.0%} of the database's disk are free ({size(last.total)})."
        )
    else:
        severity = "critical"
        summary = "At the present rate the database's disk is full within a day."
    return Finding("hub", severity, "space", last.at, summary, evidence=evidence)
