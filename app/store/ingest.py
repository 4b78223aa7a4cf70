"""Reads and writes of one ingest transaction. Instants are microseconds.

Nothing here commits but `write_at_once`. The runs of a job are written by `runs`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, LiteralString

import orjson
from psycopg.rows import TupleRow

from app.clock import (
    from_micros,
    isoformat,
    micros_to_seconds,
    seconds_to_micros,
    to_micros,
)
from app.database.pool import Connection
from app.domain.fields import DISK_FIELDS, JOB_FIELDS
from app.domain.job_state import (
    DiskColumns,
    DiskState,
    JobColumns,
    JobState,
    Registers,
)
from app.domain.lifecycle import Change, Event
from app.domain.runs import JobRuns, Run, split_key
from app.domain.updates import Fields, Update
from app.store import wide_writes
from app.store.arrays import Cursor, execute
from app.store.sql import load_queries

SQL = load_queries("ingest") | wide_writes.SQL

RUNS_WITH_NAMES = 100  # of each job: no sender speaks of a run that so many others have followed

_PARAMETER = re.compile(r"%\((\w+)\)s")

Instant = tuple[str, int]  # a job and a time
_MINUTE = 60_000_000
_DAY = 86_400_000_000
_JOB_COLUMNS, _DISK_COLUMNS = tuple(JOB_FIELDS), tuple(DISK_FIELDS)
_ERROR_MESSAGE = list(JOB_FIELDS).index("error_message")


@dataclass(slots=True)
class JobRow:
    """What to write of one job: its change, its columns, and the disks that may have changed.

    `columns` is None if the updates are charted only: the row keeps its values. `version` is that
    of a row which has not been locked (see `app.ingest.known_jobs`).
    """

    change: Change
    columns: JobColumns | None
    disks: dict[int, DiskColumns]
    version: int | None = None

    @property
    def state(self) -> JobState:
        return self.change.state


@dataclass(frozen=True, slots=True)
class LockedJobs:
    """The database's clock, the time before which updates were dropped, and the states by run.

    `version`: the version of the rows that this transaction writes. `runs`: by job, where there are
    several.
    """

    now: int
    dropped_before: int
    version: int
    states: dict[str, JobState]
    runs: dict[str, JobRuns]


class OutdatedState(Exception):
    """A row that had not been locked has been changed by another transaction."""


@dataclass(frozen=True, slots=True)
class Losses:
    """How many updates a sender has lost in all, and when (µs) it last reported a loss.

    `news`: how many of them were not known before.
    """

    total: int
    last_reported: int
    news: int


@dataclass(frozen=True, slots=True)
class JobsWritten:
    """The result of writing rows of jobs."""

    cursor: Cursor | None = None
    expected: int = 0

    def check(self) -> None:
        """Raise OutdatedState if a row had another version."""
        if self.cursor is not None and self.cursor.rowcount != self.expected:
            raise OutdatedState


def lock_jobs(conn: Connection, job_ids: Iterable[str]) -> LockedJobs:
    """Lock the rows of the runs that exist, in the order of their keys.

    That of a first run has the job's id: while it is locked, the job gets no other run. The
    registers hold what the sender reported, even if a status change by the detector hides it.
    """
    ids = {"job_ids": sorted(job_ids)}
    if not ids["job_ids"]:
        return _locked(conn.execute(SQL["read_clock"]), {}, [])
    with conn.pipeline():
        locked = execute(conn, SQL["lock_jobs"], ids)
        clock = conn.execute(SQL["read_clock"])
        runs = execute(conn, SQL["read_runs"], ids)
        disks = execute(conn, SQL["read_disks"], ids)
    jobs = locked.fetchall()
    states = {row[0]: _job_state(row) for row in jobs}
    hidden = {row[0]: (row[12] or {}).get("disks", {}) for row in jobs}
    for row in disks:
        if row[0] in states:
            former = hidden[row[0]].get(str(row[1]))
            states[row[0]].disks[row[1]] = _disk_state(row, former)
    return _locked(clock, states, runs)


def _locked(clock: Cursor, states: dict[str, JobState], runs: Iterable[TupleRow]) -> LockedJobs:
    row = clock.fetchone()
    assert row is not None
    by_job: dict[str, list[Run]] = {}
    for job_id, *run in runs:
        by_job.setdefault(job_id, []).append(_run(run))
    found = {job_id: JobRuns(job_id, known) for job_id, known in by_job.items()}
    return LockedJobs(to_micros(row[0]), to_micros(row[1]), row[2], states, found)


def _run(row: Sequence[Any]) -> Run:
    key, begins_at, is_announced, first, newest, ended_at, clock_offset = row
    return Run(
        key,
        _optional_micros(begins_at),
        is_announced,
        _optional_micros(first),
        _optional_micros(newest),
        _optional_micros(ended_at),
        seconds_to_micros(clock_offset),
    )


def read_named_runs(
    conn: Connection, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The keys of the runs that senders call by these names (job's id, name), if there are any."""
    asked = {"job_ids": [job_id for job_id, _ in names], "names": [name for _, name in names]}
    rows = execute(conn, SQL["read_named_runs"], {**asked, "remembered": RUNS_WITH_NAMES})
    return {(job_id, name): run for job_id, name, run in rows}


