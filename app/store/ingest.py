"""Reads and writes of one ingest transaction. Instants are microseconds; nothing here commits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import orjson
from psycopg.rows import TupleRow

from app.clock import from_micros, isoformat, to_micros
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
from app.domain.updates import Fields, Update
from app.store.arrays import execute
from app.store.sql import load_queries
from app.store.wide_writes import note_write

SQL = load_queries("ingest")

Instant = tuple[str, int]  # a job and a time
_MICROS = 1_000_000
_MINUTE = 60 * _MICROS
_DAY = 86_400 * _MICROS
_ERROR_MESSAGE = list(JOB_FIELDS).index("error_message")


@dataclass(frozen=True, slots=True)
class JobRow:
    """What to write of one job: its change, its columns, and the disks that may have changed.

    `columns` is None if the updates are charted only: the row keeps its values.
    """

    change: Change
    columns: JobColumns | None
    disks: dict[int, DiskColumns]

    @property
    def state(self) -> JobState:
        return self.change.state


@dataclass(frozen=True, slots=True)
class LockedJobs:
    """The database's clock, the time before which updates were dropped, and the states by job."""

    now: int
    dropped_before: int
    states: dict[str, JobState]


@dataclass(frozen=True, slots=True)
class Losses:
    """How many updates a sender has lost in all, and when (µs) it last reported a loss.

    `news`: how many of them were not known before.
    """

    total: int
    last_reported: int
    news: int


def lock_jobs(conn: Connection, job_ids: Iterable[str]) -> LockedJobs:
    """Lock the rows of the jobs that exist, in the order of their ids.

    The registers hold what the sender reported, even if a status change by the detector hides it.
    """
    ids = {"job_ids": sorted(job_ids)}
    with conn.pipeline():
        locked = execute(conn, SQL["lock_jobs"], ids)
        clock = conn.execute(SQL["read_clock"])
        disks = execute(conn, SQL["read_disks"], ids)
    jobs = locked.fetchall()
    states = {row[0]: _job_state(row) for row in jobs}
    hidden = {row[0]: (row[12] or {}).get("disks", {}) for row in jobs}
    for row in disks:
        if row[0] in states:
            former = hidden[row[0]].get(str(row[1]))
            states[row[0]].disks[row[1]] = _disk_state(row, former)
    instants = clock.fetchone()
    assert instants is not None
    now, dropped_before = map(to_micros, instants)
    return LockedJobs(now, dropped_before, states)


def limit_lock_waits(conn: Connection) -> None:
    """Let the rest of the transaction wait for a lock for at most 200 ms.

    For old updates, once the rows are locked. Only compression locks chunks, for seconds to a
    minute, and only old updates go there; all others would wait behind them. Later statements raise
    LockNotAvailable.
    """
    conn.execute(SQL["limit_lock_waits"])


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


def deciding_updates(
    conn: Connection, job_id: str, first: int, last: int, status: str
) -> list[Update]:
    """All updates of the instants that decide a job's registers, without ends but `status`.

    Looks from `first` to `last` (µs) only.
    """
    params = {"job_id": job_id, "status": status, **_bounds(first, last)}
    job_times = execute(conn, SQL["deciding_job_times"], params, prepare=False).fetchone() or ()
    disk_times = [
        row[0] for row in execute(conn, SQL["deciding_disk_times"], params, prepare=False)
    ]
    times = {to_micros(time) for time in (*job_times, *disk_times) if time is not None}
    found = find_updates(conn, {(job_id, time) for time in times})
    return [
        update
        for updates in found.values()
        for update in updates
        if not update.is_end or update.status == status
    ]


def earliest_end(conn: Connection, job_id: str, first: int, last: int, status: str) -> int | None:
    """The time of the first stored update with this end status; None if there is none.

    Looks from `first` to `last` (µs) only.
    """
    params = {"job_id": job_id, "status": status, **_bounds(first, last)}
    row = execute(conn, SQL["earliest_end"], params, prepare=False).fetchone()
    return to_micros(row[0]) if row and row[0] is not None else None


def insert_updates(conn: Connection, updates: Sequence[Update], now: int) -> None:
    """Add updates and their disks to the series. They must be new (time, seq)."""
    named: dict[str, list[Any]] = {
        name: [update.fields.get(name) for update in updates] for name in JOB_FIELDS
    }
    execute(
        conn,
        SQL["insert_updates"],
        {
            **named,
            "now": now,
            "time": [update.time for update in updates],
            "job_id": [update.job_id for update in updates],
            "seq": [update.seq for update in updates],
            "status": [update.status for update in updates],
            "sender_time": [update.sender_time for update in updates],
        },
    )
    note_write(conn, "job_telemetry", (update.time for update in updates))
    disks = [(u, index, fields) for u in updates for index, fields in u.disks.items()]
    if disks:
        note_write(conn, "disk_telemetry", (disk[0].time for disk in disks))
        execute(
            conn,
            SQL["insert_update_disks"],
            {
                **{name: [disk[2].get(name) for disk in disks] for name in DISK_FIELDS},
                "time": [disk[0].time for disk in disks],
                "job_id": [disk[0].job_id for disk in disks],
                "seq": [disk[0].seq for disk in disks],
                "disk_index": [disk[1] for disk in disks],
            },
        )


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
            "job_id": [state.job_id for state in states],
            "warnings": [orjson.dumps(state.warnings).decode() for state in states],
        },
    )
    events = [(change.state.job_id, event) for change in changes for event in change.events]
    if events:
        insert_events(conn, events, now)


