"""Reads jobs, their disks and events, and machines, in one statement each. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, LiteralString

from psycopg import Cursor
from psycopg.rows import TupleRow, class_row
from psycopg.sql import SQL, Composable, Composed, Literal

from app.database.pool import Connection
from app.domain.fields import DISK_FIELDS, JOB_FIELDS
from app.domain.job_lists import (
    MOST_EXAMINED,
    NEWEST_FIRST,
    Order,
    Sort,
)
from app.domain.runs import run_key
from app.domain.statuses import END_STATUSES, JOB_STATUSES
from app.domain.texts import LONGEST_LISTED
from app.store.sql import load_queries

Range = tuple[datetime | None, datetime | None]  # inclusive and exclusive; None: unbounded


@dataclass(frozen=True)
class JobFilter:
    """Filters for jobs; None does not restrict.

    `started_from` (inclusive) and `started_before` (exclusive) apply to `started_at`. `active`
    selects jobs that ran at some time of a range; a pending one has not run. `attention`: kinds of
    open items about the run, or `any`.
    """

    statuses: tuple[str, ...] | None = None
    job_type: str | None = None
    vm_name: str | None = None
    repository_id: str | None = None
    started_from: datetime | None = None
    started_before: datetime | None = None
    active: Range | None = None
    job_id: str | None = None
    result: str | None = None
    attention: tuple[str, ...] | None = None

    @property
    def has_range(self) -> bool:
        """Whether it restricts the time."""
        return (self.started_from, self.started_before, self.active) != (None, None, None)

    @property
    def is_judged(self) -> bool:
        """Whether it restricts what was found about the runs."""
        return (self.result, self.attention) != (None, None)


Key = tuple[datetime | int | float, int]  # what the list is sorted by, and `id`


@dataclass(frozen=True)
class Job:
    """One run of a job, a row of `jobs`. Sizes in bytes, speed in bytes per second.

    `runs`: how many the job has. `current_phase`, `total_bytes`, `transfer_speed_bps`,
    `eta_seconds` and `progress_percent` are None where they are not known.
    """

    id: int
    job_id: str
    run: int
    runs: int
    job_type: str
    vm_name: str | None
    repository_id: str | None
    backup_type: str | None
    status: str
    result: str | None
    current_phase: str | None
    bytes_transferred: int
    total_bytes: int | None
    transfer_speed_bps: int | None
    eta_seconds: int | None
    progress_percent: float | None
    error_message: str | None
    warnings: dict[str, str]
    created_at: datetime
    started_at: datetime
    completed_at: datetime | None
    ended_by: str | None
    newest_update_at: datetime | None
    last_telemetry_at: datetime | None
    last_progress_at: datetime | None
    clock_offset_seconds: float | None
    clock_skew_seconds: float | None
    interval_seconds: int | None
    pause_seconds: int | None

    @property
    def key(self) -> str:
        """The run's `job_id` in the tables."""
        return run_key(self.job_id, self.run)


@dataclass(frozen=True)
class JobPage:
    """One page of a list, and the key that the next page begins after; None: it is the last."""

    jobs: list[Job]
    next_key: Key | None


def _cut(text: str) -> str:
    """SQL: the first characters of a text, at most LONGEST_LISTED."""
    longest = LONGEST_LISTED
    return (
        f"CASE WHEN length({text}) > {longest} THEN left({text}, {longest - 1}) || '…' "
        f"ELSE {text} END"
    )


def _time_of(name: str) -> str:
    """SQL: the instant of the update that named a field; NULL if none has."""
    return f"field_times[{list(JOB_FIELDS).index(name) + 1}]"


_RUN = {
    "job_id": "job_of(job_id)",
    "run": "run_of(job_id)",
    "runs": "coalesce((SELECT runs FROM job_runs WHERE job_runs.job_id = job_of(jobs.job_id)), 1)",
}
_RESULT = {
    "result": "CASE WHEN status = 'completed' THEN"
    " (SELECT result FROM series_runs WHERE series_runs.id = jobs.id) END",
}
# The columns have defaults; here what was not reported is NULL.
_UNKNOWN = {
    "total_bytes": f"CASE WHEN {_time_of('total_bytes')} IS NULL"
    " THEN nullif(total_bytes, 0) ELSE total_bytes END",
    "transfer_speed_bps": f"CASE WHEN {_time_of('transfer_speed_bps')} IS NULL"
    " THEN nullif(transfer_speed_bps, 0) ELSE transfer_speed_bps END",
    "current_phase": f"CASE WHEN {_time_of('current_phase')} IS NULL"
    " THEN nullif(current_phase, 'pending') ELSE current_phase END",
    "eta_seconds": "CASE WHEN status = 'completed' THEN eta_seconds"
    " ELSE nullif(eta_seconds, 0) END",
    "progress_percent": f"CASE WHEN {_time_of('progress_percent')} IS NULL AND total_bytes = 0"
    " THEN nullif(progress_percent, 0) ELSE progress_percent END",
    # Less may be the way that updates take.
    "clock_skew_seconds": "CASE WHEN abs(clock_skew_seconds) > 5"
    " THEN round(clock_skew_seconds::numeric, 1)::double precision END",
}
_SHORT = {"error_message": _cut("error_message")}


