"""Series of runs: which run belongs to which, results, and what is usual; the caller commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.attention.rhythm import Rhythm
from app.domain.attention.run import Disk, Judgement, Result, Run
from app.domain.attention.series import Series, SeriesState
from app.domain.attention.usual import Pace, Usual, to_json
from app.domain.fields import DISK_FIELDS, JOB_FIELDS
from app.domain.runs import split_key
from app.domain.statuses import END_STATUSES
from app.store.sql import load_queries


def _time_of(name: str, fields: Mapping[str, Any]) -> str:
    """SQL: the instant of the update that named a field; NULL if none has."""
    return f"field_times[{list(fields).index(name) + 1}]"


_DISK_BYTES_TIME = _time_of("bytes_transferred", DISK_FIELDS)
# SQL: the bytes of a run, a row of `jobs`. A column's 0 may mean that nothing was reported: NULL.
RUN_BYTES = f"""
CASE WHEN jobs.{_time_of("bytes_transferred", JOB_FIELDS)} IS NOT NULL
          OR bytes_transferred > 0
          OR EXISTS (SELECT FROM job_disks
                     WHERE job_disks.job_id = jobs.job_id AND {_DISK_BYTES_TIME} IS NOT NULL)
     THEN bytes_transferred END"""
_RUN_COLUMNS = f"""
jobs.id, jobs.job_id, status, started_at, completed_at, ended_by,
performance_metrics IS NOT NULL AS is_settled,
{RUN_BYTES} AS bytes,
CASE WHEN jobs.{_time_of("total_bytes", JOB_FIELDS)} IS NOT NULL OR total_bytes > 0
     THEN total_bytes END AS total_bytes,
named_percent, error_message, warnings, clock_skew_seconds, last_telemetry_at, result, findings
"""


# What a run that is not good was found to be (app/domain/attention/series.py, is_good).
BAD_FINDING = '[{"kind": "suspicious"}]'

SQL = load_queries("series", run_columns=_RUN_COLUMNS, disk_bytes_time=_DISK_BYTES_TIME)


@dataclass(frozen=True, slots=True)
class KeptSeries:
    """What is stored of a series. `usual` is None if it has not changed, and `pace` with it."""

    series_id: int
    state: SeriesState
    usual: Usual | None
    pace: Pace | None


@dataclass(frozen=True, slots=True)
class OverdueSeries:
    """A series whose rhythm says that a good run is missing."""

    series: Series
    rhythm: Rhythm
    last_run: str | None
    last_good_at: datetime | None


def claim_changes(conn: Connection, limit: int) -> list[int]:
    """Take the oldest noted changes of runs; their numbers, each once."""
    return sorted({row[0] for row in conn.execute(SQL["claim_changes"], {"limit": limit})})


def place_runs(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Put each run into the series of its identity; the series that have changed, ascending."""
    params = {"ids": list(ids)}
    conn.execute(SQL["add_missing_series"], params)
    return sorted(row[0] for row in conn.execute(SQL["place_runs"], params))


def read_series(conn: Connection, ids: Sequence[int]) -> list[Series]:
    """The series with these numbers, ascending."""
    with conn.cursor(row_factory=class_row(Series)) as cursor:
        return cursor.execute(SQL["read_series"], {"ids": list(ids)}).fetchall()


def read_histories(conn: Connection, ids: Sequence[int], limit: int) -> dict[int, list[Run]]:
    """The newest runs of each series, newest first, without their disks."""
    histories: dict[int, list[Run]] = defaultdict(list)
    params = {"series": list(ids), "limit": limit}
    for series_id, *columns in conn.execute(SQL["read_histories"], params):
        histories[series_id].append(_run(*columns))
    return histories


def read_runs(conn: Connection, ids: Sequence[int]) -> list[tuple[int, Run]]:
    """Runs by number, each with the number of its series; ascending by their start."""
    rows = conn.execute(SQL["read_runs"], {"ids": list(ids)})
    return [(series_id, _run(*columns)) for series_id, *columns in rows]


def read_starts(conn: Connection, ids: Sequence[int], limit: int) -> dict[int, list[datetime]]:
    """When the newest good runs of each series began, ascending; by their stored results."""
    params = {"series": list(ids), "limit": limit, "bad": BAD_FINDING}
    rows = conn.execute(SQL["read_starts"], params)
    return {series_id: starts[::-1] for series_id, starts in rows if starts}