def write_jobs(conn: Connection, rows: Sequence[JobRow], now: int) -> None:
    """Write the rows of locked jobs, of their disks, and their events."""
    if moved := [(row.state, row.columns, row.change) for row in rows if row.columns is not None]:
        _update_jobs(conn, moved, now)
    if charted := [row.state for row in rows if row.columns is None]:
        _touch_jobs(conn, charted, now)
    disks = [
        (row.state.job_id, index, columns, row.state.disks[index])
        for row in rows
        for index, columns in row.disks.items()
    ]
    if disks:
        _upsert_disks(conn, disks)
    events = [(row.state.job_id, event) for row in rows for event in row.change.events]
    if events:
        insert_events(conn, events, now)


def delete_disks_but(conn: Connection, job_id: str, kept: Iterable[int]) -> None:
    """Delete the rows of a job's other disks."""
    execute(conn, SQL["delete_disks_but"], {"job_id": job_id, "kept": list(kept)})


def insert_events(conn: Connection, events: Sequence[tuple[str, Event]], now: int) -> None:
    """Append to the log of transitions and warnings, in the given order."""
    execute(
        conn,
        SQL["insert_events"],
        {
            "now": now,
            "job_id": [job_id for job_id, _ in events],
            "kind": [event.kind for _, event in events],
            "from_status": [event.from_status for _, event in events],
            "to_status": [event.to_status for _, event in events],
            "actor": [event.actor for _, event in events],
            "reason": [event.reason for _, event in events],
            "evidence": [_evidence(event) for _, event in events],
        },
    )


def _update_jobs(
    conn: Connection, rows: Sequence[tuple[JobState, JobColumns, Change]], now: int
) -> None:
    states = [state for state, _, _ in rows]
    execute(
        conn,
        SQL["update_jobs"],
        {
            **{name: [columns[name] for _, columns, _ in rows] for name in JOB_FIELDS},
            **_life_of(states),
            "now": now,
            "status": [state.status for state in states],
            "ended_by": [state.ended_by for state in states],
            "completed_at": [state.completed_at for state in states],
            "field_times": [_times_literal(state.registers, JOB_FIELDS) for state in states],
            "has_life": [change.has_life for _, _, change in rows],
            "is_new": [change.is_new for _, _, change in rows],
        },
    )


def _touch_jobs(conn: Connection, states: Sequence[JobState], now: int) -> None:
    execute(conn, SQL["touch_jobs"], {**_life_of(states), "now": now})


def _life_of(states: Sequence[JobState]) -> dict[str, list[Any]]:
    """The columns that every stored update may change, even after the end."""
    return {
        "job_id": [state.job_id for state in states],
        "started_at": [state.started_at for state in states],
        "newest": [state.newest for state in states],
        "clock_offset_seconds": [_seconds(state.clock_offset) for state in states],
        "warnings": [orjson.dumps(state.warnings).decode() for state in states],
    }


def _upsert_disks(conn: Connection, disks: list[tuple[str, int, DiskColumns, DiskState]]) -> None:
    execute(
        conn,
        SQL["upsert_disks"],
        {
            **{name: [columns[name] for _, _, columns, _ in disks] for name in DISK_FIELDS},
            "job_id": [job_id for job_id, _, _, _ in disks],
            "disk_index": [index for _, index, _, _ in disks],
            "newest": [max(disk.times.values(), default=None) for _, _, _, disk in disks],
            "field_times": [_times_literal(disk, DISK_FIELDS) for _, _, _, disk in disks],
        },
    )


def _times_literal(registers: Registers, names: Iterable[str]) -> str:
    """A bigint[] as text, because `unnest` would flatten an array of arrays."""
    get = registers.times.get
    return "{" + ",".join([str(get(name, "NULL")) for name in names]) + "}"


def _columns_of(instants: Collection[Instant]) -> dict[str, list[Any]]:
    return {
        "job_ids": [job_id for job_id, _ in instants],
        "times": [time for _, time in instants],
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
    registers = _registers(JOB_FIELDS, row[10], row[13:])
    if row[12] is not None and "error_message" in registers.values:
        registers.values["error_message"] = row[12].get("error_message")
    return JobState(
        job_id=row[0],
        job_type=row[1],
        status=row[2],
        ended_by=row[3],
        started_at=to_micros(row[4]),
        completed_at=_optional_micros(row[5]),
        newest=_optional_micros(row[6]),
        has_telemetry=row[7],
        clock_offset=None if row[8] is None else round(row[8] * _MICROS),
        warnings=row[9],
        registers=registers,
        registered=row[11],
        shown_error=row[13 + _ERROR_MESSAGE],
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
        job_id=row[0],
        status=row[4],
        timestamp=time if sender_time is None else sender_time,
        fields=_named(JOB_FIELDS, row[5:]),
        time=time,
        seq=row[2],
        sender_time=sender_time,
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


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / _MICROS