def _columns(expressions: Mapping[str, str]) -> str:
    return ", ".join(
        f"{expressions[name]} AS {name}" if name in expressions else name
        for name in (each.name for each in fields(Job))
    )


def _disk_time_of(name: str) -> str:
    return f"disk.field_times[{list(DISK_FIELDS).index(name) + 1}]"


_DISK = (
    "to_jsonb(disk) - 'field_times' - 'named_percent' || jsonb_build_object("
    "'job_id', job_of(disk.job_id),"
    f" 'total_bytes', CASE WHEN {_disk_time_of('total_bytes')} IS NULL"
    " THEN nullif(total_bytes, 0) ELSE total_bytes END,"
    f" 'transfer_speed_bps', CASE WHEN {_disk_time_of('transfer_speed_bps')} IS NULL"
    " THEN nullif(transfer_speed_bps, 0) ELSE transfer_speed_bps END,"
    f" 'progress_percent', CASE WHEN {_disk_time_of('progress_percent')} IS NULL"
    " AND total_bytes = 0 THEN nullif(progress_percent, 0) ELSE progress_percent END)"
)

QUERIES = load_queries(
    "jobs",
    disk=_DISK,
    job_columns=_columns({**_RUN, **_RESULT, **_UNKNOWN}),
    listed_columns=_columns({**_RUN, **_RESULT, **_UNKNOWN, **_SHORT}),
    short_error_message=f"{_SHORT['error_message']} AS error_message",
    cut_evidence=_cut("evidence ->> 'error'"),
    longest_text=str(LONGEST_LISTED),
    examined=str(MOST_EXAMINED),
)
_JOB_COLUMNS = len(fields(Job))


@dataclass(frozen=True)
class JobDetail(Job):
    """A job with its summary, and its disks ascending by index.

    A disk maps columns of `job_disks` to values; its instant is an ISO 8601 text.
    """

    performance_metrics: dict[str, Any] | None
    findings: list[dict[str, Any]]
    series_id: int | None
    disks: list[dict[str, Any]]


@dataclass(frozen=True)
class JobUpdate:
    """One update. `seq` tells apart those of one instant; `reported`: its values by field."""

    time: datetime
    seq: int
    received_at: datetime
    sender_time: datetime | None
    status: str
    reported: dict[str, Any]


@dataclass(frozen=True)
class JobEvent:
    """One row of `job_events`: a transition, or a warning (no statuses)."""

    id: int
    time: datetime
    kind: str
    from_status: str | None
    to_status: str | None
    actor: str
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """A machine: its jobs counted by status, how many completed with a warning, and its newest
    job's fields.
    """

    vm_name: str
    by_status: dict[str, int]
    warnings: int
    job_id: str
    run: int
    runs: int
    job_type: str
    status: str
    result: str | None
    started_at: datetime
    completed_at: datetime | None
    newest_update_at: datetime | None
    bytes_transferred: int
    error_message: str | None


def list_jobs(
    conn: Connection,
    wanted: JobFilter,
    limit: int,
    order: Order = NEWEST_FIRST,
    after: Key | None = None,
    text: str | None = None,
) -> JobPage:
    """At most `limit` jobs in an order, after the keyset `after`.

    With `text`, only jobs whose job_id, vm_name, repository_id or error_message contains it, in any
    case. Looks at MOST_EXAMINED jobs, so a page may be short, or empty, without being the last.
    """
    statement = _Statement(wanted, order, after)
    if text is None:
        query = statement.format("list_jobs", keys=statement.keys(limit + 1))
        return _page(statement.run(conn, query).fetchall(), limit)
    query = statement.format(
        "search_jobs", keys=statement.keys(MOST_EXAMINED), limit=Literal(limit + 1)
    )
    rows = statement.run(conn, query, pattern=_contains(text)).fetchall()
    page = _page([row for row in rows if row[-2]], limit)
    if page.next_key is None and rows and rows[-1][-1]:
        return JobPage(page.jobs, _key(rows[-1]))
    return page


def _page(rows: Sequence[TupleRow], limit: int) -> JobPage:
    shown = rows[:limit]
    jobs = [Job(*row[:_JOB_COLUMNS]) for row in shown]
    return JobPage(jobs, _key(shown[-1]) if len(rows) > limit else None)


def _key(row: TupleRow) -> Key:
    return row[_JOB_COLUMNS], row[0]