def _run(
    number: int,
    key: str,
    status: str,
    started_at: datetime,
    completed_at: datetime | None,
    ended_by: str | None,
    is_settled: bool,
    done: int | None,
    total: int | None,
    named_percent: float | None,
    error: str | None,
    warnings: dict[str, str],
    skew: float | None,
    last_seen_at: datetime | None,
    result: Any,
    findings: list[dict[str, Any]],
) -> Run:
    name, run = split_key(key)
    is_completed = status == "completed"
    return Run(
        id=number,
        key=key,
        name=name,
        number=run,
        status=status,
        started_at=started_at,
        ended_at=completed_at if status in END_STATUSES else None,
        ended_by=ended_by,
        is_settled=is_settled,
        bytes=done,
        total_bytes=total,
        percent=named_percent,
        error=error,
        is_dry_run="dry_run" in warnings,
        bytes_differ=warnings.get("bytes_differ"),
        clock_skew_seconds=skew,
        last_seen_at=last_seen_at,
        loss=warnings.get("sender_lost"),
        result=result if is_completed else None,
        findings=tuple(Judgement(**each) for each in findings) if is_completed else (),
    )


def read_disks(conn: Connection, ids: Sequence[int]) -> dict[int, tuple[Disk, ...]]:
    """The disks of runs, by the run's number."""
    found: dict[int, list[Disk]] = defaultdict(list)
    for number, *columns in conn.execute(SQL["read_disks"], {"ids": list(ids)}):
        found[number].append(Disk(*columns))
    return {number: tuple(disks) for number, disks in found.items()}


def read_progress(conn: Connection, runs: Iterable[Run]) -> dict[int, list[tuple[float, float]]]:
    """How many bytes each run had moved when: (seconds, bytes) ascending, by the run's number.

    A summary that is large has no bytes but percents: then those of the final bytes.
    """
    final = {run.id: run.bytes for run in runs if run.bytes}
    found = {}
    for number, times, moved, percents in conn.execute(SQL["read_progress"], {"ids": list(final)}):
        if len(moved) != len(times):
            if len(percents) != len(times):
                continue
            moved = [None if each is None else each / 100 * final[number] for each in percents]
        points = [(at, done) for at, done in zip(times, moved, strict=True) if done is not None]
        if points:
            found[number] = points
    return found


def write_results(
    conn: Connection, judged: Mapping[int, tuple[Result | None, Sequence[Judgement]]]
) -> None:
    """Store results and findings, by the run's number."""
    params = {
        "ids": list(judged),
        "results": [result for result, _ in judged.values()],
        "findings": [
            orjson.dumps([asdict(each) for each in findings]).decode()
            for _, findings in judged.values()
        ],
    }
    conn.execute(SQL["write_results"], params)


def write_states(conn: Connection, kept: Sequence[KeptSeries]) -> None:
    """Store what is known of series."""
    columns = [_columns(each) for each in kept]
    if columns:
        conn.execute(SQL["write_states"], {name: [c[name] for c in columns] for name in columns[0]})


def _columns(kept: KeptSeries) -> dict[str, Any]:
    state, pace = kept.state, kept.pace
    last, ended, good, rhythm = state.last, state.ended, state.last_good, state.rhythm
    usual = None if kept.usual is None else orjson.dumps(to_json(kept.usual)).decode()
    return {
        "id": kept.series_id,
        "state": state.state,
        "last_run": last and last.key,
        "last_started_at": last and last.started_at,
        "last_ended_at": last and last.ended_at,
        "last_bytes": ended and ended.bytes,
        "last_seconds": ended and ended.seconds,
        "last_good_run": good and good.key,
        "last_good_at": good and good.ended_at,
        "failures": state.failures,
        "usual": usual,
        "distance_seconds": rhythm and rhythm.distance_seconds,
        "next_expected_at": rhythm and rhythm.next_at,
        "overdue_at": rhythm and rhythm.overdue_at,
        "pace_step_seconds": pace and pace.step_seconds,
        "pace_low": pace and str(pace.low).replace("[", "{").replace("]", "}"),
    }


def delete_empty_series(conn: Connection, ids: Sequence[int]) -> None:
    """Delete series that no run belongs to any more."""
    conn.execute(SQL["delete_empty_series"], {"ids": list(ids)})


def read_overdue(conn: Connection, now: datetime, since: datetime) -> list[OverdueSeries]:
    """The series that are overdue, of those that ran, or should have, after `since`."""
    rows = conn.execute(SQL["read_overdue"], {"now": now, "since": since})
    return [
        OverdueSeries(Series(*row[:6]), Rhythm(*row[8:11]), last_run=row[6], last_good_at=row[7])
        for row in rows.fetchall()
    ]


def note_newest_runs(conn: Connection) -> None:
    """Let the newest run of every series be judged again."""
    conn.execute(SQL["note_newest_runs"])


def note_retired(conn: Connection, since: datetime, kinds: Sequence[str]) -> None:
    """Let series that have not run since then, and have open items of these kinds, be judged."""
    conn.execute(SQL["note_retired"], {"since": since, "kinds": list(kinds)})