def count_logs(conn: Connection, run: str) -> int:
    """How many events there are of what a run has logged."""
    row = execute(conn, SQL["count_logs"], {"job_id": run}).fetchone()
    assert row is not None
    return int(row[0])


def limit_lock_waits(conn: Connection) -> None:
    """Let the rest of the transaction wait for a lock for at most 200 ms.

    For old updates, once the rows are locked. Only compression locks chunks, for seconds to a
    minute, and only old updates go there; all others would wait behind them. Later statements raise
    LockNotAvailable.
    """
    conn.execute(SQL["limit_lock_waits"])


def return_from_future(conn: Connection, job_id: str, latest: int) -> tuple[int | None, int | None]:
    """Store a locked job's updates from after `latest` (µs) at the times that its sender named.

    Returns the times of its first and its newest update then, None if none is kept.
    """
    params = {"job_id": job_id, "latest": latest}
    row = execute(conn, SQL["return_from_future"], params).fetchone()
    assert row is not None
    return _optional_micros(row[0]), _optional_micros(row[1])


def create_missing_jobs(conn: Connection, job_types: dict[str, str]) -> set[str]:
    """Create a row for each unknown id (id to type); return the ids that were created."""
    rows = execute(
        conn,
        SQL["create_missing_jobs"],
        {"job_ids": list(job_types), "job_types": list(job_types.values())},
    )
    return {row[0] for row in rows}


def find_updates(conn: Connection, instants: Iterable[Instant]) -> dict[Instant, list[Update]]:
    """The stored updates of some instants, by instant."""
    rows = _find_by_day(conn, SQL["find_updates"], instants)
    return _with_disks(conn, rows)


def find_shifted_updates(
    conn: Connection, sent: Collection[Instant], first: int, last: int
) -> dict[Instant, list[Update]]:
    """The updates that were shifted from senders' timestamps, by the instant they are stored at.

    Looks from `first` to `last` (µs) only.
    """
    if not sent:
        return {}
    params = {**_columns_of(sent), **_bounds(first, last)}
    rows = execute(conn, SQL["find_shifted_updates"], params, prepare=False)
    return _with_disks(conn, rows.fetchall())


def find_dropped(conn: Connection, instants: Iterable[Instant]) -> set[Instant]:
    """The instants (µs) in whose minute updates of the job were stored, by the rollup."""
    minutes: dict[Instant, list[Instant]] = {}
    for job_id, time in instants:
        minutes.setdefault((job_id, time - time % _MINUTE), []).append((job_id, time))
    rows = _find_by_day(conn, SQL["find_dropped"], minutes)
    return {instant for row in rows for instant in minutes[row[0], row[1]]}


def find_kept_as_events(conn: Connection, job_ids: Iterable[str]) -> list[tuple[str, Fields]]:
    """The updates that events of these jobs hold, each with its job's id, as evidence."""
    cursor = execute(conn, SQL["find_kept_as_events"], {"job_ids": sorted(job_ids)})
    return [(job_id, evidence) for job_id, evidence in cursor]


