"""Reads a job, and the series of a job or one of its disks, for a chart. Writes nothing.

Call the functions for one chart in one transaction that began with `use_one_snapshot`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal, LiteralString

import orjson
from psycopg.rows import class_row
from psycopg.sql import SQL
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from app.database.pool import Connection
from app.domain.chart import Bucket
from app.domain.staleness import FUTURE_SECONDS
from app.domain.window import Window
from app.store.sql import load_queries

QUERIES = load_queries("history")


def _filled(name: str, **fragments: LiteralString) -> LiteralString:
    """A block with its fragments, as text: psycopg renders a Composed for each execution."""
    parts = {fragment: SQL(text) for fragment, text in fragments.items()}
    return SQL(QUERIES[name]).format(**parts).as_string()


_VERSION = QUERIES["version"]
_ROLLED_UP_BEFORE = QUERIES["rolled_up_before"]
_READ_VERSIONS = _filled("read_versions", version=_VERSION)
_READ_VERSION = {
    is_embedded: _filled(
        "read_version",
        version=_VERSION,
        rolled_up_before=_ROLLED_UP_BEFORE,
        hold_sources="true" if is_embedded else QUERIES["hold_sources"],
    )
    for is_embedded in (True, False)
}
_READ_CHARTED_JOB = _filled("read_charted_job", rolled_up_before=_ROLLED_UP_BEFORE)


@dataclass(frozen=True)
class ChartedJob:
    """What a chart shows of its run. Sizes in bytes, 0 while unknown.

    `key` is the run's `job_id` in the tables. `version` changes with the row. `silent_seconds`:
    since the last update arrived. `is_rolled_up`: all its updates are in the rollups. The `…_from`
    are how far back the series of updates and their rollups by the minute are kept.
    """

    key: str
    job_type: str
    vm_name: str | None
    status: str
    started_at: datetime
    completed_at: datetime | None
    newest_update_at: datetime | None
    bytes_transferred: int
    total_bytes: int
    version: str
    silent_seconds: float | None
    is_rolled_up: bool
    job_updates_from: datetime
    job_minutes_from: datetime
    disk_updates_from: datetime
    disk_minutes_from: datetime
    summary: dict[str, Any] | None

    @property
    def is_settled(self) -> bool:
        """Whether it stays as it is until another update comes."""
        return self.summary is not None and self.is_rolled_up


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a job's charts; None for an unknown job.

    `is_settled`: until the version changes, every chart of the job stays as it is.
    """

    text: str | None
    is_settled: bool


@dataclass(frozen=True)
class ChartedDisk:
    """Sizes of one disk in bytes, 0 while unknown."""

    bytes_transferred: int
    total_bytes: int


@dataclass(frozen=True)
class Series:
    """The updates of a run, by its key, or those of one of its disks."""

    key: str
    disk: int | None = None

    @property
    def whose(self) -> Literal["job", "disk"]:
        """`job` or `disk`, with which the names of its series and rollups begin."""
        return "job" if self.disk is None else "disk"

    def updates_from(self, job: ChartedJob) -> datetime:
        """How far back its single updates are kept."""
        return job.job_updates_from if self.disk is None else job.disk_updates_from

    def minutes_from(self, job: ChartedJob) -> datetime:
        """How far back its rollup by the minute is kept."""
        return job.job_minutes_from if self.disk is None else job.disk_minutes_from

    def statement(self, name: str, source: str) -> LiteralString:
        """The named statement for a source of this series: a block that reads its rows."""
        return _statement(name, self.whose, source)

    def values(self, window: Window) -> dict[str, Any]:
        """The parameters for the series and the window."""
        return {
            "job_id": self.key,
            "disk": self.disk,
            "from_at": window.from_at,
            "before_at": window.before_at,
        }


@dataclass(frozen=True, slots=True)
class Stale:
    """The parts of time in which the minutes and hours of a series may lack updates, ascending.

    In whole minutes and whole hours; the hours hold all of the minutes that are kept as updates.
    """

    minutes: tuple[Window, ...] = ()
    hours: tuple[Window, ...] = ()

    def within(self, window: Window) -> Stale:
        """The parts inside a window of whole minutes or hours."""
        return Stale(_within(self.minutes, window), _within(self.hours, window))

    @property
    def values(self) -> dict[str, Multirange[datetime]]:
        """The parameters of statements that read a rollup accurately."""
        return {"stale_minutes": _multirange(self.minutes), "stale_hours": _multirange(self.hours)}


FRESH = Stale()  # the rollups have everything


def _within(parts: tuple[Window, ...], window: Window) -> tuple[Window, ...]:
    return tuple(cut for part in parts if not (cut := part.within(window)).is_empty)


def _multirange(parts: tuple[Window, ...]) -> Multirange[datetime]:
    return Multirange([Range(part.from_at, part.before_at) for part in parts])


@cache
def _statement(name: str, whose: LiteralString, source: str) -> LiteralString:
    fragments: dict[str, LiteralString] = {
        "whose": whose,
        "disk": QUERIES["disk"] if whose == "disk" else "",
        "of_disk": QUERIES["of_disk"] if whose == "disk" else "",
        "rollup_columns": QUERIES["rollup_columns"],
    }
    if source == "updates":
        return _filled(name, series=QUERIES[f"{whose}_updates"])
    rollups = {rollup: _filled(rollup, **fragments) for rollup in ("minutes", "hours")}
    return _filled(name, series=_filled(source, **fragments, **rollups))