def _contains(text: str) -> str:
    """The pattern of ILIKE for texts that contain this one."""
    escaped = re.sub(r"([%_\\])", r"\\\1", text)
    return f"%{escaped}%"


def read_job(conn: Connection, name: str) -> JobDetail | None:
    """Read one run, by `run_name`, with its disks, of the same commit; None if unknown."""
    cursor = conn.cursor(row_factory=class_row(JobDetail))
    return cursor.execute(QUERIES["read_job"], {"name": name}).fetchone()


def count_jobs_by_status(conn: Connection, wanted: JobFilter) -> dict[str, int]:
    """How many jobs have each of JOB_STATUSES, 0 where none.

    Reads kept counts, unless the filter has a range or a job_id: then it reads the keys of the jobs
    in that range.
    """
    if wanted.has_range or wanted.is_judged or wanted.job_id is not None:
        name, wanted = "count_jobs", _with_statuses(wanted)
    else:
        name = "read_counts" if wanted.vm_name is None else "read_counts_of_machine"
    statement = _Statement(wanted)
    rows = statement.run(conn, statement.format(name, conditions=statement.conditions())).fetchall()
    return dict.fromkeys(JOB_STATUSES, 0) | dict(rows)


def count_warnings(conn: Connection, wanted: JobFilter) -> int:
    """How many completed runs, of those that a filter selects, have the result `warning`."""
    if wanted.statuses is not None and "completed" not in wanted.statuses:
        return 0
    if wanted.result not in (None, "warning"):
        return 0
    statement = _Statement(replace(wanted, statuses=None, result=None))
    query = statement.format("count_warnings", conditions=statement.conditions())
    row = statement.run(conn, query).fetchone()
    assert row is not None
    return int(row[0])


def list_events(conn: Connection, name: str, limit: int, after_id: int = 0) -> list[JobEvent]:
    """At most `limit` events of a run, by `run_name`, ascending by id, above `after_id`."""
    cursor = conn.cursor(row_factory=class_row(JobEvent))
    values = {"name": name, "after_id": after_id, "limit": limit}
    return cursor.execute(QUERIES["list_events"], values).fetchall()


def list_updates(
    conn: Connection, name: str, limit: int, after: tuple[datetime, int] | None = None
) -> list[JobUpdate] | None:
    """At most `limit` updates of a run, by `run_name`, ascending by (time, seq), above `after`.

    Only those that are still kept. None if the run is unknown.
    """
    span = conn.execute(QUERIES["read_span"], {"name": name}).fetchone()
    if span is None:
        return None
    job_id, first, last = span
    values = {"job_id": job_id, "limit": limit, "first": first, "last": last, "after_seq": -1}
    if after is not None:
        values |= {"first": max(first, after[0]), "after_seq": after[1]}
    # Planned for the chunks of these instants only.
    rows = conn.execute(QUERIES["list_updates"], values, prepare=False)
    return [
        JobUpdate(
            time, seq, received_at, sender_time, status, dict(zip(JOB_FIELDS, values, strict=True))
        )
        for time, seq, received_at, sender_time, status, *values in rows
    ]


def job_exists(conn: Connection, name: str) -> bool:
    """Whether the run exists, by `run_name`."""
    row = conn.execute(QUERIES["job_exists"], {"name": name}).fetchone()
    return row is not None and bool(row[0])


def list_machines(conn: Connection, limit: int, after_name: str = "") -> list[Machine]:
    """At most `limit` machines ascending by name, above `after_name`."""
    cursor = conn.cursor(row_factory=class_row(Machine))
    values = {"after_name": after_name, "limit": limit}
    return cursor.execute(QUERIES["list_machines"], values).fetchall()


_CONDITIONS: Mapping[str, LiteralString] = {
    "statuses": "status = ANY(%(statuses)s)",
    "job_type": "job_type = %(job_type)s",
    "vm_name": "vm_name = %(vm_name)s",
    "repository_id": "repository_id = %(repository_id)s",
    "started_from": "started_at >= %(started_from)s",
    "started_before": "started_at < %(started_before)s",
    "active": "active_during && tstzrange(%(active_from)s, %(active_before)s)"
    " AND status <> 'pending'",
    "job_id": "job_id = ANY(runs_of(%(job_id)s))",
    "result": "status = 'completed' AND (%(result)s = 'warning')"
    " = EXISTS (SELECT FROM series_runs WHERE series_runs.id = jobs.id AND result = 'warning')",
    "attention": "job_id IN (SELECT job_id FROM attention WHERE until IS NULL"
    " AND ('any' = ANY(%(attention)s::text[]) OR kind = ANY(%(attention)s::text[])))",
}
# For a job that has ended, and for another: an index has the former.
_SECONDS: LiteralString = (
    "coalesce(greatest(0, extract(epoch FROM newest_update_at - started_at)), 0)::double precision"
)
_FIGURES: Mapping[Sort, tuple[LiteralString, LiteralString]] = {
    "duration": ("final_seconds", _SECONDS),
    "bytes": ("final_bytes", "bytes_transferred"),
    "speed": ("final_bps", f"coalesce(bytes_transferred / nullif({_SECONDS}, 0), 0)"),
}