def _find_by_day(
    conn: Connection, query: LiteralString, instants: Iterable[Instant]
) -> list[TupleRow]:
    """The rows of some instants, a statement for each day: each is planned for few chunks."""
    days: dict[int, list[Instant]] = {}
    for instant in instants:
        days.setdefault(instant[1] // _DAY, []).append(instant)
    if not days:
        return []
    with conn.pipeline():
        found = [
            execute(
                conn,
                query,
                {**_columns_of(day), **_bounds(min(t for _, t in day), max(t for _, t in day))},
                prepare=False,
            )
            for day in days.values()
        ]
    return [row for cursor in found for row in cursor]


def _with_disks(conn: Connection, rows: Iterable[TupleRow]) -> dict[Instant, list[Update]]:
    """The updates of rows of job_telemetry, with their disks, by instant."""
    found = {(row[0], to_micros(row[1]), row[2]): _update(row) for row in rows}
    by_instant: dict[Instant, list[Update]] = {}
    for (job_id, time, _), update in found.items():
        by_instant.setdefault((job_id, time), []).append(update)
    for row in _find_by_day(conn, SQL["find_update_disks"], by_instant):
        place = (row[0], to_micros(row[1]), row[2])
        if place in found:
            found[place].disks[row[3]] = _named(DISK_FIELDS, row[4:])
    return by_instant


@dataclass(slots=True)
class Span:
    """The part of a job's series that decides its registers: no ends but those with `status`.

    Instants in µs; nothing is stored before the first or after the last.
    """

    job_id: str
    first: int
    last: int
    status: str


def deciding_updates(conn: Connection, spans: Sequence[Span]) -> dict[str, list[Update]]:
    """All updates of the instants that decide the registers of some jobs, by job."""
    params = _columns_of_spans(spans)
    rows = execute(conn, SQL["deciding_job_times"], params, prepare=False).fetchall()
    instants = {(row[0], to_micros(time)) for row in rows for time in row[1:] if time is not None}
    rows = execute(conn, SQL["deciding_disk_times"], params, prepare=False).fetchall()
    instants.update((job_id, to_micros(time)) for job_id, time in rows)
    statuses = {span.job_id: span.status for span in spans}
    updates: dict[str, list[Update]] = {span.job_id: [] for span in spans}
    for (job_id, _), found in find_updates(conn, instants).items():
        updates[job_id] += [u for u in found if not u.is_end or u.status == statuses[job_id]]
    return updates


def earliest_ends(conn: Connection, spans: Sequence[Span]) -> dict[str, int]:
    """The time of the first stored end by job, where there is one."""
    params = _columns_of_spans(spans)
    rows = execute(conn, SQL["earliest_ends"], params, prepare=False)
    return {job_id: to_micros(time) for job_id, time in rows}


def insert_updates(
    conn: Connection, updates: Sequence[Update], now: int, moved_times: Sequence[int] = ()
) -> None:
    """Add updates and their disks to the series. They must be new (time, seq).

    `moved_times`: of updates that this transaction has moved to another run (µs).
    """
    execute(conn, SQL["insert_updates"], _updates_in_columns(updates, now))
    disks = _disks_of(updates)
    times = [*moved_times, *(update.time for update in updates)]
    wide_writes.note_write(conn, _written_series(disks or moved_times), times, now)
    if disks:
        execute(conn, SQL["insert_update_disks"], _update_disks_in_columns(disks))


def write_at_once(
    conn: Connection, updates: Sequence[Update], rows: Sequence[JobRow], now: int, edge: int
) -> int:
    """`insert_updates` and `write_jobs` in one statement, which is committed; return the version.

    Outside of a transaction. While the database works on its only statement, this process can
    decode the next updates; between several it would have to wait for the interpreter's lock.
    Raises SerializationFailure if a row had another version, or if `edge` (µs) is no longer the
    time before which updates were dropped.
    """
    disks = _disks_of(updates)
    params = {
        "insert_updates": _updates_in_columns(updates, now),
        "update_jobs": _jobs_in_columns(rows, now),
    }
    if disks:
        params |= {
            "insert_update_disks": _update_disks_in_columns(disks),
            "upsert_disks": _disks_in_columns(_disks_to_write(rows)),
        }
    if events := _events_of(rows):
        params["insert_events"] = _events_in_columns(events, now)
    if note := wide_writes.note_of(
        _written_series(disks), [update.time for update in updates], now
    ):
        params["note_write"] = note
    named = {
        f"{name}_{key}": value for name, columns in params.items() for key, value in columns.items()
    }
    conn.autocommit = True
    try:
        cursor = execute(
            conn, _at_once(tuple(params)), {**named, "expected": len(rows), "edge": edge}
        )
        row = cursor.fetchone()
    finally:
        if not conn.closed:
            conn.autocommit = False
    assert row is not None
    return int(row[0])


@lru_cache
def _at_once(names: tuple[str, ...]) -> LiteralString:
    """Some statements as one, with their parameters prefixed by their names."""
    parts = []
    for name in names:
        sql = _PARAMETER.sub(rf"%({name}_\1)s", SQL[name])
        returning = "\nRETURNING 1" if name == "update_jobs" else ""
        parts.append(f"{name} AS (\n{sql}{returning}\n)")
    return "WITH " + ", ".join(parts) + "\n" + SQL["require_unchanged"]


def _written_series(disks: Sequence[object]) -> list[str]:
    return ["job_telemetry", "disk_telemetry"] if disks else ["job_telemetry"]


def _disks_of(updates: Sequence[Update]) -> list[tuple[Update, int, Fields]]:
    return [(update, index, named) for update in updates for index, named in update.disks.items()]


def _updates_in_columns(updates: Sequence[Update], now: int) -> dict[str, Any]:
    return {
        **{name: [update.fields.get(name) for update in updates] for name in JOB_FIELDS},
        "now": now,
        "time": [update.time for update in updates],
        "job_id": [update.run for update in updates],
        "seq": [update.seq for update in updates],
        "status": [update.status for update in updates],
        "sender_time": [update.sender_time for update in updates],
    }


def _update_disks_in_columns(disks: list[tuple[Update, int, Fields]]) -> dict[str, Any]:
    return {
        **{name: [named.get(name) for _, _, named in disks] for name in DISK_FIELDS},
        "time": [update.time for update, _, _ in disks],
        "job_id": [update.run for update, _, _ in disks],
        "seq": [update.seq for update, _, _ in disks],
        "disk_index": [index for _, index, _ in disks],
    }


def add_losses(conn: Connection, lost: Mapping[Instant, int], now: int) -> dict[str, Losses]:
    """Store how many updates were lost before some instants; return all losses by job.

    For each instant the largest count is kept. The jobs must be locked.
    """
    rows = execute(
        conn,
        SQL["add_losses"],
        {**_columns_of(lost), "lost_updates": list(lost.values()), "now": now},
    )
    return {row[0]: Losses(row[1], to_micros(row[2]), row[3]) for row in rows}


def write_warnings(conn: Connection, changes: Sequence[Change], now: int) -> None:
    """Write only the warnings and the events of locked jobs."""
    states = [change.state for change in changes]
    execute(
        conn,
        SQL["warn_jobs"],
        {
            "job_id": [state.run for state in states],
            "warnings": [_json(state.warnings) for state in states],
        },
    )
    events = [(change.state.run, event) for change in changes for event in change.events]
    if events:
        insert_events(conn, events, now)


def write_jobs(conn: Connection, rows: Sequence[JobRow], now: int) -> JobsWritten:
    """Write the rows of jobs, of their disks, and their events.

    Check the result after the pipeline, if there is one, unless all jobs were locked.
    """
    written = JobsWritten()
    if moved := [row for row in rows if row.columns is not None]:
        written = JobsWritten(
            execute(conn, SQL["update_jobs"], _jobs_in_columns(moved, now)), len(moved)
        )
    if charted := [row.state for row in rows if row.columns is None]:
        _touch_jobs(conn, charted, now)
    if disks := _disks_to_write(rows):
        execute(conn, SQL["upsert_disks"], _disks_in_columns(disks))
    if events := _events_of(rows):
        insert_events(conn, events, now)
    return written


def raise_intervals(conn: Connection, seconds: Mapping[str, int]) -> None:
    """Note how often the senders of some runs report, unless they have named longer intervals."""
    columns = {"job_id": list(seconds), "seconds": list(seconds.values())}
    execute(conn, SQL["raise_intervals"], columns)


def delete_other_disks(conn: Connection, states: Sequence[JobState]) -> None:
    """Delete the rows of disks that are not in the states of their jobs."""
    kept = [(state.run, index) for state in states for index in state.disks]
    execute(
        conn,
        SQL["delete_other_disks"],
        {
            "job_ids": [state.run for state in states],
            "kept_ids": [job_id for job_id, _ in kept],
            "kept_indexes": [index for _, index in kept],
        },
    )


def insert_events(conn: Connection, events: Sequence[tuple[str, Event]], now: int) -> None:
    """Append to the log of transitions and warnings, in the given order."""
    execute(conn, SQL["insert_events"], _events_in_columns(events, now))


def _events_of(rows: Sequence[JobRow]) -> list[tuple[str, Event]]:
    return [(row.state.run, event) for row in rows for event in row.change.events]


def _events_in_columns(events: Sequence[tuple[str, Event]], now: int) -> dict[str, Any]:
    return {
        "now": now,
        "job_id": [job_id for job_id, _ in events],
        "kind": [event.kind for _, event in events],
        "from_status": [event.from_status for _, event in events],
        "to_status": [event.to_status for _, event in events],
        "actor": [event.actor for _, event in events],
        "reason": [event.reason for _, event in events],
        "evidence": [_evidence(event) for _, event in events],
    }


def _jobs_in_columns(rows: Sequence[JobRow], now: int) -> dict[str, Any]:
    states = [row.state for row in rows]
    columns = [row.columns or {} for row in rows]
    return {
        **{name: [values[name] for values in columns] for name in JOB_FIELDS},
        **_life_of(states),
        "now": now,
        "status": [state.status for state in states],
        "ended_by": [state.ended_by for state in states],
        "completed_at": [state.completed_at for state in states],
        "field_times": [_times_literal(state.registers, _JOB_COLUMNS) for state in states],
        "has_life": [row.change.has_life for row in rows],
        "has_progress": [row.change.is_new or row.state.has_disk_progress for row in rows],
        "version": [row.version for row in rows],
        "named_percent": [
            _hidden_percent(state.registers, values)
            for state, values in zip(states, columns, strict=True)
        ],
    }


def _touch_jobs(conn: Connection, states: Sequence[JobState], now: int) -> None:
    execute(conn, SQL["touch_jobs"], {**_life_of(states), "now": now})


def _life_of(states: Sequence[JobState]) -> dict[str, list[Any]]:
    """The columns that every stored update may change, even after the end."""
    return {
        "job_id": [state.run for state in states],
        "started_at": [state.started_at for state in states],
        "newest": [state.newest for state in states],
        "clock_offset_seconds": [micros_to_seconds(state.clock_offset) for state in states],
        "warnings": [_json(state.warnings) for state in states],
        "skew": [micros_to_seconds(state.skew) for state in states],
    }


_DiskRow = tuple[str, int, DiskColumns, DiskState]


def _disks_to_write(rows: Sequence[JobRow]) -> list[_DiskRow]:
    return [
        (row.state.run, index, columns, row.state.disks[index])
        for row in rows
        for index, columns in row.disks.items()
    ]


def _disks_in_columns(disks: list[_DiskRow]) -> dict[str, Any]:
    return {
        **{name: [columns[name] for _, _, columns, _ in disks] for name in DISK_FIELDS},
        "job_id": [job_id for job_id, _, _, _ in disks],
        "disk_index": [index for _, index, _, _ in disks],
        "newest": [max(disk.times.values(), default=None) for _, _, _, disk in disks],
        "field_times": [_times_literal(disk, _DISK_COLUMNS) for _, _, _, disk in disks],
        "named_percent": [_hidden_percent(disk, columns) for _, _, columns, disk in disks],
    }


def _hidden_percent(registers: Registers, columns: Mapping[str, Any]) -> float | None:
    """The percent that the sender named, if the row shows another."""
    named = registers.values.get("progress_percent")
    return None if named is None or named == columns["progress_percent"] else float(named)


def _times_literal(registers: Registers, names: tuple[str, ...]) -> str:
    """A bigint[] as text, because `unnest` would flatten an array of arrays."""
    times = registers.times
    different = set(times.values())
    if len(different) == 1:  # mostly: the last update has named every field
        return _times_pattern(tuple(times), names).replace("T", str(different.pop()))
    return "{" + ",".join([str(times.get(name, "NULL")) for name in names]) + "}"


@lru_cache(maxsize=1024)
def _times_pattern(named: tuple[str, ...], names: tuple[str, ...]) -> str:
    return "{" + ",".join(["T" if name in named else "null" for name in names]) + "}"


def _json(warnings: dict[str, str]) -> str:
    return orjson.dumps(warnings).decode() if warnings else "{}"


def _columns_of(instants: Collection[Instant]) -> dict[str, list[Any]]:
    return {
        "job_ids": [job_id for job_id, _ in instants],
        "times": [time for _, time in instants],
    }


def _columns_of_spans(spans: Sequence[Span]) -> dict[str, Any]:
    return {
        "job_ids": [span.job_id for span in spans],
        "firsts": [span.first for span in spans],
        "lasts": [span.last for span in spans],
        "statuses": [span.status for span in spans],
        **_bounds(min(span.first for span in spans), max(span.last for span in spans)),
    }


def _bounds(first: int, last: int) -> dict[str, datetime]:
    return {"first": from_micros(first), "last": from_micros(last)}


def _named(names: Iterable[str], values: Sequence[Any]) -> Fields:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _registers(names: Iterable[str], times: list[int | None], values: Sequence[Any]) -> Registers:
    """The registers of a row; columns without an instant hold derived values."""
    registers = Registers()
    for name, time, value in zip(names, times, values, strict=False):
        if time is not None:
            registers.values[name] = value
            registers.times[name] = time
    return registers


def _job_state(row: Sequence[Any]) -> JobState:
    registers = _registers(JOB_FIELDS, row[10], row[17:])
    if row[12] is not None and "error_message" in registers.values:
        registers.values["error_message"] = row[12].get("error_message")
    return JobState(
        run=row[0],
        job_type=row[1],
        status=row[2],
        ended_by=row[3],
        started_at=to_micros(row[4]),
        completed_at=_optional_micros(row[5]),
        newest=_optional_micros(row[6]),
        has_telemetry=row[7],
        clock_offset=seconds_to_micros(row[8]),
        warnings=row[9],
        registers=registers,
        registered=row[11],
        shown_error=row[17 + _ERROR_MESSAGE],
        begins_at=_optional_micros(row[13]),
        is_announced=row[14],
        skew=seconds_to_micros(row[15]),
        interval=row[16],
    )


def _disk_state(row: Sequence[Any], former_status: str | None) -> DiskState:
    registers = _registers(DISK_FIELDS, row[3], row[4:])
    if former_status is not None and "status" in registers.values:
        registers.values["status"] = former_status
    return DiskState(registers.values, registers.times, size_bytes=row[2])


def _update(row: Sequence[Any]) -> Update:
    sender_time = _optional_micros(row[3])
    time = to_micros(row[1])
    return Update(
        job_type="",
        job_id=split_key(row[0])[0],
        status=row[4],
        timestamp=time if sender_time is None else sender_time,
        fields=_named(JOB_FIELDS, row[5:]),
        time=time,
        seq=row[2],
        sender_time=sender_time,
        run=row[0],
    )


def evidence_of(event: Event) -> Fields:
    """The evidence of an event as it is read from its row."""
    found: Fields = orjson.loads(_evidence(event))
    return found


def _evidence(event: Event) -> str:
    evidence = dict(event.evidence)
    if "time" in evidence:
        evidence["time"] = isoformat(from_micros(evidence["time"]))
    return orjson.dumps(evidence).decode()


def _optional_micros(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)
