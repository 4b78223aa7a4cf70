"""Statements of the stale detector and of beats; the caller commits. `now` is for tests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import orjson
from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.rules import WILDCARD_SET, is_pattern
from app.domain.staleness import BEAT_GAP_SECONDS, FUTURE_SECONDS, Threshold, Watch
from app.store.sql import load_queries

SQL = load_queries("staleness")

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_BOUNDS = {"gap_seconds": BEAT_GAP_SECONDS, "future_seconds": FUTURE_SECONDS}


@dataclass(slots=True)  # frozen ones take three times as long to make, and a sweep reads thousands
class SilentJob:
    """A job that may be stale: what its thresholds depend on; also the key of the next page."""

    id: int
    started_at: datetime
    last_telemetry_at: datetime
    key: str  # of the run
    job_type: str
    phase: str
    vm_name: str | None
    interval_seconds: int | None
    pause_seconds: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status that a silent job is due, by its threshold."""

    id: int
    silent_since: datetime  # with a later sign of life the job is left alone
    threshold: Threshold
    text: str


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of the status of silent nodes; instants on the database's clock."""

    now: datetime
    silent_since: datetime  # a node with a later sign of life is left alone
    threshold_seconds: int
    text: str
    clock: datetime | None = None  # not applied if it shows an earlier time; None: for tests


@dataclass(frozen=True, slots=True)
class ChangedJob:
    """A job whose status was changed, and how long it had been silent."""

    job_id: str
    text: str
    silent_seconds: float


def beat(conn: Connection, process_id: str, now: datetime | None = None) -> None:
    """Record that a web process takes updates.

    After a gap, or after the clock was set back, its watch starts again.
    """
    conn.execute(SQL["beat"], {"process_id": process_id, "now": now, **_BOUNDS})


def end_beat(conn: Connection, process_id: str) -> None:
    """Record that a web process takes no more updates."""
    conn.execute(SQL["end_beat"], {"process_id": process_id})


def forget_old_beats(conn: Connection) -> None:
    """Delete the rows of processes that were killed long ago."""
    conn.execute(SQL["forget_old_beats"])


def read_clock(conn: Connection, now: datetime | None = None) -> datetime:
    """The database's clock, or `now`."""
    row = conn.execute(SQL["read_clock"], {"now": now}).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def read_watches(conn: Connection, now: datetime | None = None) -> tuple[datetime, list[Watch]]:
    """The clock, and the watches of the web processes that beat now."""
    now = read_clock(conn, now)
    with conn.cursor(row_factory=class_row(Watch)) as cursor:
        params = {"now": now, **_BOUNDS}
        return now, cursor.execute(SQL["read_watches"], params).fetchall()


def reset_future_jobs(conn: Connection, now: datetime) -> int:
    """Set `last_telemetry_at` of live jobs to `now` if it is in the future; return how many."""
    params = {"now": now, "future_seconds": FUTURE_SECONDS}
    return conn.execute(SQL["reset_future_jobs"], params).rowcount


def read_silent_jobs(
    conn: Connection,
    status: str,
    silent_since: datetime | None,
    *,
    least_since: datetime | None = None,
    conditions: Mapping[str, Sequence[str]] = MappingProxyType({}),
    after: SilentJob | None,
    limit: int,
) -> list[SilentJob]:
    """Jobs of a status without an update after `silent_since`, oldest first; no lock.

    With `least_since`, also those without one after it that meet one of the `conditions`, or may
    (`app.domain.staleness.Reach`).
    """
    params = {
        "status": status,
        "silent_since": silent_since,
        "least_since": least_since or silent_since,
        **_conditions(conditions),
        "after_at": _BEGINNING if after is None else after.started_at,
        "after_id": 0 if after is None else after.id,
        "limit": limit,
    }
    return [SilentJob(*row) for row in conn.execute(SQL["read_silent_jobs"], params)]


def _conditions(conditions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """As parameters, exact names and LIKE patterns apart."""
    params: dict[str, list[str]] = {
        "job_types": list(conditions.get("job_type", ())),
        "phases": list(conditions.get("phase", ())),
    }
    for field, exact, patterns in (
        ("vm_name", "vm_names", "vm_patterns"),
        ("job_id", "job_names", "job_patterns"),
    ):
        given = conditions.get(field, ())
        params[exact] = [each for each in given if not is_pattern(field, each)]
        params[patterns] = [as_like(each) for each in given if is_pattern(field, each)]
    return params


def as_like(pattern: str) -> str:
    """A LIKE pattern for all that a shell pattern matches; it matches more where that has `[…]`."""
    escaped = re.sub(r"[\\%_]", r"\\\g<0>", re.sub(WILDCARD_SET, "?", pattern))
    return escaped.replace("*", "%").replace("?", "_")


def stall_jobs(
    conn: Connection, verdicts: Sequence[Verdict], now: datetime, clock: datetime | None
) -> list[ChangedJob]:
    """Mark the jobs stalled that are still running and silent; ascending by job_id.

    Not applied if the database's clock shows an earlier time than `clock`; None: for tests.
    """
    return _change_status(conn, "stall_jobs", verdicts, now, clock)


def fail_jobs(
    conn: Connection, verdicts: Sequence[Verdict], now: datetime, clock: datetime | None
) -> list[ChangedJob]:
    """Mark the jobs failed that are still stalled and silent, with their unfinished disks.

    Otherwise as `stall_jobs`.
    """
    return _change_status(conn, "fail_jobs", verdicts, now, clock)


def _change_status(
    conn: Connection,
    name: str,
    verdicts: Sequence[Verdict],
    now: datetime,
    clock: datetime | None,
) -> list[ChangedJob]:
    params = {
        "ids": [verdict.id for verdict in verdicts],
        "silent_since": [verdict.silent_since for verdict in verdicts],
        "texts": [verdict.text for verdict in verdicts],
        "evidence": [_evidence(verdict.threshold) for verdict in verdicts],
        "now": now,
        "clock": clock,
    }
    return [ChangedJob(*row) for row in conn.execute(SQL[name], params)]


def _evidence(threshold: Threshold) -> str:
    """As JSON: the threshold, and what set and raised it, if anything did."""
    evidence: dict[str, int | str] = {"threshold_seconds": threshold.seconds}
    if threshold.rule_id is not None:
        evidence["rule_id"] = threshold.rule_id
    if threshold.raised_by is not None:
        evidence["threshold_raised_by"] = threshold.raised_by
    return orjson.dumps(evidence).decode()
