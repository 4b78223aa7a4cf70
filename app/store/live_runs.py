"""Live runs that do not go on as they should; reads only."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.database.pool import Connection
from app.domain.attention.live import LiveRun, Overlap, SlowRun
from app.domain.attention.series import CLOCK_SECONDS, Series
from app.domain.attention.usual import SLOW_SECONDS, SLOW_SHARE
from app.domain.fields import JOB_FIELDS
from app.domain.runs import split_key
from app.store.sql import load_queries

RECENT_RUNS = 20
# The pauses of so long before the newest update are looked at: a day-long run has many updates.
_RECENT = timedelta(hours=6)
_COLUMNS = """jobs.id, jobs.job_id, jobs.job_type, jobs.vm_name, jobs.repository_id,
(SELECT series_id FROM series_runs WHERE series_runs.id = jobs.id) AS series_id,
field_times[{phase}] IS NOT NULL AS has_phase, current_phase,
bytes_transferred, total_bytes, progress_percent, jobs.started_at, registered_at, newest_update_at,
last_telemetry_at, last_progress_at, clock_skew_seconds, warnings ->> 'sender_lost' AS loss,
field_times[{bytes}] IS NOT NULL OR field_times[{percent}] IS NOT NULL
    OR bytes_transferred > 0 OR progress_percent > 0 AS reports_progress"""
_PLACES = {name: place for place, name in enumerate(JOB_FIELDS, 1)}

SQL = load_queries(
    "live_runs",
    run_columns=_COLUMNS.format(
        phase=_PLACES["current_phase"],
        bytes=_PLACES["bytes_transferred"],
        percent=_PLACES["progress_percent"],
    ),
    bytes_are_known=f"field_times[{_PLACES['bytes_transferred']}] IS NOT NULL",
)
_RUN_COLUMNS = 19


def read_motionless(conn: Connection, since: datetime) -> list[LiveRun]:
    """Running jobs whose last progress was at `since` or before, hub's clock."""
    return [_run(row) for row in conn.execute(SQL["read_motionless"], {"since": since})]


def read_slow(conn: Connection) -> list[SlowRun]:
    """Running jobs that have moved less than half of the least that is usual at their age."""
    params = {"slack": SLOW_SECONDS, "share": SLOW_SHARE}
    return [
        SlowRun(_run(row), *row[_RUN_COLUMNS:]) for row in conn.execute(SQL["read_slow"], params)
    ]


def read_overlapping(conn: Connection) -> list[Overlap]:
    """The series with two or more live runs at the same time."""
    rows = conn.execute(SQL["read_overlapping"])
    return [Overlap(Series(*row[:6]), tuple(row[6]), row[7]) for row in rows]


def read_never_started(conn: Connection, after: datetime, before: datetime) -> list[LiveRun]:
    """Jobs that were registered between two instants, never began, and have no later run."""
    params = {"after": after, "before": before}
    return [_run(row) for row in conn.execute(SQL["read_never_started"], params)]


def read_troubled_senders(conn: Connection) -> list[LiveRun]:
    """Live runs whose senders have a wrong clock or have lost updates."""
    params = {"clock_seconds": CLOCK_SECONDS}
    return [_run(row) for row in conn.execute(SQL["read_troubled_senders"], params)]


def read_longest_pause(conn: Connection, run: LiveRun) -> float:
    """The longest time between two progresses of a run so far, seconds, sender's clock."""
    if run.newest_update_at is None:
        return 0.0
    params = {
        "key": run.key,
        "first": max(run.started_at, run.newest_update_at - _RECENT),
        "last": run.newest_update_at,
    }
    # Planned for the chunks of these instants only.
    row = conn.execute(SQL["read_longest_pause"], params, prepare=False).fetchone()
    return row[0] if row and row[0] is not None else 0.0


@dataclass(frozen=True, slots=True)
class EarlierPhase:
    """What a phase was in earlier runs of a series: how many had it, how long, and whether bytes
    moved in it. The seconds are the most that one run was in it, and went without bytes."""

    runs: int = 0
    longest_seconds: float = 0.0
    moves_bytes: bool = False
    longest_pause: float = 0.0


def read_earlier_phase(conn: Connection, series_id: int, phase: str) -> EarlierPhase:
    """A phase in the newest completed runs of a series."""
    params = {"series_id": series_id, "phase": phase, "limit": RECENT_RUNS}
    seconds: dict[int, float] = defaultdict(float)
    moves = False
    for run, length, moved in conn.execute(SQL["read_earlier_phases"], params):
        seconds[run] += length
        moves = moves or bool(moved)
    pause = read_earlier_pause(conn, series_id) if moves else 0.0
    return EarlierPhase(len(seconds), max(seconds.values(), default=0.0), moves, pause)


def read_earlier_pause(conn: Connection, series_id: int) -> float:
    """The longest time between two progresses in the newest completed runs of a series, seconds.

    From their summaries, so no more exact than a step of their charts.
    """
    rows = conn.execute(
        SQL["read_earlier_progress"], {"series_id": series_id, "limit": RECENT_RUNS}
    )
    return max((_longest_pause(*row) for row in rows), default=0.0)


def _longest_pause(times: list[float], *values: list[float | None]) -> float:
    longest = at = 0.0
    known: list[float] = [0.0] * len(values)
    for place, time in enumerate(times):
        now = [row[place] if place < len(row) else None for row in values]
        if any(new is not None and new > old for new, old in zip(now, known, strict=True)):
            longest, at = max(longest, time - at), time
        known = [old if new is None else new for new, old in zip(now, known, strict=True)]
    return longest


def _run(row: tuple[Any, ...]) -> LiveRun:
    number, key, job_type, vm_name, repository_id, series_id, has_phase, phase, *rest = row[
        :_RUN_COLUMNS
    ]
    name, run = split_key(str(key))
    return LiveRun(
        number,
        str(key),
        name,
        run,
        job_type,
        vm_name,
        repository_id,
        series_id,
        phase if has_phase else None,
        *rest,
    )