def _with_statuses(wanted: JobFilter) -> JobFilter:
    """The same filter with every status named, for the indexes that begin with the status."""
    return replace(wanted, statuses=wanted.statuses or JOB_STATUSES)


class _Statement:
    """The parts of a statement that depend on filter, order and page, and its parameters."""

    def __init__(
        self, wanted: JobFilter, order: Order = NEWEST_FIRST, after: Key | None = None
    ) -> None:
        self._wanted = wanted
        self._order = order
        self._after = after
        self._values: dict[str, Any] = {
            each.name: getattr(wanted, each.name)
            for each in fields(wanted)
            if each.name != "active" and getattr(wanted, each.name) is not None
        }
        self._direction = SQL("ASC") if order.is_ascending else SQL("DESC")
        for name in ("statuses", "attention"):
            if getattr(wanted, name) is not None:
                self._values[name] = list(getattr(wanted, name))
        if wanted.active is not None:
            self._values |= dict(zip(("active_from", "active_before"), wanted.active, strict=True))
        if after is not None:
            self._values |= {"after_key": after[0], "after_id": after[1]}

    def format(self, name: str, **parts: Composable) -> Composed:
        """The named statement with these parts and the direction."""
        return SQL(QUERIES[name]).format(**parts, direction=self._direction)

    def run(self, conn: Connection, query: Composed, **more: Any) -> Cursor[TupleRow]:
        """Run a statement that was made of these parts."""
        wanted = self._wanted
        # Which of two columns selects fewer jobs depends on the values, and so does whether the
        # filter or the order selects the index: no plan is good for all.
        columns = (wanted.job_type, wanted.vm_name, wanted.repository_id)
        needs_own_plan = (
            sum(value is not None for value in columns) > 1
            or wanted.has_range
            or wanted.is_judged
            or self._order.sort != "started_at"
        )
        return conn.execute(
            query, {**self._values, **more}, prepare=False if needs_own_plan else None
        )

    def keys(self, limit: int) -> Composed:
        """The keys of a page: at most `limit`."""
        if self._order.sort != "started_at":
            return self._keys_by_figure(self._order.sort, limit)
        wanted = self._wanted
        # A machine has an index of its own, and a job_id is few rows.
        is_by_status = (wanted.vm_name, wanted.job_id) == (None, None) and bool(
            wanted.statuses or wanted.job_type or wanted.repository_id
        )
        conditions = self.conditions(SQL("started_at"), but="statuses" if is_by_status else None)
        if is_by_status:
            self._values["statuses"] = list(wanted.statuses or JOB_STATUSES)
        name = "keys_by_start_of_statuses" if is_by_status else "keys_by_start"
        return self.format(name, conditions=conditions, limit=Literal(limit))

    def _keys_by_figure(self, sort: Sort, limit: int) -> Composed:
        final, current = map(SQL, _FIGURES[sort])
        statuses = self._wanted.statuses or JOB_STATUSES
        ended = [status for status in statuses if status in END_STATUSES]
        others = [status for status in statuses if status not in END_STATUSES]
        self._values |= {"ended": ended, "others": others}
        return self.format(
            "keys_by_figure",
            final=final,
            current=current,
            ended_conditions=self._figure_conditions(final, "ended", ended, END_STATUSES),
            live_conditions=self._figure_conditions(current, "others", others, ()),
            limit=Literal(limit),
        )

    def _figure_conditions(
        self, key: SQL, name: LiteralString, statuses: Sequence[str], all_statuses: Sequence[str]
    ) -> Composable:
        if not statuses:
            return SQL("false")
        conditions = self.conditions(key, but="statuses")
        if tuple(statuses) == tuple(all_statuses):
            return conditions
        return SQL(f"status = ANY(%({name})s) AND {{}}").format(conditions)

    def conditions(self, key: SQL | None = None, but: str | None = None) -> Composed:
        """Those of the filter, without that on one field, and of the keyset by the given key."""
        chosen: list[Composable] = [
            SQL(condition)
            for name, condition in _CONDITIONS.items()
            if getattr(self._wanted, name) is not None and name != but
        ]
        if key is not None and self._after is not None:
            comparison = SQL(">") if self._order.is_ascending else SQL("<")
            chosen.append(SQL("({}, id) {} (%(after_key)s, %(after_id)s)").format(key, comparison))
        return SQL(" AND ").join(chosen) if chosen else Composed([SQL("true")])