def use_one_snapshot(conn: Connection) -> None:
    """Make this transaction read-only, on one snapshot. Must be its first statement."""
    conn.execute(QUERIES["use_one_snapshot"])


def read_versions(conn: Connection, names: Sequence[str]) -> dict[str, str]:
    """The versions of the charts of runs, by `run_name`; unknown runs are missing."""
    return dict(conn.execute(_READ_VERSIONS, {"names": list(names)}).fetchall())


@contextmanager
def current_version(
    conn: Connection, name: str, held: str | None, *, is_embedded: bool
) -> Iterator[Version]:
    """The version of a run's charts, by `run_name`.

    For a settled run, nothing changes rollups or chunks inside. So a chart that is read inside
    belongs to the version or to a later one, and is not read in the middle of a change. Without
    effect if the version is still the one that is `held`.
    """
    values = {"name": name, "held": held or "", "future_seconds": FUTURE_SECONDS}
    row = conn.execute(_READ_VERSION[is_embedded], values).fetchone()
    version = Version(None, False) if row is None else Version(*row)
    try:
        yield version
    finally:
        if version.is_settled and not is_embedded and not conn.closed:
            conn.execute(QUERIES["release_sources"])


def read_charted_job(conn: Connection, name: str) -> ChartedJob | None:
    """Read one run by `run_name`; None if unknown."""
    values = {"name": name, "future_seconds": FUTURE_SECONDS}
    row = conn.execute(_READ_CHARTED_JOB, values).fetchone()
    if row is None:
        return None
    job = ChartedJob(*row)
    return job if row[-1] is None else replace(job, summary=orjson.loads(row[-1]))


def read_charted_disk(conn: Connection, series: Series, span: Window) -> ChartedDisk | None:
    """Read one disk; None if it was neither registered nor reported in the job's span."""
    cursor = conn.cursor(row_factory=class_row(ChartedDisk))
    return cursor.execute(QUERIES["read_charted_disk"], series.values(span)).fetchone()


def read_disks_before(
    conn: Connection, series: Series, window: Window
) -> list[tuple[int, int | None, int | None, int | None]]:
    """The disks of a run: index, size, and the last bytes and percent (hundredths) of a window."""
    rows = conn.execute(QUERIES["read_disks_before"], series.values(window)).fetchall()
    return [(index, size, done, percent) for index, size, done, percent in rows]


def read_stale(conn: Connection, series: Series, span: Window) -> Stale:
    """What the rollups of a series may lack in a span of whole hours.

    The rows must be read in the same snapshot.
    """
    values = {"series": series.whose, "from_at": span.from_at, "before_at": span.before_at}
    row = conn.execute(QUERIES["read_stale_parts"], values).fetchone()
    assert row is not None
    minutes, hours = (tuple(Window(part.lower, part.upper) for part in parts) for parts in row)
    return Stale(minutes, hours)


def read_senders_now(conn: Connection, job: ChartedJob) -> datetime:
    """Now on the clock of a job's sender, to the second.

    It is taken to be behind by as long as the newest update took to arrive.
    """
    values = {"job_id": job.key, "newest_update_at": job.newest_update_at}
    row = conn.execute(QUERIES["read_senders_now"], values).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def count_updates(conn: Connection, series: Series, window: Window, limit: int) -> int:
    """How many updates the window holds, counting no further than `limit`."""
    values = series.values(window) | {"limit": limit}
    row = conn.execute(series.statement("count_updates", "updates"), values).fetchone()
    return 0 if row is None else int(row[0])


def read_updates(conn: Connection, series: Series, window: Window, limit: int) -> list[Bucket]:
    """The first `limit` updates of the window, each as a bucket, by time and seq."""
    values = series.values(window) | {"limit": limit}
    rows = conn.execute(series.statement("read_updates", "updates"), values).fetchall()
    return list(map(Bucket._make, rows))


def read_buckets(
    conn: Connection, series: Series, window: Window, step_seconds: int
) -> list[Bucket]:
    """The buckets of the window that have updates, ascending, in whole steps since 1970."""
    return _read_steps(
        conn, series.statement("read_buckets", "updates"), series, window, step_seconds
    )


def read_rollup(
    conn: Connection,
    series: Series,
    source: Literal["minutes", "hours"],
    window: Window,
    step_seconds: int,
    stale: Stale,
    *,
    points_only: bool = False,
) -> list[Bucket]:
    """Like `read_buckets`, from a rollup; the step is a multiple of the rollup's.

    What is `stale` is read from the updates. With `points_only` the buckets lack what only
    statistics need.
    """
    name = "read_rollup_points" if points_only else "read_rollup"
    stale = stale.within(window)
    if not (stale.minutes or (stale.hours and source == "hours")):
        return _read_steps(conn, series.statement(name, source), series, window, step_seconds)
    statement = series.statement(name, f"accurate_{source}")
    return _read_steps(conn, statement, series, window, step_seconds, stale)


def _read_steps(
    conn: Connection,
    statement: LiteralString,
    series: Series,
    window: Window,
    step_seconds: int,
    stale: Stale = FRESH,
) -> list[Bucket]:
    values = series.values(window) | stale.values | {"step_seconds": step_seconds}
    # For hundreds of rows _make() is five times as fast as a row factory.
    return list(map(Bucket._make, conn.execute(statement, values).fetchall()))
